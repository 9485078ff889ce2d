"""The Game of 24 with a real language model: the demonstrations of the small models teach adapters on SmolLM2-135M.

    traceward run countdown_smollm2

The reward judges steps in their states, as the quickstart's does, and starts from the language model.
The model comes in a package (docs/language_models.md).
Expect: no figure yet. Cost: about 90 minutes on two cores and 4 GB.
Obvious variations: --policy.base FOLDER; --reward.start policy; --rerank.samples 256; --reward.members 2.
"""

from configs.gsm8k_smollm2 import DECODER, SMOLLM2, adapters_for
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, Experiment
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.policy_training import grpo_for
from experiments.traces.rerank_pool import RerankPool
from irl.algorithms.sft import Sft
from irl.train import Schedule
from reward_models.networks.adapters import LowRank
from reward_models.networks.soft_advantage import SoftAdvantageConfig

STEPS = 150

config = Experiment(
    title="The Game of 24 with SmolLM2",
    encoding=Encoding(max_length=160, max_steps=8),
    policy=FitPolicy(
        network=DECODER,
        base=SMOLLM2,
        adapters=LowRank(rank=16, alpha=32.0),
        demonstrations=Demonstrations(count=10_000),
        algorithm=Sft(optimiser=adapters_for(STEPS)),
        schedule=Schedule(steps=STEPS, save_every=50),
        batch_size=8,
        row_length=160,
    ),
    reward=FitReward(
        network=SoftAdvantageConfig(decoder=DECODER),
        demonstrations=Demonstrations(count=10_000, other_targets=10_000),
        start="base",
        warm_up=Sft(optimiser=adapters_for(STEPS)),
        warm_up_schedule=Schedule(steps=STEPS, save_every=50),
        warm_up_rows=8,
        row_length=160,
        rounds=0,
        evaluations=1,
    ),
    outcome_model=None,
    rerank=RerankPool(samples=64, problems=50, vote=64, beginnings=8),
    search=None,
    improvement=ImprovePolicy(
        algorithm=grpo_for(10),
        schedule=Schedule(steps=10, save_every=5),
        prompts_per_step=2,
        demonstration_rows=2,
        evaluations=1,
        samples=4,
        problems=50,
    ),
)
