"""GAIL with SAC on HalfCheetah: MuJoCo through Gymnasium, stepped on the host while SAC learns.

    traceward run halfcheetah_gail

Expect: LOG.md has what was reached. An expert is trained first (SAC; 250,000 steps, a quarter of an hour on two cores),
then three seeds imitate 16 of its episodes, one after another. For demonstrations of your own copy this file and write
expert=DemonstrationFile(path=...). Obvious variations: --seeds 1; --imitator.discriminator.gradient-penalty 10.

The discriminator reads states and where they led, not actions: those of an expert without noise are told from a
policy's by their noise alone. Rewards are logits (reward_map airl), which do not fade where it is sure.
"""

from experiments.arenas import OfGymnasium
from experiments.expert import TrainedExpert
from experiments.imitate import Imitate
from irl.control.adversarial import Discriminator
from irl.control.gail import Gail
from irl.control.off_policy import OffPolicy
from irl.control.rewards import RewardMlp
from irl.control.sac import Sac
from irl.train import Schedule

STEPS = 2500
EXPERT = TrainedExpert(
    learner=Sac(hidden=(256, 256), training=OffPolicy(batch=256, updates=32, capacity=250_000)),
    envs=4,
    time=16,
    schedule=Schedule(steps=3900, log_every=100, save_every=3900),
    episodes=16,
)

config = Imitate(
    title="GAIL on HalfCheetah",
    environment=OfGymnasium(id="HalfCheetah-v5"),
    expert=EXPERT,
    imitator=Gail(
        discriminator=Discriminator(updates=4, batch=256, learning_rate=3e-4, gradient_penalty=1.0),
        network=RewardMlp(action=False, next_observation=True, normalise=False),
        reward_map="airl",
    ),
    learner=Sac(hidden=(128, 128), training=OffPolicy(batch=128, updates=32, capacity=200_000)),
    envs=4,
    time=16,
    schedule=Schedule(steps=STEPS, log_every=100, save_every=STEPS),
    episodes=16,
    seeds=3,
)
"""Rollouts of 4 x 16 steps, 32 minibatches after each."""
