"""Rows of the pair evaluation against numbers worked out by hand."""

import numpy as np
import pytest

from experiments.pair_evaluation import Gaps, pair_rows, reliability_panel


def gaps(outcome, *members, **baselines):
    outcome = np.array(outcome)
    named = {name.replace("_", " "): np.array(gap, float) for name, gap in baselines.items()}
    return Gaps(outcome, [f"prompt {n}" for n in range(len(outcome))], np.array(members, float), named)


# Members' means: 2, -1, .25, .5. With |gap| <= w a tie: three right for .25 < w < .5... and of the others one is wrong.
VALIDATION = gaps([1, 1, 0, -1], [3, -2, 0.5, 1], [1, 0, 0, 0])
TEST = gaps([1, -1, 0, 1], [2, -1, 0.2, -1], [4, 3, 0.2, -3], longer_answer=[10, 5, 0, 0])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def by_name(rows, name="set"):
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"].removeprefix(f"{name}: "): row for row in rows}


@pytest.fixture(scope="module")
def rows():
    return by_name(pair_rows("set", VALIDATION, TEST))


def test_accuracy_of_seeds_ensemble_and_baseline(rows):
    """Of three decided pairs the first member has two right, the other one; their means 3, 1, -2 are right once."""
    assert rows["accuracy"]["value"] == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert rows["accuracy, mean of seeds"]["value"] == pytest.approx(1 / 3)
    assert rows["accuracy of longer answer"]["value"] == pytest.approx((1 + 0 + 0.5) / 3)
    assert rows["accuracy of longer answer"]["information"] == "none"
    assert {row["information"] for name, row in rows.items() if "of longer" not in name} == {"preferences"}
    assert rows["accuracy"]["count"] == rows["log loss"]["count"] == 3 and rows["tie AUC"]["count"] == 4


def test_calibration(rows):
    """Gaps towards the preferred answer: 3, -1, -2; of the validation pairs 2, -1, -.5."""
    p = sigmoid(np.array([3, -1, -2.0]))
    assert rows["log loss"]["value"] == pytest.approx(-np.log(p).mean())
    assert rows["Brier"]["value"] == pytest.approx(((1 - p) ** 2).mean())
    grid = np.linspace(0.001, 20, 200_000)[:, None]
    best = grid[np.argmin(-np.log(sigmoid(np.array([2, -1, -0.5]) * grid)).mean(axis=1)), 0]
    calibrated = sigmoid(np.array([3, -1, -2.0]) * best)
    assert rows["log loss, calibrated"]["value"] == pytest.approx(-np.log(calibrated).mean(), abs=1e-3)
    assert rows["Brier, calibrated"]["value"] == pytest.approx(((1 - calibrated) ** 2).mean(), abs=1e-3)


def test_ties(rows):
    """The width lies between .25 and .5 (three of four validation pairs would be two without it)."""
    assert rows["tie precision"]["value"] == rows["tie recall"]["value"] == rows["tie F1"]["value"] == 1
    assert rows["three-way accuracy"]["value"] == pytest.approx(2 / 4)
    assert rows["three-way accuracy of the commonest"]["value"] == pytest.approx(2 / 4)
    assert rows["tie AUC"]["value"] == 1


def test_spread(rows):
    """Standard deviations over the two seeds of the decided pairs: 1, 2 and 1."""
    spread = rows["spread of the gap"]
    assert spread["value"] == pytest.approx(4 / 3) and (spread["low"], spread["high"]) == (None, None)
    assert "rank correlation with error 0.500" in spread["note"]


def test_without_ties_and_with_one_seed():
    alone, decided = VALIDATION._replace(members=VALIDATION.members[:1]), gaps([1, -1], [1, 1])
    for validation, test in ((alone, decided), (decided, TEST._replace(members=TEST.members[:1]))):
        names = by_name(pair_rows("set", validation, test))
        assert "accuracy" in names and not [name for name in names if "tie" in name or "spread" in name]


def test_reliability_panel():
    panel = reliability_panel("set", VALIDATION, TEST)
    assert panel["name"] == "Reliability, set"
    assert [series["name"] for series in panel["series"]] == ["said = true", "as trained", "calibrated"]
    trained = panel["series"][1]
    # gaps 3, -1, -2 towards the preferred: said .953 and true, said .731 and .881 and false
    assert trained["x"] == pytest.approx(sigmoid(np.array([1, 2, 3.0])).tolist())
    assert trained["y"] == [0, 0, 1]
