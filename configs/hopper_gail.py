"""GAIL with PPO on Hopper: the settings of halfcheetah_gail.

    traceward run hopper_gail

Expect: .94 of the expert's return (LOG.md, three seeds). The expert takes 198,000 steps first. Variations:
--imitator.discriminator.gradient-penalty 10; --absorbing True; --imitator.reward-map airl.
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
