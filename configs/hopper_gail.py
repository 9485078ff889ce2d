"""GAIL with PPO on Hopper, as halfcheetah_gail has it.

    traceward run hopper_gail

Expect: LOG.md: .94 of the expert, three seeds. The expert takes 198,000 steps first. Obvious variations:
--imitator.discriminator.gradient_penalty 10; --absorbing True; --imitator.reward_map airl.
"""

from dataclasses import replace

from configs.halfcheetah_gail import EXPERT
from configs.halfcheetah_gail import config as halfcheetah
from experiments.control.backends import OfGymnasium
from irl.train import Schedule

config = replace(
    halfcheetah,
    title="GAIL on Hopper",
    environment=OfGymnasium(id="Hopper-v5"),
    expert=replace(EXPERT, schedule=Schedule(steps=3100, log_every=100, save_every=3100)),
)
