"""A reward and a policy from a file of traces of any domain, from scratch, on two CPU cores.

    traceward run own_traces --domain.train FILE

FILE has any format of `irl/data`: {"prompt", "steps"}, {"prompt", "completion"}, {"question", "answer": "...####..."},
messages and others. A tenth of the prompts is held out. The reward judges whole traces and learns from every step in
three contexts: nothing, the previous step, everything before it.
Expect: LOG.md. Cost: about 20 minutes on two cores.
Obvious variations: --domain.test FILE; --domain.steps paragraphs; --domain.answer boxed; --reward.members 2.
"""

from experiments.traces.beam_search import BeamSearch
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, Experiment
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.improve_policy import ImprovePolicy, grpo_for
from experiments.traces.rerank_pool import RerankPool
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.domains.files import TraceFiles
from irl.guidance.beam import BeamSettings
from irl.text.tokenizer_configs import BytePairs
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

VOCABULARY, LENGTH = 1024, 384
DECODER = DecoderConfig(vocab_size=VOCABULARY, num_layers=3, dim=128, num_heads=4, num_kv_heads=1)
ALL = Demonstrations(count=100_000)

config = Experiment(
    title="A reward from traces of one's own",
    domain=TraceFiles(train="traces.jsonl"),
    encoding=Encoding(max_length=LENGTH, max_steps=64, tokenizer=BytePairs(vocabulary=VOCABULARY)),
    policy=FitPolicy(
        network=DECODER,
        demonstrations=ALL,
        algorithm=Sft(optimiser=Muon(learning_rate=2e-3, total_steps=400)),
        schedule=Schedule(steps=400),
        batch_size=12,
        row_length=LENGTH,
    ),
    reward=FitReward(
        network=SoftAdvantageConfig(decoder=DECODER),
        demonstrations=ALL,
        warm_up=Sft(optimiser=Muon(learning_rate=2.5e-3, total_steps=600)),
        warm_up_schedule=Schedule(steps=600),
        warm_up_rows=12,
        row_length=LENGTH,
        rounds=0,
    ),
    outcome_model=None,
    rerank=RerankPool(samples=64, problems=100, vote=64),
    search=BeamSearch(settings=BeamSettings(width=4, expansions=8, max_steps=24, max_step_tokens=96), problems=25),
    improvement=ImprovePolicy(
        algorithm=grpo_for(20), schedule=Schedule(steps=20), prompts_per_step=8, evaluations=1, samples=8
    ),
)
