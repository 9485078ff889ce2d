"""A reward model from human preferences (HH, harmlessness), tried on other people's judgements too.

    TRACEWARD_DATA=FOLDER traceward run hh_preferences

Expect: from scratch on 1,100 pairs an accuracy near chance (LOG.md); a pretrained base and more pairs do better. The
size of the gap recovers the ties of PandaLM's annotators.
Obvious variations: --data.train FILE; --model.base HUGGING_FACE_FOLDER.
"""

from experiments.core.data_folder import data_file
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.pair_data import PairFiles
from experiments.text_rewards.preference_model import PreferenceModel
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.algorithms.sft import Sft
from irl.train import Schedule

HH = data_file("hh_harmless/pairs_first_1800.jsonl.xz", "1,800 pairs of harmless-base, github.com/anthropics/hh-rlhf")
PANDALM = data_file("pandalm_test/testset-v1.json.xz", "github.com/WeOpenML/PandaLM")
LLMBAR = tuple(
    data_file(f"llmbar/{name}__dataset.json", "github.com/princeton-nlp/LLMBar")
    for name in ("LLMBar__Natural", "Processed__MT-Bench")
)
TRUNK_STEPS, STEPS = 600, 60

config = PreferenceModel(
    title="HH: human preferences from scratch",
    data=PairFiles(
        train=(HH, PANDALM),
        test=LLMBAR,
    ),
    trunk=FitTrunk(
        algorithm=Sft(optimiser=AdamW(learning_rate=2e-3, total_steps=TRUNK_STEPS)),
        schedule=Schedule(steps=TRUNK_STEPS),
    ),
    algorithm=BradleyTerry(optimiser=AdamW(learning_rate=3e-4, total_steps=STEPS, weight_decay=0.1), centering=0.01),
    schedule=Schedule(steps=STEPS),
    length=512,
)
"""Pairs with an answer of over 512 tokens are left out, and counted."""
