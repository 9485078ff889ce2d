"""Metrics of reward models by hand, tie widths against trying every width, spread of members that must agree."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.evaluation.reward_metrics import (
    ensemble_spread,
    fit_tie_width,
    pair_credit,
    preference_findings,
    tie_findings,
)

quick = settings(deadline=None, max_examples=40, derandomize=True)
LOG3 = np.log(3)


def test_preferences_by_hand():
    gap = np.array([LOG3, LOG3, -LOG3, 0.0])
    np.testing.assert_array_equal(pair_credit(gap), [1, 1, 0, 0.5])
    found = preference_findings(gap, ["a", "a", "b", "c"], resamples=200)
    assert found["accuracy"].mean == 0.625
    assert found["accuracy, ties wrong"].mean == 0.5
    assert found["tied"].mean == 0.25
    assert found["log loss"].mean == pytest.approx((2 * np.log(4 / 3) + np.log(4) + np.log(2)) / 4)
    assert found["Brier"].mean == pytest.approx((2 / 16 + 9 / 16 + 1 / 4) / 4)
    # confidence 3/4 three times with 2/3 right, 1/2 once with a tie
    assert found["ECE, equal width"].mean == pytest.approx(0.75 * (0.75 - 2 / 3))
    assert found["ECE, equal mass"].mean == pytest.approx(0.75 * (0.75 - 2 / 3))
    assert {finding.num_prompts for finding in found.values()} == {3}
    # drawn prompts bbb or bbc give 0 or 1/6, aaa or aac give 1 or 9/10
    assert found["accuracy"].low <= 1 / 6 and found["accuracy"].high >= 0.9


def test_all_right():
    found = preference_findings(np.full(40, 30.0), np.arange(40), resamples=20)
    assert found["accuracy"][:3] == (1.0, 1.0, 1.0)
    assert found["ECE, equal width"].mean == pytest.approx(0, abs=1e-9)


def three_way(gap, outcome, width):
    return (np.where(np.abs(gap) <= width, 0, np.sign(gap)) == outcome).mean()


@quick
@given(st.lists(st.tuples(st.sampled_from([-2, -1, -0.5, 0, 0.5, 1, 3]), st.sampled_from([-1, 0, 1])), min_size=1))
def test_tie_width_is_best(pairs):
    gap, outcome = (np.array(column, float) for column in zip(*pairs, strict=True))
    every = [three_way(gap, outcome, width) for width in (0, 0.25, 0.75, 1.5, 2.5, 3.5)]
    width = fit_tie_width(gap, outcome)
    assert three_way(gap, outcome, width) == pytest.approx(max(every))
    assert width <= min(w for w, a in zip((0, 0.5, 1, 2, 3, 3), every, strict=True) if a == max(every)) + 0.5


def test_tie_width_stands_between_gaps():
    assert fit_tie_width(np.array([0.1, -0.3, 1.0, -2.0]), np.array([0, 0, 1, -1])) == pytest.approx(0.65)
    assert fit_tie_width(np.array([1.0, -2.0]), np.array([1, -1])) == 0
    assert fit_tie_width(np.array([1.0, -2.0]), np.array([0, 0])) == 2.0


def test_ties_by_hand():
    gap, outcome = np.array([0.1, 0.2, 2.0, -2.0, 1.0, 0.0]), np.array([0, 1, 1, 1, 0, 1])
    found = {name: f.mean for name, f in tie_findings(gap, outcome, np.arange(6), 0.2, resamples=50).items()}
    assert found["three-way accuracy"] == pytest.approx(2 / 6)  # the first and the third
    assert found["three-way accuracy of the commonest"] == pytest.approx(4 / 6)
    assert found["decided-pair accuracy"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert found["tie precision"] == pytest.approx(1 / 3)
    assert found["tie recall"] == pytest.approx(1 / 2)
    assert found["tie F1"] == pytest.approx(2 / 5)
    # |gap| of ties .1, 1 against .2, 2, 2, 0: smaller in 3 and 2 of 4 cases
    assert found["tie AUC"] == pytest.approx(5 / 8)


def test_ties_where_nobody_ties():
    found = tie_findings(np.array([1.0, -1.0]), np.array([1, 1]), np.arange(2), 0.0, resamples=20)
    assert found["three-way accuracy"].mean == 0.5
    assert all(np.isnan(found[name].mean) for name in ("tie precision", "tie recall", "tie F1", "tie AUC"))


def test_spread_of_members():
    gaps = np.array([[1.0, 2.0, 3.0], [1.0, 4.0, 9.0]])
    spread = ensemble_spread(gaps, np.array([0.0, 0.5, 1.0]))
    assert spread.mean_std == pytest.approx((0 + 1 + 3) / 3)
    assert spread.error_correlation == pytest.approx(1.0)
    assert np.isnan(ensemble_spread(gaps, np.zeros(3)).error_correlation)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pair_credit(np.array([np.nan])), "gap: 1 of 1 are not finite"),
        (lambda: pair_credit(np.zeros(0)), "gap: expected one number per row"),
        (lambda: fit_tie_width(np.zeros(1), np.array([2])), "outcome: expected 1"),
        (lambda: tie_findings(np.zeros(1), np.zeros(1), [0], -1.0), "width: expected 0 or more"),
        (lambda: ensemble_spread(np.zeros((1, 2)), np.zeros(2)), "2 or more members"),
        (lambda: ensemble_spread(np.full((2, 1), np.inf), np.zeros(1)), "2 of 2 are not finite"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda: fit_tie_width(np.zeros(1), np.zeros(2)),
        lambda: ensemble_spread(np.zeros((2, 3)), np.zeros(2)),
    ],
)
def test_unequal_lengths(call):
    with pytest.raises((ValueError, TypeError), match=r"differ in length|expected|Type-check error"):
        call()
