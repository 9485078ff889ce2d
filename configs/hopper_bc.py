"""Behavioural cloning on Hopper, from episodes of an expert that SAC trains first.

    traceward run hopper_bc

Expect: .98 of the expert (LOG.md, three seeds). Obvious variations: --expert.episodes 1; --schedule.steps 300.
"""

from dataclasses import replace

from configs.hopper_gail import config as hopper
from irl.control.algorithms.behavioural_cloning import BehaviouralCloning
from irl.control.learners.ppo import Ppo
from irl.train import Schedule

config = replace(
    hopper,
    title="Behavioural cloning on Hopper",
    imitator=BehaviouralCloning(),
    learner=Ppo(hidden=(256, 256)),
    warm_start=0,
    schedule=Schedule(steps=100),
)
"""The steps of its schedule are epochs."""
