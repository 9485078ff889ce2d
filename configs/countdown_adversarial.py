"""Adversarial rounds on the Game of 24: AIRL against GRPO, beside the reward first and GRPO afterwards.

    traceward run countdown_adversarial

The policy and the reward start as in the quickstart. The logit of the discriminator is f - log pi of the whole trace.
Expect: with a learning rate of 5e-4 both orders lose (LOG.md); 1e-4 has not been measured. Cost: 16 CPU minutes.
Obvious variations: --rounds.reward.algorithm MaxEnt; --rounds.reward.replay-share 0; --rounds.algorithm.kl 0.1.
"""

from dataclasses import replace
from typing import Any

from configs.quickstart import config as quickstart
from experiments.traces.adversarial_rounds import AdversarialRounds
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.policy_training import grpo_for
from irl.algorithms.airl import Airl
from irl.algorithms.rounds import Adversary
from irl.train import Schedule

ROUNDS = 40
POLICY_TRAINING: dict[str, Any] = {
    "algorithm": replace(grpo_for(ROUNDS, learning_rate=1e-4), samples_per_prompt=8),
    "demonstrations": Demonstrations(count=2000),
    "schedule": Schedule(steps=ROUNDS),
    "prompts_per_step": 16,
    "samples": 16,
    "evaluations": 2,
}

config = replace(
    quickstart,
    title="Game of 24: adversarial rounds",
    search=None,
    improvement=ImprovePolicy(**POLICY_TRAINING),
    rounds=AdversarialRounds(**POLICY_TRAINING, reward=Adversary(algorithm=Airl(learning_rate=1e-4))),
)
