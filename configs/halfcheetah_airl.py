"""AIRL with PPO on HalfCheetah: a reward of states alone, from a clone of 16 episodes.

    traceward run halfcheetah_airl

Expect: .90 of the expert's return within 205,000 environment steps, .84 for the worst of six seeds (LOG.md). Stability
requires initial rewards of 0 (`head_scale`), enough updates of the discriminator to follow log pi of a confident
policy, small steps of PPO, and the reward f: -log pi of a confident policy would dominate the learned part. Variations:
--environment.id Hopper-v5; --imitator.pay logit (collapses); --retrain 100.
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
