"""GAIL with PPO on HalfCheetah: MuJoCo through Gymnasium, stepped on the host while PPO trains.

    traceward run halfcheetah_gail

Expect: the expert's return within 205,000 environment steps (LOG.md: 1.01 of it, three seeds). An expert is trained
first (SAC, 250,000 steps, a quarter of an hour on two cores); the policy starts from a clone of 16 of its episodes. For
your own demonstrations, copy this file and set expert=DemonstrationFile(path=...). Variations: --seeds 1;
--warm-start 0.

The inputs of the discriminator are states and next states, not actions: the noise of a policy's actions alone would
distinguish it from an expert without noise.
"""

from experiments.control.backends import OfGymnasium
from experiments.control.expert import TrainedExpert
from experiments.control.imitate import Imitate
from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.gail import Gail
from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.ppo import Ppo
from irl.control.learners.sac import Sac
from irl.control.rewards import RewardMlp
from irl.train import Schedule

STEPS = 100
EXPERT = TrainedExpert(
    learner=Sac(hidden=(256, 256), training=OffPolicy(batch=256, updates=32, capacity=250_000)),
    envs=4,
    time=16,
    schedule=Schedule(steps=3900, log_every=100, save_every=3900),
    episodes=16,
    greedy=True,
)

config = Imitate(
    title="GAIL on HalfCheetah",
    environment=OfGymnasium(id="HalfCheetah-v5"),
    expert=EXPERT,
    imitator=Gail(
        discriminator=Discriminator(updates=4, batch=256, learning_rate=3e-4, gradient_penalty=1.0),
        network=RewardMlp(action=False, next_observation=True, normalise=False),
    ),
    learner=Ppo(learning_rate=3e-4),
    warm_start=100,
    envs=8,
    time=256,
    schedule=Schedule(steps=STEPS, log_every=10, save_every=STEPS),
    episodes=16,
    seeds=3,
)
