"""GAIL with SAC on Swimmer, as halfcheetah_gail has it.

    traceward run swimmer_gail

Expect: LOG.md has what was seen so far; the expert takes 249,000 steps of the environment first. Obvious variations:
--imitator.discriminator.gradient-penalty 10; --learner.training.updates 64.
"""

from dataclasses import replace

from configs.halfcheetah_gail import EXPERT
from configs.halfcheetah_gail import config as halfcheetah
from experiments.arenas import OfGymnasium
from irl.train import Schedule

config = replace(
    halfcheetah,
    title="GAIL on Swimmer",
    environment=OfGymnasium(id="Swimmer-v5"),
    expert=replace(EXPERT, schedule=Schedule(steps=3900, log_every=100, save_every=3900)),
    absorbing=False,
)
