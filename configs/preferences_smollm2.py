"""Human preferences (HH, PandaLM) as low-rank adapters and a head on SmolLM2-135M; tests on LLMBar and MT-Bench.

    TRACEWARD_DATA=FOLDER traceward run preferences_smollm2

hh_adapters with a base at hand and shorter texts.
The model comes in a package (docs/language_models.md).
Expect: .603 on HH's held-out pairs over three seeds, no better than from scratch (.599). Cost: 6 GB and 28 minutes of
training per seed on one core; the evaluation takes longer than that, and its end was not measured.
Obvious variations: --model.base FOLDER; --adapters.rank 32; --model.context 1024;
--model.dtype bfloat16, which saves a third of the time on a CPU with AVX512-BF16.
"""

from dataclasses import replace

from configs.gsm8k_smollm2 import SMOLLM2, adapters_for
from configs.hh_adapters import config as hh_adapters
from experiments.text_rewards.text_model import TextModel
from irl.algorithms.bradley_terry import BradleyTerry
from irl.train import Schedule

STEPS = 120

config = replace(
    hh_adapters,
    title="HH: human preferences on SmolLM2",
    model=TextModel(base=SMOLLM2, context=512),
    algorithm=BradleyTerry(optimiser=adapters_for(STEPS), centering=0.01),
    schedule=Schedule(steps=STEPS, save_every=40),
    length=512,
)
