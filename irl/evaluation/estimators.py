"""What k samples of a problem are worth, estimated from one pool of n samples, and how sure we are of it.

Every estimator averages over the k-subsets of the pool drawn without replacement (never "the first k", never
with replacement): it is unbiased for a fresh draw of k samples and does not depend on the order of the pool.
Each gives one value per problem; `bootstrap_interval` makes of those a mean with an interval over problems.
Everything is numpy float64 on the host.

Two counting facts carry the file, for k draws without replacement from n:

    (1) P(all draws land in given m of them)  = C(m, k) / C(n, k)
    (2) P(the highest drawn rank is m)        = C(m-1, k-1) / C(n, k) = (1) k/m
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

NO_ANSWER = -1
"""Answer id of a sample without an answer: it wins a vote only where every drawn sample has none."""


def pass_at_k(correct: Shaped[np.ndarray, "problems samples"], k: int) -> Float[np.ndarray, " problems"]:
    """Probability that at least one of k samples is correct: 1 - C(n-c, k) / C(n, k).

    Chen et al. 2021 (arXiv:2107.03374), equation 1, exact. `correct` holds 0/1 or booleans.
    ValueError: k outside 1..n, entries other than 0 and 1.
    """
    value = _pool(correct, "correct")
    if not np.isin(value, (0, 1)).all():
        raise ValueError("correct: expected only 0 and 1 (or booleans)")
    n = value.shape[1]
    wrong = n - value.sum(axis=1).astype(int)
    return 1.0 - _inside_probability(n, k)[wrong]


def best_of_k(
    scores: Shaped[np.ndarray, "problems samples"], correct: Shaped[np.ndarray, "problems samples"], k: int
) -> Float[np.ndarray, " problems"]:
    """Expected correctness of the best-scored of k samples; ties are broken uniformly. Exact.

    For a group of samples that share the score v, let m_le and m_lt count the samples of the pool scored <= v
    and < v. Then

        best_of_k = sum over groups  [C(m_le, k) - C(m_lt, k)] / C(n, k) * mean correctness of the group

    Proof. The best drawn score is v exactly when all draws are <= v but not all are < v: by (1) that has the
    probability in front. Exchanging two members of the group maps the k-subsets onto themselves and keeps
    every score, so given that the group wins each member is picked equally often: the value is the group's
    mean. The weight is the sum of (2) over ranks m_lt+1 .. m_le, and is computed so: nothing cancels.

    `correct` may hold any finite value (0/1, or a gold reward). -inf is a legal score.
    ValueError: k outside 1..n, NaN scores, non-finite `correct`, unequal shapes.
    """
    scores, value = np.asarray(scores, np.float64), _pool(correct, "correct")
    if scores.shape != value.shape:
        raise ValueError(f"scores and correct differ in shape: {scores.shape} and {value.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"scores: {np.isnan(scores).sum()} of {scores.size} are NaN")
    n = scores.shape[1]
    win = _inside_probability(n, k)[1:] * k / np.arange(1, n + 1)
    order = np.argsort(scores, axis=1)
    ascending = np.take_along_axis(scores, order, axis=1)
    return _mean_over_ties(ascending, np.take_along_axis(value, order, axis=1)) @ win


Keys = Sequence[Int[np.ndarray, " _"]] | Int[np.ndarray, "problems samples"]
Pools = Sequence[Shaped[np.ndarray, " _"]] | Shaped[np.ndarray, "problems samples"]


class Vote(NamedTuple):
    """Expected correctness of a vote, per problem."""

    value: Float[np.ndarray, " problems"]
    standard_error: Float[np.ndarray, " problems"]
    """Of the Monte Carlo over subsets, 0 where exact. The mean over P problems has sqrt(sum(se**2)) / P."""


def majority_at_k(
    keys: Keys,
    correct: Pools,
    k: int,
    *,
    draws: int = 128,
    seed: int = 0,
) -> Vote:
    """Expected correctness of the plurality answer among k samples (self-consistency, arXiv:2203.11171).

    `keys` are answer ids >= 0, or NO_ANSWER, per problem; problems may have pools of different sizes. An
    answer is as correct as the mean of its samples; ties count uniformly. Exact for k = 1 and k = n, else the
    mean over `draws` seeded k-subsets without replacement: for 0/1 correctness its standard error is at most
    0.5 / sqrt(draws) per problem, and it is reported.
    ValueError: k outside 1..n of a problem, unequal lengths, ids below -1, non-finite `correct`, draws < 2.
    """
    ones = [np.ones(len(row)) for row in keys]
    return weighted_majority_at_k(keys, ones, correct, k, draws=draws, seed=seed)


def weighted_majority_at_k(
    keys: Keys,
    weights: Pools,
    correct: Pools,
    k: int,
    *,
    draws: int = 128,
    seed: int = 0,
) -> Vote:
    """As `majority_at_k`, where a sample votes with its weight (for example exp(score), never negative).

    Only drawn answers can win, also with weight 0. Sums within a relative 1e-12 of the best count as tied.
    ValueError: as `majority_at_k`; weights that are negative or not finite.
    """
    if draws < 2:
        raise ValueError(f"draws: expected at least 2, got {draws}")
    rng = np.random.default_rng(seed)
    rows = enumerate(zip(keys, weights, correct, strict=True))
    judged = [_vote(_answer_pool(problem, *row), k, draws, rng) for problem, row in rows]
    return Vote(*np.array(judged, np.float64).reshape(-1, 2).T)


class Interval(NamedTuple):
    """A mean with its bootstrap interval."""

    mean: float
    low: float
    high: float


def bootstrap_interval(
    values: Shaped[np.ndarray, "*seeds problems"],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of per-problem values [problems] or [seeds, problems], with a percentile bootstrap interval.

    Problems are resampled with replacement (Efron 1979). Several seeds are resampled too, independently of
    the problems (the pigeonhole bootstrap, Owen 2007, doi:10.1214/07-AOAS122). A percentile interval is too
    narrow for fewer than about 30 problems or a handful of seeds, and has no width where values are equal.
    ValueError: no problems, more than two axes, non-finite values, level outside (0, 1).
    """
    values = np.atleast_2d(np.asarray(values, np.float64))
    if values.ndim != 2 or values.size == 0:
        raise ValueError(f"values: expected [problems] or [seeds, problems], got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"values: {(~np.isfinite(values)).sum()} of {values.size} are not finite")
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    seeds, problems = values.shape
    rng = np.random.default_rng(seed)
    row = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples) / seeds @ values
    means = np.take_along_axis(row, rng.integers(problems, size=row.shape), axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    mean = float(values.mean())
    return Interval(mean, min(float(low), mean), max(float(high), mean))  # equal values: their means are rounded


def paired_bootstrap_difference(
    a: Shaped[np.ndarray, "*seeds problems"],
    b: Shaped[np.ndarray, "*seeds problems"],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Mean of a - b over the same problems (and seeds) in the same order, with its bootstrap interval."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.shape != b.shape:
        raise ValueError(f"a and b differ in shape: {a.shape} and {b.shape}; pairs need the same problems")
    return bootstrap_interval(a - b, level, resamples, seed)


def _check_budget(k: int, n: int) -> None:
    if not 1 <= k <= n:
        raise ValueError(f"k = {k} samples cannot be drawn without replacement from a pool of n = {n}")


def _pool(values, name: str) -> Float[np.ndarray, "problems samples"]:
    values = np.asarray(values, np.float64)
    if values.ndim != 2:
        raise ValueError(f"{name}: expected [problems, samples], got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {(~np.isfinite(values)).sum()} of {values.size} are not finite")
    return values


def _inside_probability(n: int, k: int) -> Float[np.ndarray, " n_plus_one"]:
    """(1) for m = 0..n, by the stable recursion C(m-1, k) = C(m, k) (m-k)/m from m = n downwards."""
    _check_budget(k, n)
    m = np.arange(n, 0, -1)
    return np.cumprod(np.concatenate([[1.0], np.maximum(m - k, 0) / m]))[::-1]


def _mean_over_ties(ascending, values):
    """Replace each value by the mean over the entries of its row whose sorted score is equal."""
    problems, n = ascending.shape
    edge = np.ones((problems, n + 1), bool)
    edge[:, 1:-1] = ascending[:, 1:] != ascending[:, :-1]
    start = np.maximum.accumulate(np.where(edge, np.arange(n + 1), 0), axis=1)[:, :-1]
    stop = np.minimum.accumulate(np.where(edge, np.arange(n + 1), n)[:, ::-1], axis=1)[:, -2::-1]
    total = np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))
    return (np.take_along_axis(total, stop, 1) - np.take_along_axis(total, start, 1)) / (stop - start)


class _AnswerPool(NamedTuple):
    """The samples of a problem sorted by answer, then weight: the order they came in cannot matter."""

    answer: Int[np.ndarray, " answers"]
    start: Int[np.ndarray, " answers"]
    """Where the samples of each answer begin."""
    value: Float[np.ndarray, " answers"]
    """Mean correctness of the samples of each answer."""
    weight: Float[np.ndarray, " samples"]
    mean: float
    """Mean correctness of all samples."""


def _answer_pool(problem: int, keys, weights, correct) -> _AnswerPool:
    keys, weights = np.asarray(keys), np.asarray(weights, np.float64)
    correct = np.asarray(correct, np.float64)
    shapes = keys.shape, weights.shape, correct.shape
    if keys.ndim != 1 or len(set(shapes)) > 1:
        raise ValueError(f"problem {problem}: keys, weights and correct have shapes {shapes}, not one length")
    if not np.issubdtype(keys.dtype, np.integer) or (keys < NO_ANSWER).any():
        raise ValueError(f"problem {problem}: keys must be integer answer ids >= 0, or -1 for no answer")
    if not np.isfinite(correct).all():
        raise ValueError(f"problem {problem}: correct has {(~np.isfinite(correct)).sum()} non-finite entries")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"problem {problem}: weights must be finite and not negative")
    order = np.lexsort((weights, keys))
    answer, start, group, size = np.unique(keys[order], True, True, True)
    value = np.bincount(group, correct[order]) / size
    return _AnswerPool(answer, start, value, weights[order], float(correct.sum()) / max(len(keys), 1))


def _vote(pool: _AnswerPool, k: int, draws: int, rng: np.random.Generator) -> tuple[float, float]:
    """Expected correctness of the winner over k-subsets, and its Monte-Carlo standard error."""
    n = len(pool.weight)
    _check_budget(k, n)
    if k == 1:
        return pool.mean, 0.0
    subsets = rng.multivariate_hypergeometric(np.ones(n, int), k, 1 if k == n else draws, method="count")
    support = np.add.reduceat(subsets * pool.weight, pool.start, axis=1)
    support[:, pool.answer == NO_ANSWER] = -1.0  # below any vote, above every answer that was not drawn
    support[np.add.reduceat(subsets, pool.start, axis=1) == 0] = -np.inf
    best = support.max(axis=1, keepdims=True)
    winner = support >= best - 1e-12 * np.abs(best)
    value = winner @ pool.value / winner.sum(axis=1)
    return float(value.mean()), 0.0 if k == n else float(value.std(ddof=1) / np.sqrt(draws))
