"""AIRL on steps: the discriminator's logit is f - log pi, and f, which starts as a soft advantage, is exported.

    traceward run countdown_airl

Expect: see LOG.md. Only steps that the policy finished for an expert are negatives: they have a log pi in their trace.
Obvious variations: --reward.critic.label-smoothing 0.1; --reward.rounds 1.
"""

from dataclasses import replace

from configs.countdown_soft_advantage import config as base
from experiments.traces.negatives import Negatives
from irl.algorithms.airl import Airl
from irl.train import Schedule

config = replace(
    base,
    title="Game of 24: AIRL",
    reward=replace(
        base.reward,
        critic=Airl(level="step", learning_rate=1e-4),
        members=1,
        rounds=2,
        round_schedule=Schedule(steps=150),
        negatives=Negatives(sampled=0),
    ),
)
