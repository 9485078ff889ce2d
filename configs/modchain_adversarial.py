"""Adversarial rounds on chains of modular arithmetic: AIRL against GRPO, beside the reward first and GRPO afterwards.

    traceward run modchain_adversarial

The logit of the discriminator is f - log pi of the whole trace, and f, which starts as a soft advantage, is exported.
Expect: pass@1 from .22 to .24 (reward first) and .22 (rounds) on three seeds (LOG.md). Cost: 3 CPU minutes.
Obvious variations: --rounds.reward.algorithm MaxEnt; --rounds.reward.replay-share 0; --rounds.algorithm.kl 0.1.
"""

from dataclasses import replace
from typing import Any

from experiments.traces.adversarial_rounds import AdversarialRounds
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, Experiment
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.policy_training import grpo_for
from experiments.traces.rerank_pool import RerankPool
from irl.algorithms.airl import Airl
from irl.algorithms.optimiser import Muon
from irl.algorithms.rounds import Adversary
from irl.algorithms.sft import Sft
from irl.domains.modchain import ModChain
from irl.text.tokenize import number_tokenizer
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

VOCABULARY = number_tokenizer().get_vocab_size()
DECODER = DecoderConfig(vocab_size=VOCABULARY, num_layers=2, dim=64, num_heads=4, num_kv_heads=1)
STEPS, ROUNDS = 250, 40
POLICY_TRAINING: dict[str, Any] = {
    "algorithm": replace(grpo_for(ROUNDS, learning_rate=1e-4), samples_per_prompt=8),
    "demonstrations": Demonstrations(count=1000),
    "schedule": Schedule(steps=ROUNDS),
    "prompts_per_step": 16,
    "samples": 8,
    "evaluations": 2,
}

config = Experiment(
    title="Chains of modular arithmetic: adversarial rounds",
    domain=ModChain(num_ops=3, modulus=7, test_size=100),
    encoding=Encoding(max_length=64),
    policy=FitPolicy(
        network=DECODER,
        demonstrations=Demonstrations(count=1000),
        algorithm=Sft(optimiser=Muon(learning_rate=3e-3, total_steps=STEPS)),
        schedule=Schedule(steps=STEPS),
        batch_size=32,
    ),
    reward=FitReward(
        network=SoftAdvantageConfig(decoder=DECODER),
        demonstrations=Demonstrations(count=1000),
        warm_up=Sft(optimiser=Muon(learning_rate=3e-3, total_steps=STEPS)),
        warm_up_schedule=Schedule(steps=STEPS),
        warm_up_rows=32,
        rounds=0,
        evaluations=1,
    ),
    outcome_model=None,
    rerank=RerankPool(samples=64, vote=64),
    search=None,
    improvement=ImprovePolicy(**POLICY_TRAINING),
    rounds=AdversarialRounds(**POLICY_TRAINING, reward=Adversary(algorithm=Airl(learning_rate=1e-4))),
)
