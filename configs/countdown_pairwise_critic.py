"""Adversarial rounds after the quickstart's likelihood: a pairwise critic with replay and hard negatives.

    traceward run countdown_pairwise_critic

Expect: no more than the quickstart reaches (LOG.md); here to be beaten. Cost: the quickstart's and 3 minutes a round.
Obvious variations: --reward.negatives.replay False; --reward.negatives.hard 0; --reward.rounds 4.
"""

from dataclasses import replace

from configs.quickstart import config as quickstart
from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.train import Schedule

STEPS = 150

config = replace(
    quickstart,
    title="Game of 24: pairwise critic",
    reward=replace(
        quickstart.reward,
        critic=PairwiseCritic(optimiser=AdamW(learning_rate=3e-4, total_steps=STEPS, weight_decay=0.01)),
        rounds=2,
        round_schedule=Schedule(steps=STEPS),
    ),
)
