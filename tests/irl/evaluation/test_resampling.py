"""Bootstrap of any statistic against the bootstrap of means and against closed forms."""

import numpy as np
import pytest

from irl.evaluation.estimators import bootstrap_interval
from irl.evaluation.resampling import UNIT, findings, weighted_mean
from irl.evaluation.reward_metrics import preference_findings, tie_findings


def mean_of(values):
    return lambda w: {"mean": weighted_mean(values, w)}


def test_mean_agrees_with_the_estimator():
    values = np.random.default_rng(0).random(60)
    found = findings(mean_of(values), np.arange(60), resamples=1000)["mean"]
    other = bootstrap_interval(values)
    assert found.mean == pytest.approx(other.mean) and found.num_prompts == 60
    assert (found.low, found.high) == pytest.approx((other.low, other.high), abs=0.01)


def test_rows_of_a_problem_stay_together():
    # Two problems of three equal rows: resamples give 0, 1/2 or 1, so the interval is everything.
    values, problem = np.repeat([0.0, 1.0], 3), ["a"] * 3 + ["b"] * 3
    found = findings(mean_of(values), problem, resamples=200)["mean"]
    assert (found.mean, found.low, found.high, found.num_prompts) == (0.5, 0.0, 1.0, 2)


def test_strata_keep_their_size():
    # A stratum of one problem is drawn every time: where strata explain everything, nothing varies.
    values, stratum = np.array([0.0, 1.0]), ["x", "y"]
    found = findings(mean_of(values), np.arange(2), strata=stratum, resamples=50)["mean"]
    assert (found.low, found.high) == (0.5, 0.5)
    seen = []
    findings(lambda w: seen.append(w) or {}, np.arange(5), strata=["x", "x", "x", "y", "y"], resamples=50)
    assert all(w[:3].sum() == 3 and w[3:].sum() == 2 for w in seen)
    assert len({tuple(w) for w in seen}) > 10


def test_one_id_in_two_strata_is_two_problems():
    found = findings(mean_of(np.array([0.0, 1.0])), ["a", "a"], strata=["x", "y"], resamples=5)["mean"]
    assert found.num_prompts == 2


def test_undefined_resamples_do_not_count():
    values = np.array([1.0, 3.0])
    only_first = findings(lambda w: {"first": weighted_mean(values[:1], w[:1])}, np.arange(2), resamples=50)["first"]
    assert only_first[:3] == (1.0, 1.0, 1.0)
    never = findings(lambda w: {"never": float("nan")}, np.arange(2), num_problems={"never": 0}, resamples=5)["never"]
    assert np.isnan(never[:3]).all() and never.num_prompts == 0


def test_seed():
    values = np.random.default_rng(1).random(30)
    first, again, other = (
        findings(mean_of(values), np.arange(30), resamples=50, seed=seed)["mean"] for seed in (0, 0, 1)
    )
    assert first == again and first != other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"problem": []}, "an id per row"),
        ({"strata": ["x"]}, "an id per row"),
        ({"level": 1.0}, "level: expected a number between 0 and 1"),
    ],
)
def test_bad_input(change, message):
    given = {"problem": [0, 1], **change}
    with pytest.raises(ValueError, match=message):
        findings(mean_of(np.zeros(2)), **given)


def test_the_interval_of_a_biased_statistic_contains_it():
    """An absolute value grows in resamples: their percentiles lie above it."""
    values = np.concatenate([np.ones(30), -np.ones(30)])

    def statistics(w):
        return {"distance": abs(weighted_mean(values, w))}

    plain = findings(statistics, np.arange(60), resamples=400)["distance"]
    shifted = findings(statistics, np.arange(60), biased={"distance": UNIT}, resamples=400)["distance"]
    assert plain.mean == shifted.mean == 0.0
    assert shifted.low == 0.0 < shifted.high < plain.high


def test_an_interval_that_excludes_its_estimate_is_left_out():
    found = findings(lambda w: {"largest": float(w.max())}, np.arange(40), resamples=100)["largest"]
    assert found.mean == 1.0 and np.isnan(found.low) and np.isnan(found.high)


@pytest.mark.parametrize("seed", range(8))
def test_reported_intervals_contain_their_estimates(seed):
    rng = np.random.default_rng(seed)
    count = int(rng.integers(3, 80))
    gap, prompt = rng.normal(rng.uniform(-1, 1), rng.choice([0.1, 1, 5]), count), rng.integers(0, count, count)
    outcome = rng.choice([-1, 0, 1], count)
    reports = (
        preference_findings(gap, prompt, resamples=100),
        tie_findings(gap, outcome, prompt, 0.3, resamples=100),
    )
    for report in reports:
        for name, found in report.items():
            assert np.isnan(found.low) or found.low <= found.mean <= found.high, name
    assert all(not np.isnan(reports[0][name].low) for name in ("ECE, equal mass", "ECE, equal width"))
    for values in (np.full(count, 0.1), np.full((3, count), 1 / 3), rng.random((3, count))):
        interval = bootstrap_interval(values, resamples=100)
        assert interval.low <= interval.mean <= interval.high
