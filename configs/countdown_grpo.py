"""Policy training on the learned reward, longer than elsewhere.

    traceward run countdown_grpo

Expect: see LOG.md. Obvious variations: --improvement.algorithm.kl 0.1; --improvement.algorithm.mle 0.
Cost: countdown_soft_advantage's and about 10 minutes.
"""

from dataclasses import replace

from configs.countdown_soft_advantage import config as base
from experiments.improve_policy import ImprovePolicy
from irl.algorithms.grpo import Grpo
from irl.algorithms.optimiser import AdamW
from irl.train import Schedule

config = replace(
    base,
    title="Game of 24: policy training on the learned reward",
    improvement=ImprovePolicy(
        algorithm=Grpo(
            optimiser=AdamW(learning_rate=3e-4, total_steps=400, weight_decay=0.0), mle_steps=400, samples_per_prompt=16
        ),
        schedule=Schedule(steps=400),
        looks=8,
    ),
)
