"""The score of ends: what it learns in seconds, what it adds to a trace, how a model folder brings it along."""

import json
import shutil

import numpy as np
import pytest

from experiments.cli import main
from experiments.commands.truncation import truncation_finding
from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_calculations import FitCalculations
from experiments.text_rewards.fit_ending import FitEnding, add_ending, ends
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.evaluation.audit import TRUNCATION_AUC
from irl.rewards import open_scorer
from irl.rewards.ending import end_score
from irl.rewards.questions import Question, steps_answer
from irl.train import Schedule
from irl.types import InputError
from reward_models.aggregation import aggregate_rows
from reward_models.networks.decoder import DecoderConfig

pytestmark = pytest.mark.usefixtures("careless_compilation")

TINY = DecoderConfig(vocab_size=64, num_layers=1, dim=32, num_heads=2, num_kv_heads=1, head_dim=16, hidden_dim=64)
FEW = 60


def trace(a, b):
    sums = [f"We take {a} and {b}.", f"So {a}+{b} = {a + b} of them.", f"Twice, {a + b}*2 = {2 * (a + b)}."]
    return f"Add {a} and {b}, twice.", (*sums, f"So the answer is {2 * (a + b)}.")


TRACES = [trace(a, b) for a in range(1, 9) for b in range(1, 9)]
HELD_OUT = [trace(a, b) for a in range(11, 15) for b in range(31, 35)]


def algorithm(steps):
    return Sft(optimiser=Muon(learning_rate=1e-2, total_steps=steps, warmup_steps=5))


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A run folder with a model of calculations, and its score of ends."""
    folder = tmp_path_factory.mktemp("run")
    tiny = {"decoder": TINY, "rows": 8}
    ending = FitEnding(**tiny, length=140, algorithm=algorithm(FEW), schedule=Schedule(steps=FEW, save_every=FEW))
    calculations = FitCalculations(**tiny, length=64, epoch=60, algorithm=algorithm(5), schedule=Schedule(steps=5))
    calculations.run(RunFolder(folder, 0), [f"<<{a}+1={a + 1}>>{a + 1}" for a in range(9)], "sums")
    return folder, ending.run(RunFolder(folder, 0), TRACES, "sums")


@pytest.fixture
def model(learned, tmp_path):
    """A copy of the model folder without its score of ends, and the run folder."""
    folder, _ = learned
    return shutil.copytree(folder / "calculations-seed-0", tmp_path / "model"), folder


def question(steps):
    return Question("q", "Q", (), (steps_answer(list(steps), "\n"),))


def test_a_score_of_steps_passes_the_truncation_probe_by_its_end_alone(learned):
    _, ending = learned

    def of_steps(traces):
        return np.zeros(len(traces))

    before = truncation_finding(of_steps, HELD_OUT)
    after = truncation_finding(lambda traces: of_steps(traces) + ends(ending, traces), HELD_OUT)
    assert before.mean == 0.5 and after.low > TRUNCATION_AUC


def test_complete_traces_keep_their_order(learned):
    """The end of a complete trace costs nothing, not a small number that differs between traces."""
    _, ending = learned
    assert (ends(ending, HELD_OUT) == 0).all()
    cut = [(prompt, steps[:count]) for prompt, steps in HELD_OUT for count in range(1, len(steps))]
    assert (ends(ending, cut) < -1).all()
    long = ("", ["Sorted: " + "word " * 100, "So the answer is " + "word " * 100])
    assert len(ending([long])[0]) == 2 and ends(ending, [long])[0] <= 0


def test_traces_without_an_end_pay_the_same():
    np.testing.assert_allclose(end_score(np.array([0.0, -2.3, -5.0, -9.0, -np.inf])), [0, -25, -50, -50, -50])


def test_the_end_counts_once_beside_the_steps(model):
    folder, run = model
    without = open_scorer(folder)
    assert not without.judges_end
    add_ending(run, folder)
    add_ending(run, folder)
    scorer = open_scorer(folder)
    assert scorer.judges_end and scorer.spec == without.spec
    _, steps = HELD_OUT[0]
    asked = [question(steps), question(steps[:2]), question(["  "])]
    plain, ended = without.answers(asked), scorer.answers(asked)
    assert ended.steps == plain.steps and ended.reasons == plain.reasons and plain.reasons[2]
    assert ended.trace[0] == plain.trace[0] and ended.trace[1] < plain.trace[1] - 1 and np.isneginf(ended.trace[2])
    np.testing.assert_array_equal(plain.trace[:2], aggregate_rows(list(map(np.array, plain.steps[:2])), "min"))


def test_a_model_without_an_end_says_so(model, tmp_path, capsys):
    folder, run = model
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"prompt": "Q", "completion": "So 1+1 = 2."}) + "\n")

    def errors():
        with pytest.raises(SystemExit) as stop:
            main(["score", "--model", str(folder), "--input", str(file)])
        assert stop.value.code == 0
        return capsys.readouterr().err

    assert "warning: the model judges single steps and not where a candidate ends" in errors()
    add_ending(run, folder)
    assert "warning" not in errors()


def test_another_model_in_its_place_is_refused(model):
    folder, run = model
    shutil.copytree(run / "calculations-seed-0", folder / "ending")
    with pytest.raises(InputError, match="ending: expected a score of ends, as a run saves it; copy it again"):
        open_scorer(folder)
