"""The whole idea on the Game of 24, from nothing to the report, on two CPU cores.

    make quickstart            or            traceward run quickstart

Expect: LOG.md has the numbers with seeds and intervals. Cost: 10 to 16 minutes and 2.3 GB.
Obvious variations: --seed 1; --reward.rounds 2 (adversarial rounds); --rerank.samples 256; --search None.
countdown_soft_advantage is the same trained to the end, beside an outcome model.
"""

from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Experiment
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.guided_search import GuidedSearch
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.policy_training import grpo_for
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.text.tokenize import number_tokenizer
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

VOCABULARY = number_tokenizer().get_vocab_size()

config = Experiment(
    title="Expert traces teach a reward: the Game of 24",
    policy=FitPolicy(
        network=DecoderConfig(vocab_size=VOCABULARY, num_layers=3, dim=96, num_heads=4, num_kv_heads=1),
        demonstrations=Demonstrations(count=30_000),
        algorithm=Sft(optimiser=Muon(learning_rate=2e-3, total_steps=600)),
        schedule=Schedule(steps=600),
        batch_size=48,
    ),
    reward=FitReward(
        network=SoftAdvantageConfig(
            decoder=DecoderConfig(vocab_size=VOCABULARY, num_layers=3, dim=96, num_heads=4, num_kv_heads=1)
        ),
        demonstrations=Demonstrations(count=20_000, other_targets=30_000),
        warm_up=Sft(optimiser=Muon(learning_rate=2.5e-3, total_steps=1300)),
        warm_up_schedule=Schedule(steps=1300),
        start="policy",
        whole_share=0.4,
        rounds=0,
    ),
    outcome_model=None,
    search=GuidedSearch(),
    improvement=ImprovePolicy(algorithm=grpo_for(40), schedule=Schedule(steps=40), evaluations=2),
)
