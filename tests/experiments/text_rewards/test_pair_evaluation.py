"""Rows of the pair evaluation against numbers worked out by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.text_rewards.pair_evaluation import (
    PENALTY,
    Gaps,
    combinations,
    pair_rows,
    reliability_panel,
    standardised,
)
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig


def gaps(outcome, *members, **baselines):
    """Of every member's scores the second answers' are 0."""
    outcome, gap = np.array(outcome), np.array(members, float)
    named = {name.replace("_", " "): np.array(gap, float) for name, gap in baselines.items()}
    scores = np.stack([gap, np.zeros_like(gap)], axis=1)
    return Gaps(outcome, [f"prompt {n}" for n in range(len(outcome))], scores, named)


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


def test_standardised():
    """Each member has its own mean and deviation, over both answers of all validation pairs; one of 0 stays."""
    scores = np.array([[[2.0, 4.0], [6.0, 8.0]], [[1.0, 1.0], [1.0, 1.0]]])
    validation = VALIDATION._replace(scores=scores)
    found = standardised(validation, TEST._replace(scores=np.array([[[5.0], [10.0]], [[3.0], [1.0]]])))
    np.testing.assert_allclose(found, [[[0.0], [5 / np.sqrt(5)]], [[2.0], [0.0]]])


def test_combinations_by_hand():
    """Answer by answer, then the gap: of the minima, not the minimum of the gaps."""
    scores = np.array([[[3.0, 0.0], [0.0, 2.0]], [[-1.0, 2.0], [-2.0, 0.0]]])
    mean, least, careful = combinations(scores).values()
    np.testing.assert_allclose(mean, [1 - -1, 1 - 1])
    np.testing.assert_allclose(least, [-1 - -2, 0 - 0])
    np.testing.assert_allclose(careful, [(1 - PENALTY * 4) - (-1 - PENALTY * 1), 0])


def test_combinations_are_those_of_an_ensemble():
    rng = np.random.default_rng(0)
    scores = rng.standard_normal((3, 2, 7))
    member = SoftAdvantageConfig(decoder=DecoderConfig(vocab_size=8))
    for found, reduction in zip(combinations(scores).values(), ("mean", "min", "pessimistic"), strict=True):
        first, second = EnsembleConfig(member=member, members=3, reduction=reduction).reduce(jnp.asarray(scores))
        np.testing.assert_allclose(found, first - second, atol=1e-5)


def test_accuracy_of_the_combinations(rows):
    """Of the validation scores 3, -2, .5, 1 and four 0 the deviation is d, of 1 and seven 0 it is e."""
    d, e = np.sqrt(14.25 / 8 - (2.5 / 8) ** 2), np.sqrt(1 / 8 - 1 / 64)
    first, second = np.array([[2, -1, -1], [0, 0, 0]]), np.array([[4, 3, -3], [0, 0, 0]])
    scores = np.stack([(first - 2.5 / 8) / d, (second - 1 / 8) / e])
    sign = np.array([1, -1, 1])
    wanted = {
        "standardised mean of seeds": scores.mean(axis=0),
        "standardised minimum of seeds": scores.min(axis=0),
        "standardised mean of seeds less 0.5 variance": scores.mean(axis=0) - 0.5 * scores.var(axis=0),
    }
    for name, (left, right) in wanted.items():
        row = rows[f"accuracy, {name}"]
        assert row["value"] == pytest.approx((((left - right) * sign) > 0).mean()), name
        assert (row["information"], row["count"]) == ("preferences", 3) and row["low"] <= row["value"] <= row["high"]
    assert {rows[f"accuracy, {name}"]["value"] for name in wanted} == {1 / 3, 2 / 3}, "they do not all say the same"


def test_spread(rows):
    """Deviations over the two seeds of the standardised gaps, half their distance, of the decided pairs."""
    d, e = np.sqrt(14.25 / 8 - (2.5 / 8) ** 2), np.sqrt(1 / 8 - 1 / 64)
    apart = np.abs(np.array([2, -1, -1]) / d - np.array([4, 3, -3]) / e) / 2
    spread = rows["spread of the gap"]
    assert spread["value"] == pytest.approx(apart.mean())
    assert apart.min() - 1e-9 <= spread["low"] < spread["value"] < spread["high"] <= apart.max() + 1e-9
    # the ranks of the spread are 3, 2, 1, those of the errors 1, 2.5, 2.5
    assert "rank correlation with error -0.866" in spread["note"]


def test_without_ties_and_with_one_seed():
    alone, decided = VALIDATION._replace(scores=VALIDATION.scores[:1]), gaps([1, -1], [1, 1])
    for validation, test in ((alone, decided), (decided, TEST._replace(scores=TEST.scores[:1]))):
        names = by_name(pair_rows("set", validation, test))
        assert "accuracy" in names and not [
            name for name in names if "tie" in name or "spread" in name or "standardised" in name
        ]


def test_reliability_panel():
    panel = reliability_panel("set", VALIDATION, TEST)
    assert panel["name"] == "Reliability, set"
    assert [series["name"] for series in panel["series"]] == ["said = true", "as trained", "calibrated"]
    trained = panel["series"][1]
    # gaps 3, -1, -2 towards the preferred: said .953 and true, said .731 and .881 and false
    assert trained["x"] == pytest.approx(sigmoid(np.array([1, 2, 3.0])).tolist())
    assert trained["y"] == [0, 0, 1]
