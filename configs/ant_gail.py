"""GAIL with PPO on Ant: the settings of halfcheetah_gail.

    traceward run ant_gail

Expect: not measured yet; it needs more cores. The expert takes 998,000 steps first. Variations:
--imitator.discriminator.gradient-penalty 10; --absorbing True; --imitator.reward-map airl.
"""

from dataclasses import replace

from configs.halfcheetah_gail import EXPERT
from configs.halfcheetah_gail import config as halfcheetah
from experiments.control.backends import OfGymnasium
from irl.train import Schedule

config = replace(
    halfcheetah,
    title="GAIL on Ant",
    environment=OfGymnasium(id="Ant-v5"),
    expert=replace(EXPERT, schedule=Schedule(steps=15600, log_every=100, save_every=15600)),
)
