"""GAIL with PPO on Walker2d: the settings of halfcheetah_gail.

    traceward run walker2d_gail

Expect: not measured yet; it needs more cores. The expert takes 499,000 steps first. Variations:
--imitator.discriminator.gradient-penalty 10; --absorbing True; --imitator.reward-map airl.
"""

from dataclasses import replace

from configs.halfcheetah_gail import EXPERT
from configs.halfcheetah_gail import config as halfcheetah
from experiments.control.backends import OfGymnasium
from irl.train import Schedule

config = replace(
    halfcheetah,
    title="GAIL on Walker2d",
    environment=OfGymnasium(id="Walker2d-v5"),
    expert=replace(EXPERT, schedule=Schedule(steps=7800, log_every=100, save_every=7800)),
)
