"""Every part of the quickstart in half a minute, too small to learn anything: for tests and new machines.

    traceward run smoke

Expect: a report with all its parts and meaningless numbers. Cost: half a minute.
"""

from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Experiment
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.guided_search import GuidedSearch
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.negatives import Negatives
from experiments.traces.rerank_pool import RerankPool
from irl.algorithms.grpo import Grpo
from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.sft import Sft
from irl.guidance.beam import StepBeamSearch
from irl.text.tokenize import number_tokenizer
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

VOCAB = number_tokenizer().get_vocab_size()
TINY = DecoderConfig(vocab_size=VOCAB, num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32)
BRIEFLY = AdamW(warmup_steps=4, total_steps=8)
BRIEF = Schedule(steps=8, log_every=2, save_every=4)

config = Experiment(
    title="Smoke test",
    policy=FitPolicy(
        network=TINY,
        demonstrations=Demonstrations(count=200),
        algorithm=Sft(optimiser=BRIEFLY),
        schedule=BRIEF,
        batch_size=8,
    ),
    reward=FitReward(
        network=SoftAdvantageConfig(decoder=TINY),
        demonstrations=Demonstrations(count=200, other_targets=200),
        warm_up=Sft(optimiser=BRIEFLY),
        warm_up_schedule=BRIEF,
        warm_up_rows=8,
        critic=PairwiseCritic(optimiser=BRIEFLY),
        rounds=2,
        round_schedule=BRIEF,
        negatives=Negatives(resets=64, samples_per_problem=1, sampled=32),
        batch_size=16,
    ),
    outcome_model=None,  # a policy this small is never right
    rerank=RerankPool(samples=16, problems=8, vote=16, shown=3),
    search=GuidedSearch(guide=StepBeamSearch(width=2, expansions=3, max_steps=3), problems=4),
    improvement=ImprovePolicy(
        algorithm=Grpo(samples_per_prompt=4),
        demonstrations=Demonstrations(count=100),
        schedule=Schedule(steps=4, log_every=1, save_every=2),
        prompts_per_step=4,
        demonstration_rows=4,
        evaluations=2,
        samples=4,
    ),
)
