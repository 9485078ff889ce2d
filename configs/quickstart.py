"""The whole idea on the Game of 24, from nothing to the report, on two CPU cores.

    make quickstart            or            traceward run quickstart

Expect (LOG.md has seeds and intervals): pass@1 about .1, majority of 64 about .3, rerank@1000 by the learned
reward above .9. Cost: about 10 minutes and 4 GB.
Obvious variations: --seed 1; --reward.rounds 0 (likelihood alone); --rerank.samples 256; --search None.
"""

from experiments.beam_search import BeamSearch
from experiments.demonstrations import Demonstrations
from experiments.fit_policy import FitPolicy
from experiments.fit_reward import FitReward
from experiments.improve_policy import ImprovePolicy
from experiments.run import Experiment
from irl.algorithms.optimiser import AdamW, Muon
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.sft import Sft
from irl.traces.tokenize import number_tokenizer
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

VOCABULARY = number_tokenizer().get_vocab_size()

config = Experiment(
    title="Expert traces teach a reward: the Game of 24",
    policy=FitPolicy(
        network=DecoderConfig(vocab_size=VOCABULARY, num_layers=3, dim=96, num_heads=4, num_kv_heads=1),
        demonstrations=Demonstrations(count=30_000),
        algorithm=Sft(optimiser=Muon(learning_rate=2e-3, total_steps=500)),
        schedule=Schedule(steps=500),
        batch_size=48,
    ),
    reward=FitReward(
        network=SoftAdvantageConfig(
            decoder=DecoderConfig(vocab_size=VOCABULARY, num_layers=3, dim=96, num_heads=4, num_kv_heads=1)
        ),
        demonstrations=Demonstrations(count=20_000, other_targets=30_000),
        warm_up=Sft(optimiser=Muon(learning_rate=3e-3, total_steps=1400)),
        warm_up_schedule=Schedule(steps=1400),
        critic=PairwiseCritic(optimiser=AdamW(learning_rate=5e-4, total_steps=150, weight_decay=0.01)),
        rounds=2,
        round_schedule=Schedule(steps=150),
    ),
    search=BeamSearch(),
    improvement=ImprovePolicy(schedule=Schedule(steps=60)),
)
