"""A reward model from human preferences (HH, harmlessness), tried on other people's judgements too.

    traceward run hh_preferences --data.train FILE

Expect: from scratch on 1,100 pairs chance or near it (LOG.md); the config is the way to a model that is not. Obvious
variations: --model.base HUGGING_FACE_FOLDER, and more pairs. Ties of PandaLM's annotators are recovered by the size of
the gap.
"""

from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.pair_data import PairFiles
from experiments.text_rewards.preference_model import PreferenceModel
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.algorithms.sft import Sft
from irl.train import Schedule

DATA = "../shared/data"
TRUNK_STEPS, STEPS = 600, 60

config = PreferenceModel(
    title="HH: human preferences from scratch",
    data=PairFiles(
        train=(f"{DATA}/hh_harmless/pairs_first_1800.jsonl.xz", f"{DATA}/pandalm_test/testset-v1.json.xz"),
        test=(
            f"{DATA}/llmbar/LLMBar__Natural__dataset.json",
            f"{DATA}/llmbar/Processed__MT-Bench__dataset.json",
        ),
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
