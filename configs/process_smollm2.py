"""A process reward model as low-rank adapters on SmolLM2-135M: errors planted in GSM8K's human solutions.

    TRACEWARD_DATA=FOLDER traceward run process_smollm2

gsm8k_errors with a language model under the process model, and without the domain's calculations.
The model comes in a package (docs/language_models.md).
Expect: no figure yet; from scratch .364 of the first errors. Cost: about 90 minutes on two cores and 4 GB.
Obvious variations: --judges.0.model.base FOLDER; --judges.0.adapters.rank 32; --judges.0.adapters None.
"""

from dataclasses import replace

from configs.gsm8k_errors import config as gsm8k_errors
from configs.gsm8k_smollm2 import SMOLLM2, adapters_for
from experiments.text_rewards.fit_process import FitProcess
from experiments.text_rewards.text_model import TextModel
from irl.algorithms.process import Process
from irl.train import Schedule
from reward_models.networks.adapters import LowRank

STEPS = 150

config = replace(
    gsm8k_errors,
    title="GSM8K: which step is wrong? Adapters on SmolLM2",
    judges=(
        FitProcess(
            model=TextModel(base=SMOLLM2, context=384),
            trunk=None,
            adapters=LowRank(rank=16, alpha=32.0),
            algorithm=Process(optimiser=adapters_for(STEPS)),
            schedule=Schedule(steps=STEPS, save_every=50),
            rows=4,
            length=384,
        ),
    ),
)
