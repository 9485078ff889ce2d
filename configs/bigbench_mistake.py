"""Find the first mistake of BIG-Bench-Mistake's traces, learned from right traces alone.

    TRACEWARD_DATA=FOLDER traceward run bigbench_mistake

A soft Q-function of what steps claim, each claim with what it follows from
(irl/domains/bigbench_mistake/claims.py); half of the problems are the test, labelled problems set the threshold.
Expect: exact locations, all traces: Dyck .96, word sorting .80, tracking .88 (LOG.md, three seeds; 22 minutes on one
core). Published by Tyen et al. (arXiv 2311.08516, table 4), best model and prompting: .443, .443, .907.
Obvious variations: --data.files word_sorting.jsonl (one task); --data.generated 100; bigbench_mistake_labels
(whole steps, judged by a process reward model that sees labels).
"""

from experiments.core.data_folder import data_file
from experiments.text_rewards.fit_windows import FitWindows
from experiments.text_rewards.mistake_data import MistakeTraces
from experiments.text_rewards.step_model import StepModel
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.domains.bigbench_mistake.claims import Claims
from irl.train import Schedule

SOURCE = "github.com/WHGTyen/BIG-Bench-Mistake"
TASKS = ("dyck_languages", "word_sorting", "tracking_shuffled_objects")
STEPS = 3000

config = StepModel(
    title="BIG-Bench-Mistake: where is the first mistake?",
    data=MistakeTraces(files=tuple(data_file(f"bigbench_mistake/{task}.jsonl.xz", SOURCE) for task in TASKS)),
    judges=(
        FitWindows(
            windows=Claims(),
            algorithm=Sft(optimiser=Muon(learning_rate=4e-3, total_steps=STEPS)),
            schedule=Schedule(steps=STEPS),
            rows=36,
            length=128,
        ),
    ),
)
