"""Scores of calculations and of ends: what they learn in seconds, what they read, what they leave behind."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

from experiments.cli import main
from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_windows import ENDING, FitWindows, add_ending, ends
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.domains.gsm8k.exercises import Calculations
from irl.evaluation.audit import TRUNCATION_AUC, truncation_finding
from irl.rewards import open_scorer
from irl.rewards.claims import ClaimScorer
from irl.rewards.ending import end_score
from irl.rewards.questions import Question, steps_answer
from irl.train import Schedule
from irl.types import InputError, LabelledSteps
from reward_models.aggregation import aggregate_rows
from reward_models.folders.native import load_folder
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.regret import RegretConfig

TINY = DecoderConfig(vocab_size=64, num_layers=1, dim=32, num_heads=2, num_kv_heads=1, head_dim=16, hidden_dim=64)
NAMES = {3: "calculations-seed-3"}


class Traces:
    """Right traces: lines with calculations, and whole texts."""

    def __init__(self, lines=(), whole=()):
        self.lines, self.whole = tuple(lines), list(whole)

    def demonstrations(self, seed):
        return [LabelledSteps(id="0", prompt="Add.", steps=self.lines, labels=(1.0,) * len(self.lines))]

    def complete(self, seed):
        return self.whole


def text(a, b):
    sums = [f"We take {a} and {b}.", f"So {a}+{b} = {a + b} of them.", f"Twice, {a + b}*2 = {2 * (a + b)}."]
    return f"Add {a} and {b}, twice.", (*sums, f"So the answer is {2 * (a + b)}.")


SUMS = Traces(f"So <<{a}+{b}={a + b}>>{a + b}." for a in range(4) for b in range(4))
WHOLE = Traces(whole=[text(a, b) for a in range(1, 9) for b in range(1, 9)])
HELD_OUT = [text(a, b) for a in range(11, 15) for b in range(31, 35)]


def trained(stage, steps, **given):
    algorithm = Sft(optimiser=Muon(learning_rate=1e-2, total_steps=steps, warmup_steps=5))
    schedule = Schedule(steps=steps, save_every=steps)
    return replace(stage, decoder=TINY, algorithm=algorithm, schedule=schedule, rows=8, **given)


STAGE = trained(FitWindows(windows=Calculations(epoch=400, renumber=0.0)), 120, length=64)


def alone(*steps):
    """Traces of one step."""
    return [("", [step]) for step in steps]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def sums(run):
    return STAGE.learn(RunFolder(run, 3), SUMS, NAMES, "sums to six")[0]


@pytest.fixture(scope="module")
def ending(run):
    return trained(ENDING, 60, length=140).learn(RunFolder(run, 0), WHOLE, {0: "ending"}, "sums")[0]


# ------------------------------------------------------------------------------------------ calculations


def test_wrong_sums_stand_out(sums):
    right, wrong = [f"{a} + {b} = {a + b}" for a in range(4) for b in range(4)], []
    wrong = [f"{a} + {b} = {(a + b + 3) % 7}" for a in range(4) for b in range(4)]
    of_right, of_wrong = (np.concatenate(sums([("", [step]) for step in steps])) for steps in (right, wrong))
    assert (of_right[:, None] > of_wrong).mean() > 0.95 and (of_wrong <= 0).all()


def test_a_step_is_as_good_as_its_worst_calculation_and_one_without_any_scores_nothing(sums):
    both, first, second, nothing = sums(alone("1+2 = 3, so 2+2 = 6", "1+2 = 3", "2+2 = 6", "no numbers"))
    assert both[0] == min(first[0], second[0]) and nothing[0] == 0
    long = "+".join(["1"] * 90) + " = 90"
    (scores,) = sums([("", ["1+2 = 3", long, "2+2 = 6"])])
    np.testing.assert_allclose(scores, [first[0], 0.0, second[0]], atol=1e-5)
    assert sums([]) == []


def test_the_folder_is_a_model(run, sums):
    classes = {c.__name__: c for c in (RegretConfig, DecoderConfig, RopeScaling)}
    model = load_folder(run / "calculations-seed-3", classes=classes)
    assert model.manifest.windows == "equations" and model.manifest.trained_on == "sums to six"
    assert model.spec.information == "demonstrations"
    again = open_scorer(run / "calculations-seed-3")
    assert isinstance(again, ClaimScorer)
    np.testing.assert_array_equal(again(alone("1+2 = 4"))[0], sums(alone("1+2 = 4"))[0])
    assert again.spec == sums.spec
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert "calculations-seed-3" in {line["stage"] for line in metrics}


def test_a_finished_stage_is_read_back(run, sums):
    (again,) = STAGE.learn(RunFolder(run, 3), SUMS, NAMES, "sums to six")
    assert all(np.array_equal(a, b) for a, b in zip(again(alone("3+3 = 6")), sums(alone("3+3 = 6")), strict=True))


def test_demonstrations_without_calculations_are_refused(tmp_path):
    with pytest.raises(InputError, match="no right <<calculation>> in the demonstrations; remove this judge"):
        STAGE.learn(RunFolder(tmp_path, 3), Traces(["1+1 = <<1+1=3>>3"]), NAMES, "nothing")


# ------------------------------------------------------------------------------------------ ends


@pytest.fixture
def model(run, sums, ending, tmp_path):
    """A copy of the model folder without its score of ends."""
    return shutil.copytree(run / "calculations-seed-3", tmp_path / "model")


def question(steps):
    return Question("q", "Q", (), (steps_answer(list(steps), "\n"),))


def test_a_score_of_steps_passes_the_truncation_probe_by_its_end_alone(ending):
    def of_steps(traces):
        return np.zeros(len(traces))

    before = truncation_finding(of_steps, HELD_OUT)
    after = truncation_finding(lambda traces: of_steps(traces) + ends(ending, traces), HELD_OUT)
    assert before.mean == 0.5 and after.low > TRUNCATION_AUC


def test_complete_traces_keep_their_order(ending):
    """The end of a complete trace costs nothing, not a small number that differs between traces."""
    assert (ends(ending, HELD_OUT) == 0).all()
    cut = [(prompt, steps[:count]) for prompt, steps in HELD_OUT for count in range(1, len(steps))]
    assert (ends(ending, cut) < -1).all()
    long = ("", ["Sorted: " + "word " * 100, "So the answer is " + "word " * 100])
    assert len(ending([long])[0]) == 2 and ends(ending, [long])[0] <= 0


def test_traces_without_an_end_pay_the_same():
    np.testing.assert_allclose(end_score(np.array([0.0, -2.3, -5.0, -9.0, -np.inf])), [0, -25, -50, -50, -50])


def test_the_end_counts_once_beside_the_steps(run, model):
    without = open_scorer(model)
    assert not without.judges_end
    add_ending(run, model)
    add_ending(run, model)
    scorer = open_scorer(model)
    assert scorer.judges_end and scorer.spec == without.spec
    _, steps = HELD_OUT[0]
    asked = [question(steps), question(steps[:2]), question(["  "])]
    plain, ended = without.answers(asked), scorer.answers(asked)
    assert ended.steps == plain.steps and ended.reasons == plain.reasons and plain.reasons[2]
    assert ended.trace[0] == plain.trace[0] and ended.trace[1] < plain.trace[1] - 1 and np.isneginf(ended.trace[2])
    np.testing.assert_array_equal(plain.trace[:2], aggregate_rows(list(map(np.array, plain.steps[:2])), "min"))


def test_a_model_without_an_end_says_so(run, model, tmp_path, capsys):
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps({"prompt": "Q", "completion": "So 1+1 = 2."}) + "\n")

    def errors():
        with pytest.raises(SystemExit) as stop:
            main(["score", "--model", str(model), "--input", str(file)])
        assert stop.value.code == 0
        return capsys.readouterr().err

    assert "warning: the model judges single steps and not where a candidate ends" in errors()
    add_ending(run, model)
    assert "warning" not in errors()


def test_another_model_in_its_place_is_refused(run, model):
    shutil.copytree(run / "calculations-seed-3", model / "ending")
    with pytest.raises(InputError, match="ending: expected a score of ends, as a run saves it; copy it again"):
        open_scorer(model)
