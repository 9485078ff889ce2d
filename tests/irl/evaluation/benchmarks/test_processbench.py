"""ProcessBench by hand, the fitted threshold against trying every threshold."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from irl.evaluation.benchmarks.processbench import first_error, fit_threshold, harmonic_mean, processbench


def rows(*scores):
    return [np.array(row, float) for row in scores]


def test_first_error():
    steps = rows([0.9, 0.4, 0.1], [0.5], [0.2, 0.9], [0.6, 0.7])
    np.testing.assert_array_equal(first_error(steps, 0.5), [1, -1, 0, -1])


def test_by_hand():
    label = np.array([0, 2, 1, 1, -1, -1, 0, -1])
    predicted = np.array([0, 1, 1, -1, -1, 3, 1, -1])
    split = ["gsm8k"] * 6 + ["math"] * 2
    found = processbench(predicted, label, split, resamples=100)
    assert (found["gsm8k error"].mean, found["gsm8k correct"].mean) == (0.5, 0.5) and found["gsm8k F1"].mean == 0.5
    assert (found["gsm8k error"].num_prompts, found["gsm8k correct"].num_prompts, found["gsm8k F1"].num_prompts) == (
        4,
        2,
        6,
    )
    assert (found["math error"].mean, found["math correct"].mean, found["math F1"].mean) == (0.0, 1.0, 0.0)
    assert found["average F1"].mean == 0.25 and found["average F1"].num_prompts == 8
    assert found["average F1"].low <= 0.25 <= found["average F1"].high


def test_harmonic_mean_is_not_the_mean():
    found = processbench(np.array([0, -1, -1, -1]), np.array([0, 1, 1, -1]), ["a"] * 4, resamples=5)
    assert found["average F1"].mean == pytest.approx(2 * (1 / 3) / (1 / 3 + 1))
    assert harmonic_mean(0.0, 0.0) == 0.0


def test_ends():
    label = np.array([0, 3, -1])
    assert processbench(label, label, ["a"] * 3, resamples=20)["average F1"].mean == 1.0
    wrong = processbench(np.array([1, 1, 1]), label, ["a"] * 3, resamples=20)
    assert wrong["average F1"].mean == 0.0
    one_kind = processbench(np.array([0]), np.array([0]), ["a"], resamples=5)
    assert one_kind["a error"].mean == 1.0 and np.isnan(one_kind["average F1"].mean)


def f1_at(steps, label, threshold):
    return processbench(first_error(steps, threshold), label, ["a"] * len(label), resamples=0)["average F1"].mean


trace = st.lists(st.integers(0, 4), min_size=1, max_size=4).flatmap(
    lambda row: st.tuples(st.just(row), st.integers(-1, len(row) - 1))
)


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(trace, min_size=2, max_size=8))
def test_threshold_is_best(traces):
    label = np.array([index for _, index in traces])
    assume((label == -1).any() and (label >= 0).any())
    steps = rows(*(row for row, _ in traces))
    best = max(f1_at(steps, label, threshold) for threshold in np.arange(-0.5, 6))
    assert f1_at(steps, label, fit_threshold(steps, label)) == pytest.approx(best)


def test_threshold_by_hand():
    # Error at step 1 is found for thresholds in (.2, .9], the right trace needs at most .6: (.2, .6].
    assert fit_threshold(rows([0.9, 0.2], [0.8, 0.6]), np.array([1, -1])) == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: first_error(rows([]), 0.5), "trace 0: expected a score for each of its steps"),
        (lambda: first_error(rows([1], [np.nan]), 0.5), "trace 1: expected a score"),
        (lambda: processbench(np.array([-2]), np.array([0]), ["a"]), "predicted: expected step indices"),
        (lambda: processbench(np.array([0]), np.array([0.5]), ["a"]), "label: expected step indices"),
        (lambda: processbench(np.array([0]), np.array([0]), ["a", "b"]), "split: expected a name for each of 1"),
        (lambda: processbench(np.array([0]), np.array([0, 1]), ["a"]), "expected one length|Type-check error"),
        (lambda: fit_threshold(rows([1], [1]), np.array([0, 0])), "all traces are of one kind"),
        (lambda: fit_threshold(rows([1], [1]), np.array([1, -1])), "trace 0: label 1, but there are 1 steps"),
        (lambda: fit_threshold(rows([1]), np.array([0, -1])), "differ in length: 1 and 2"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
