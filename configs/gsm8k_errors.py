"""A process reward model from GSM8K's human solutions and errors planted in them: find the first wrong step.

    TRACEWARD_DATA=FOLDER traceward run gsm8k_errors

Three seeds on one trunk. Kinds of errors in the test were never trained on; answers of other models are ordered too.
Two scores of a step: a process model reads it in its solution, a soft Q-function reads its calculations alone.
Expect: see LOG.md. Obvious variations: --data.train FILE --data.test FILE --candidates.0 None --candidates.1 None;
--judges.1 None (without calculations); --data.renumber 0; --judges.0.model.base HUGGING_FACE_FOLDER.
"""

from experiments.core.data_folder import data_file
from experiments.text_rewards.fit_process import FitProcess
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.fit_windows import FitWindows
from experiments.text_rewards.step_candidates import SolutionCandidates
from experiments.text_rewards.step_data import PlantedErrors
from experiments.text_rewards.step_model import StepModel
from experiments.text_rewards.text_model import TextModel
from irl.algorithms.optimiser import AdamW
from irl.algorithms.process import Process
from irl.algorithms.sft import Sft
from irl.domains.gsm8k.exercises import Calculations
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig

GSM8K, ZEROEVAL = "github.com/openai/grade-school-math", "answers of 44 models, github.com/WildEval/ZeroEval"
TRUNK_STEPS, STEPS = 3000, 1000

config = StepModel(
    title="GSM8K: which step is wrong?",
    data=PlantedErrors(train=data_file("gsm8k/train.jsonl.xz", GSM8K), test=data_file("gsm8k/test.jsonl", GSM8K)),
    judges=(
        FitProcess(
            model=TextModel(
                context=384,
                decoder=DecoderConfig(
                    vocab_size=1024, num_layers=4, dim=96, num_heads=4, num_kv_heads=2, head_dim=24, hidden_dim=256
                ),
            ),
            trunk=FitTrunk(
                algorithm=Sft(optimiser=AdamW(learning_rate=3e-3, total_steps=TRUNK_STEPS)),
                schedule=Schedule(steps=TRUNK_STEPS),
                rows=36,
                length=128,
            ),
            algorithm=Process(optimiser=AdamW(learning_rate=2e-3, total_steps=STEPS)),
            schedule=Schedule(steps=STEPS),
            rows=12,
            length=384,
        ),
        FitWindows(windows=Calculations()),
    ),
    candidates=(
        SolutionCandidates(file=data_file("gsm8k/model_solutions_first_660.jsonl.xz", GSM8K)),
        SolutionCandidates(file=data_file("zeroeval/gsm_first_660.jsonl.xz", ZEROEVAL), problems=200),
    ),
)
