"""Behavioural cloning on Hopper, from episodes of an expert that is trained first (SAC).

    traceward run hopper_bc

Expect: .98 of the expert's return (LOG.md, three seeds). Variations: --expert.episodes 1; --schedule.steps 300.
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
