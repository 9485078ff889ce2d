"""The truth here is brute force: every subset of a small pool, one by one."""

import re
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.evaluation.estimators import (
    NO_ANSWER,
    best_of_k,
    bootstrap_interval,
    majority_at_k,
    paired_bootstrap_difference,
    pass_at_k,
    weighted_majority_at_k,
)

quick = settings(deadline=None, max_examples=60, derandomize=True)
scores_with_ties = st.sampled_from([-np.inf, -2.0, 0.0, 0.5, 3.0])


@st.composite
def pools(draw):
    """(scores [2, n], correct [2, n], k) with many ties."""
    n = draw(st.integers(1, 7))
    row = st.lists(st.tuples(scores_with_ties, st.booleans()), min_size=n, max_size=n)
    both = np.array(draw(st.lists(row, min_size=2, max_size=2)), float)
    return both[..., 0], both[..., 1], draw(st.integers(1, n))


def over_subsets(value, n, k):
    return np.mean([value(list(subset)) for subset in combinations(range(n), k)])


def best(scores, correct):
    return lambda subset: correct[subset][scores[subset] == scores[subset].max()].mean()


def elected(keys, weights, correct):
    """Correctness of the winner among a subset, straight from the definition."""
    value = {key: correct[keys == key].mean() for key in keys}

    def of(subset):
        voters = [i for i in subset if keys[i] != NO_ANSWER]
        if not voters:
            return value[NO_ANSWER]
        votes = {keys[i]: 0.0 for i in voters}
        for i in voters:
            votes[keys[i]] += weights[i]
        most = max(votes.values())
        return np.mean([value[key] for key, vote in votes.items() if vote == most])

    return of


@quick
@given(pools())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(pool):
    _, correct, k = pool
    truth = [over_subsets(lambda s, row=row: row[s].max(), len(row), k) for row in correct]
    np.testing.assert_allclose(pass_at_k(correct, k), truth, atol=1e-12)


@quick
@given(pools())
def test_best_of_k_is_the_mean_over_subsets_with_ties(pool):
    scores, correct, k = pool
    truth = [over_subsets(best(s, c), len(s), k) for s, c in zip(scores, correct, strict=True)]
    np.testing.assert_allclose(best_of_k(scores, correct, k), truth, atol=1e-12)


@quick
@given(pools())
def test_best_of_k_by_correctness_itself_is_pass_at_k(pool):
    _, correct, k = pool
    np.testing.assert_allclose(best_of_k(correct, correct, k), pass_at_k(correct, k), atol=1e-12)


@quick
@given(pools())
def test_a_constant_score_is_worth_one_sample_at_every_k(pool):
    _, correct, k = pool
    np.testing.assert_allclose(best_of_k(np.zeros_like(correct), correct, k), correct.mean(1), atol=1e-12)


@quick
@given(pools(), st.randoms(use_true_random=False))
def test_best_of_k_ignores_the_order_of_the_pool_and_increasing_transforms(pool, random):
    scores, correct, k = pool
    order = list(range(scores.shape[1]))
    random.shuffle(order)
    moved = best_of_k(np.exp(scores[:, order]) * 7 - 100, correct[:, order], k)
    np.testing.assert_allclose(moved, best_of_k(scores, correct, k), atol=1e-12)


def test_large_pools_stay_stable():
    correct = np.zeros((2, 10_000))
    correct[0, 0], correct[1, 1:] = 1, 1
    k = np.array([1, 100, 5_000, 10_000])
    values = np.array([pass_at_k(correct, int(budget)) for budget in k])
    np.testing.assert_allclose(values[:, 0], k / 10_000, rtol=1e-9)
    np.testing.assert_allclose(values[:, 1], [0.9999, 1, 1, 1], rtol=1e-12)


def test_best_of_k_estimates_gold_rewards_too():
    gold = np.array([[3.0, -1.0, 2.0, 2.0]])
    assert best_of_k(np.array([[1.0, 2.0, 3.0, 3.0]]), gold, 4) == pytest.approx(2.0)
    assert best_of_k(gold, gold, 2)[0] == pytest.approx((3 * 3 + 2 * 3 + 0 * -1) / 6)


@st.composite
def electorates(draw):
    """(keys, weights, correct, k) of one problem; weights are eighths, so their sums are exact."""
    n = draw(st.integers(2, 7))
    voter = st.tuples(st.integers(NO_ANSWER, 2), st.integers(0, 3), st.booleans())
    keys, weights, correct = zip(*draw(st.lists(voter, min_size=n, max_size=n)), strict=True)
    return np.array(keys), np.array(weights) / 8, np.array(correct, float), draw(st.integers(1, n))


@quick
@given(electorates())
def test_votes_agree_with_all_subsets_within_the_stated_error(electorate):
    keys, weights, correct, k = electorate
    n, ones = len(keys), np.ones(len(keys))
    plain = majority_at_k([keys], [correct], k, draws=3000)
    weighted = weighted_majority_at_k([keys], [weights], [correct], k, draws=3000)
    for vote, weight in ((plain, ones), (weighted, weights)):
        truth = over_subsets(elected(keys, weight, correct), n, k)
        assert abs(vote.value[0] - truth) <= 5 * vote.standard_error[0] + 2e-3
        if k in (1, n):
            assert vote.standard_error[0] == 0
            assert vote.value[0] == pytest.approx(truth, abs=1e-12)


def test_the_standard_error_of_a_vote_is_the_spread_over_seeds():
    rng = np.random.default_rng(0)
    keys = np.repeat(np.arange(4), [10, 8, 6, 6])[None]
    correct = keys == 0
    runs = [majority_at_k(keys, correct, 5, draws=200, seed=int(s)) for s in rng.integers(1 << 30, size=200)]
    assert np.std([run.value[0] for run in runs]) == pytest.approx(runs[0].standard_error[0], rel=0.2)


@quick
@given(electorates(), st.randoms(use_true_random=False))
def test_votes_ignore_the_order_of_the_pool(electorate, random):
    keys, weights, correct, k = electorate
    order = list(range(len(keys)))
    random.shuffle(order)
    here = weighted_majority_at_k([keys], [weights], [correct], k)
    there = weighted_majority_at_k([keys[order]], [weights[order]], [correct[order]], k)
    np.testing.assert_allclose(here.value, there.value, atol=1e-12)


def test_no_answer_never_wins_against_an_answer():
    keys, correct = [np.array([-1, -1, -1, 5]), np.array([-1, -1])], [np.array([0, 0, 0, 1]), np.zeros(2)]
    np.testing.assert_array_equal(majority_at_k(keys[:1], correct[:1], 4).value, [1.0])
    np.testing.assert_array_equal(majority_at_k(keys, correct, 2, draws=2000).value[1:], [0.0])
    assert weighted_majority_at_k(keys[:1], [np.array([1, 1, 1, 0])], correct[:1], 4).value[0] == 1.0


def test_rounding_does_not_decide_a_weighted_tie():
    keys, weights = np.array([[0, 0, 1]]), np.array([[0.1, 0.2, 0.3]])
    assert weighted_majority_at_k(keys, weights, keys == 1, 3).value[0] == 0.5


def test_a_heavy_weight_outvotes_numbers():
    keys, correct = np.array([[0, 0, 1]]), np.array([[0, 0, 1]])
    assert majority_at_k(keys, correct, 3).value[0] == 0
    assert weighted_majority_at_k(keys, np.array([[1.0, 1.0, 3.0]]), correct, 3).value[0] == 1


@pytest.mark.parametrize("k", [0, 9])
@pytest.mark.parametrize(
    "estimate",
    [
        lambda pool, k: pass_at_k(pool, k),
        lambda pool, k: best_of_k(pool, pool, k),
        lambda pool, k: majority_at_k(pool, pool, k),
        lambda pool, k: weighted_majority_at_k(pool, pool, pool, k),
    ],
)
def test_an_impossible_budget_names_both_numbers(estimate, k):
    with pytest.raises(ValueError, match=rf"k = {k} .* n = 8"):
        estimate(np.ones((3, 8), int), k)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: best_of_k(np.where(x, np.nan, 0), x, 1), "6 of 6 are NaN"),
        (lambda x: best_of_k(x, x * np.inf, 1), "6 of 6 are not finite"),
        (lambda x: pass_at_k(x * 0.5, 1), "only 0 and 1"),
        (lambda x: majority_at_k(x * 1.0, x, 1), "problem 0: keys"),
        (lambda x: majority_at_k((-2 * x).astype(int), x, 1), "problem 0: keys"),
        (lambda x: weighted_majority_at_k(x.astype(int), -x, x, 1), "not negative"),
        (lambda x: majority_at_k(x.astype(int), x, 2, draws=1), "at least 2"),
        (lambda x: bootstrap_interval(x * np.nan), "6 of 6 are not finite"),
        (lambda x: bootstrap_interval(x, level=95.0), "between 0 and 1"),
        (lambda x: bootstrap_interval(x[:, :0]), "shape"),
        (lambda x: best_of_k(x, x[:1], 1), "shape"),
        (lambda x: pass_at_k(x[0], 1), "shape"),
        (lambda x: majority_at_k(list(x.astype(int)), [x[0, :2], x[1]], 1), "shapes"),
        (lambda x: paired_bootstrap_difference(x, x[:, :2]), "shape"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises((ValueError, TypeError)) as error:
        call(np.ones((2, 3)))
    refused_by_signature = isinstance(error.value, TypeError)  # where jaxtyping checks shapes at run time
    assert refused_by_signature or re.search(message, str(error.value))


def test_bootstrap_covers_a_known_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    data = rng.exponential(size=(400, 60))
    intervals = [bootstrap_interval(row, level=0.9, resamples=300, seed=i) for i, row in enumerate(data)]
    covered = np.mean([interval.low <= 1 <= interval.high for interval in intervals])
    assert 0.83 <= covered <= 0.93  # a percentile interval of 60 skewed values is a little narrow


def test_bootstrap_over_seeds_covers_crossed_effects():
    rng = np.random.default_rng(1)
    data = rng.normal(size=(300, 8, 1)) * 0.5 + rng.normal(size=(300, 1, 40)) + rng.normal(size=(300, 8, 40))
    intervals = [bootstrap_interval(table, resamples=300, seed=i) for i, table in enumerate(data)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.90 <= covered <= 0.99


def test_bootstrap_is_seeded_and_one_seed_is_no_seed_axis():
    values = np.random.default_rng(2).normal(size=50)
    assert bootstrap_interval(values, seed=3) == bootstrap_interval(values[None], seed=3)
    assert bootstrap_interval(values, seed=3) != bootstrap_interval(values, seed=4)
    interval = bootstrap_interval(values)
    assert interval.low < interval.mean < interval.high and interval.mean == pytest.approx(values.mean())
    assert tuple(bootstrap_interval(np.full(9, 0.25))) == (0.25, 0.25, 0.25)


def test_pairing_removes_the_difficulty_of_problems():
    rng = np.random.default_rng(3)
    hard = rng.normal(size=200) * 10
    a, b = hard + 1 + rng.normal(size=200) * 0.1, hard
    interval = paired_bootstrap_difference(a, b)
    assert 0.95 < interval.low < interval.mean < interval.high < 1.05
