"""GAIL with SAC on Ant, as halfcheetah_gail has it; what comes after a fall is imitated, too.

    traceward run ant_gail

Expect: LOG.md has what was seen so far; the expert takes 998,000 steps of the environment first. Obvious variations:
--imitator.discriminator.gradient-penalty 10; --learner.training.updates 64.
"""

from dataclasses import replace

from configs.halfcheetah_gail import EXPERT
from configs.halfcheetah_gail import config as halfcheetah
from experiments.arenas import OfGymnasium
from irl.train import Schedule

config = replace(
    halfcheetah,
    title="GAIL on Ant",
    environment=OfGymnasium(id="Ant-v5"),
    expert=replace(EXPERT, schedule=Schedule(steps=15600, log_every=100, save_every=15600)),
    absorbing=True,
)
