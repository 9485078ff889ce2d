"""The score of calculations: what it reads, what it learns in seconds, what it leaves behind."""

import json

import numpy as np
import pytest

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_calculations import FitCalculations
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.rewards import open_scorer
from irl.rewards.claims import ClaimScorer
from irl.train import Schedule
from irl.types import InputError
from reward_models.folders.native import load_folder
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.regret import RegretConfig

TINY = DecoderConfig(vocab_size=64, num_layers=1, dim=32, num_heads=2, num_kv_heads=1, head_dim=16, hidden_dim=64)
LINES = [f"So <<{a}+{b}={a + b}>>{a + b}." for a in range(4) for b in range(4)]


def stage(steps, **given):
    schedule = Schedule(steps=steps, save_every=steps)
    algorithm = Sft(optimiser=Muon(learning_rate=1e-2, total_steps=steps, warmup_steps=5))
    return FitCalculations(decoder=TINY, algorithm=algorithm, schedule=schedule, rows=8, length=64, epoch=400, **given)


def alone(*steps):
    """Traces of one step."""
    return [("", [step]) for step in steps]


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, stage(120, renumber=0.0).run(RunFolder(folder, 3), LINES, "sums to six")


def test_wrong_sums_stand_out(learned):
    _, scorer = learned
    right, wrong = [f"{a} + {b} = {a + b}" for a in range(4) for b in range(4)], []
    wrong = [f"{a} + {b} = {(a + b + 3) % 7}" for a in range(4) for b in range(4)]
    of_right, of_wrong = (np.concatenate(scorer([("", [step]) for step in steps])) for steps in (right, wrong))
    assert (of_right[:, None] > of_wrong).mean() > 0.95 and (of_wrong <= 0).all()


def test_a_step_is_as_good_as_its_worst_calculation_and_one_without_any_scores_nothing(learned):
    _, scorer = learned
    both, first, second, nothing = scorer(alone("1+2 = 3, so 2+2 = 6", "1+2 = 3", "2+2 = 6", "no numbers"))
    assert both[0] == min(first[0], second[0]) and nothing[0] == 0
    long = "+".join(["1"] * 90) + " = 90"
    (scores,) = scorer([("", ["1+2 = 3", long, "2+2 = 6"])])
    np.testing.assert_allclose(scores, [first[0], 0.0, second[0]], atol=1e-5)
    assert scorer([]) == []


def test_the_folder_is_a_model(learned):
    folder, scorer = learned
    classes = {c.__name__: c for c in (RegretConfig, DecoderConfig, RopeScaling)}
    model = load_folder(folder / "calculations-seed-3", classes=classes)
    assert model.manifest.windows == "equations" and model.manifest.trained_on == "sums to six"
    assert model.spec.information == "demonstrations"
    again = open_scorer(folder / "calculations-seed-3")
    assert isinstance(again, ClaimScorer)
    np.testing.assert_array_equal(again(alone("1+2 = 4"))[0], scorer(alone("1+2 = 4"))[0])
    assert again.spec == scorer.spec and again.spec.information == "demonstrations"
    stages = {json.loads(line)["stage"] for line in (folder / "metrics.jsonl").read_text().splitlines()}
    assert stages == {"calculations-seed-3"}


def test_a_finished_stage_is_read_back(learned, tmp_path):
    folder, scorer = learned
    again = stage(120, renumber=0.0).run(RunFolder(folder, 3), LINES, "sums to six")
    assert all(np.array_equal(a, b) for a, b in zip(again(alone("3+3 = 6")), scorer(alone("3+3 = 6")), strict=True))


def test_demonstrations_without_calculations_are_refused(tmp_path):
    with pytest.raises(InputError, match="no right <<calculation>> in the demonstrations; set calculations to None"):
        stage(8).run(RunFolder(tmp_path, 0), ["1+1 = <<1+1=3>>3"], "nothing")
