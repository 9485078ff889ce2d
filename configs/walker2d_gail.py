"""GAIL with SAC on Walker2d, as halfcheetah_gail has it; what comes after a fall is imitated, too.

    traceward run walker2d_gail

Expect: LOG.md has what was seen so far; the expert takes 499,000 steps of the environment first. Obvious variations:
--imitator.discriminator.gradient-penalty 10; --learner.training.updates 64.
"""

from dataclasses import replace

from configs.halfcheetah_gail import EXPERT
from configs.halfcheetah_gail import config as halfcheetah
from experiments.arenas import OfGymnasium
from irl.train import Schedule

config = replace(
    halfcheetah,
    title="GAIL on Walker2d",
    environment=OfGymnasium(id="Walker2d-v5"),
    expert=replace(EXPERT, schedule=Schedule(steps=7800, log_every=100, save_every=7800)),
    absorbing=True,
)
