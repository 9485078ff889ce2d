"""A process reward model on BIG-Bench-Mistake: find the first mistake of traces of three tasks.

    TRACEWARD_DATA=FOLDER traceward run bigbench_mistake_labels

A third of the real traces is trained on, with traces written by program beside them; half of the problems are the test.
Expect: see LOG.md. Published by Tyen et al. (arXiv 2311.08516, table 4), exact locations, all traces, best model and
prompting: word sorting 44.3, tracking 90.7, Dyck 44.3 percent.
A step is read with what it follows from alone: what is due and the line before
(irl/domains/bigbench_mistake/states.py).
Obvious variations: --data.files dyck_languages.jsonl (one task); --data.generated 0 (real traces alone);
--judges.0.trunk None.
"""

from experiments.core.data_folder import data_file
from experiments.text_rewards.fit_process import FitProcess
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.mistake_data import MistakeTraces
from experiments.text_rewards.step_model import StepModel
from experiments.text_rewards.text_model import TextModel
from irl.algorithms.optimiser import AdamW
from irl.algorithms.process import Process
from irl.algorithms.sft import Sft
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig

SOURCE = "github.com/WHGTyen/BIG-Bench-Mistake"
TASKS = ("dyck_languages", "word_sorting", "tracking_shuffled_objects")
TRUNK_STEPS, STEPS = 800, 1200

config = StepModel(
    title="BIG-Bench-Mistake: where is the first mistake?",
    data=MistakeTraces(files=tuple(data_file(f"bigbench_mistake/{task}.jsonl.xz", SOURCE) for task in TASKS)),
    judges=(
        FitProcess(
            model=TextModel(
                decoder=DecoderConfig(
                    vocab_size=2048, num_layers=4, dim=128, num_heads=4, num_kv_heads=2, head_dim=32, hidden_dim=352
                ),
                context=512,
            ),
            trunk=FitTrunk(
                algorithm=Sft(optimiser=AdamW(learning_rate=3e-3, total_steps=TRUNK_STEPS)),
                schedule=Schedule(steps=TRUNK_STEPS),
                rows=6,
                length=512,
            ),
            algorithm=Process(optimiser=AdamW(learning_rate=2e-3, total_steps=STEPS)),
            schedule=Schedule(steps=STEPS),
            rows=6,
            length=512,
        ),
    ),
)
