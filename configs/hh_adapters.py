"""A reward model from human preferences (HH, harmlessness) as low-rank adapters on a downloaded language model.

    TRACEWARD_DATA=FOLDER traceward run hh_adapters --model.base HUGGING_FACE_FOLDER

The base (Llama, Mistral, Qwen2 or Qwen3; a causal language model with its tokenizer) stays as it is. What is trained,
adapters of rank 8 and a head, three seeds of each, is saved as PEFT does: the folder `model` of the run names that of
the base, and `traceward score` reads it.

Expect: no figure yet, it was tried on random weights alone; chance there.
Obvious variations: --adapters.rank 32; --model.dtype bfloat16; --adapters None trains all weights (--trunk None stays).
"""

from experiments.core.data_folder import data_file
from experiments.text_rewards.pair_data import PairFiles
from experiments.text_rewards.preference_model import PreferenceModel
from experiments.text_rewards.text_model import TextModel
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.train import Schedule
from reward_models.networks.adapters import LowRank

HH = data_file("hh_harmless/pairs_first_1800.jsonl.xz", "1,800 pairs of harmless-base, github.com/anthropics/hh-rlhf")
PANDALM = data_file("pandalm_test/testset-v1.json.xz", "github.com/WeOpenML/PandaLM")
LLMBAR = tuple(
    data_file(f"llmbar/{name}__dataset.json", "github.com/princeton-nlp/LLMBar")
    for name in ("LLMBar__Natural", "Processed__MT-Bench")
)
STEPS = 300

config = PreferenceModel(
    title="HH: human preferences, adapters on a language model",
    data=PairFiles(
        train=(HH, PANDALM),
        test=LLMBAR,
    ),
    model=TextModel(context=1024),
    trunk=None,
    adapters=LowRank(rank=8, alpha=16.0),
    algorithm=BradleyTerry(optimiser=AdamW(learning_rate=2e-4, total_steps=STEPS), centering=0.01),
    schedule=Schedule(steps=STEPS),
    rows=4,
    length=1024,
)
