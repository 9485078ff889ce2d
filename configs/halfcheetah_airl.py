"""AIRL with PPO on HalfCheetah: a reward of states alone, from a clone of 16 episodes on.

    traceward run halfcheetah_airl

Expect: .90 of the expert's return within 205,000 steps of the environment, the worst of six seeds .84 (LOG.md). What
holds it: rewards that start at 0 (`head_scale`), a discriminator trained often enough to catch up with log pi of a sure
policy, small steps of PPO, and f for pay: -log pi of a sure policy outweighs what is learned.
Obvious variations: --environment.id Hopper-v5; --imitator.pay logit (collapses); --retrain 100.
"""

from configs.halfcheetah_gail import EXPERT, STEPS
from experiments.control.backends import OfGymnasium
from experiments.control.imitate import Imitate
from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.airl import TransitionAirl
from irl.control.learners.ppo import Ppo
from irl.control.rewards import RewardMlp, ShapedReward
from irl.train import Schedule

STATES = RewardMlp(action=False, normalise=False, head_scale=0.01)

config = Imitate(
    title="AIRL on HalfCheetah",
    environment=OfGymnasium(id="HalfCheetah-v5"),
    expert=EXPERT,
    imitator=TransitionAirl(
        discriminator=Discriminator(updates=32, batch=256, learning_rate=1e-3, gradient_penalty=1.0),
        pay="f",
        network=ShapedReward(base=STATES, potential=STATES),
    ),
    learner=Ppo(learning_rate=1e-4, epochs=5),
    warm_start=100,
    envs=8,
    time=256,
    schedule=Schedule(steps=STEPS, log_every=10, save_every=STEPS),
    episodes=16,
    seeds=3,
)
