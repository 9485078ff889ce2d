"""Policy training on the learned reward, longer than elsewhere.

    traceward run countdown_grpo

Expect: see LOG.md. Obvious variations: --improvement.algorithm.kl 0.1; --improvement.algorithm.mle 0.
Cost: countdown_soft_advantage's and about 10 minutes.
"""

from dataclasses import replace

from configs.countdown_soft_advantage import config as base
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.policy_training import grpo_for
from irl.train import Schedule

STEPS = 300

config = replace(
    base,
    title="Game of 24: policy training on the learned reward",
    improvement=ImprovePolicy(algorithm=grpo_for(STEPS), schedule=Schedule(steps=STEPS), evaluations=6),
)
