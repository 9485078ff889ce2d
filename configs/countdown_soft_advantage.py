"""The quickstart's policy and reward, trained to the end: the project's main result on the Game of 24.

    traceward run countdown_soft_advantage

Expect: LOG.md has the numbers with seeds. Cost: about 16 minutes on two cores.
The reward is the mean of two trainings.
Obvious variations: --reward.demonstrations.other-targets 0; --reward.whole-share 0.1.
"""

from dataclasses import replace

from configs.quickstart import config as quickstart
from experiments.traces.fit_outcome_model import FitOutcomeModel
from experiments.traces.improve_policy import ImprovePolicy
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.train import Schedule

config = replace(
    quickstart,
    title="Game of 24: soft advantage in Markov windows",
    policy=replace(
        quickstart.policy,
        algorithm=Sft(optimiser=Muon(learning_rate=2e-3, total_steps=900)),
        schedule=Schedule(steps=900),
    ),
    reward=replace(
        quickstart.reward,
        warm_up=Sft(optimiser=Muon(learning_rate=2.5e-3, total_steps=1800)),
        warm_up_schedule=Schedule(steps=1800),
        members=2,
        evaluations=2,
    ),
    outcome_model=FitOutcomeModel(),
    improvement=ImprovePolicy(),
)
