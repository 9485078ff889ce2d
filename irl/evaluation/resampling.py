"""Intervals for statistics that are no mean over problems (F1, calibration error, weighted sections), by bootstrap.

A statistic is a function of row weights. A resample draws problems with replacement and weighs each row by how
often its problem was drawn (Efron 1979): rows of a problem stay together. Strata, such as the subsets of a
benchmark, keep their number of problems, because a benchmark fixes it. Intervals are percentiles; resamples in
which a statistic is undefined (NaN) do not count for it.

An absolute value or a distance, such as a calibration error, grows with noise. Its estimate is biased upwards and its
resamples are biased a second time, so that percentiles may lie above the estimate. A rank correlation is biased by the
ties that a resample introduces. The other textbook intervals fail as
well: the reflected ("basic") interval then lies below the estimate, and the bias-corrected percentiles (BC, BCa: Efron
1987) degenerate where no resample is below it. For statistics that the caller declares `biased`, the interval is
therefore shifted by the median bias of the resamples,

    [q_low - b, q_high - b],   b = median of the resamples - estimate,

and limited to the values that the statistic can take. It always contains the estimate and measures its spread; the bias
of the estimate itself remains.
A statistic that was not declared and whose percentiles exclude the estimate has no interval (NaN).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Shaped

from irl.evaluation.audit import Finding

Ids = Shaped[np.ndarray, " rows"] | Sequence[str] | Sequence[int]
Weights = Float[np.ndarray, " rows"]
Range = tuple[float, float]
"""The least and the greatest value of a statistic."""
UNIT: Range = (0.0, 1.0)
Statistics = Callable[[Weights], Mapping[str, float]]


def findings(
    statistics: Statistics,
    problem: Ids,
    *,
    strata: Ids | None = None,
    num_problems: Mapping[str, int] | None = None,
    biased: Mapping[str, Range] = MappingProxyType({}),
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Finding]:
    """Every statistic on the rows as they are, with its bootstrap interval over problems.

    `problem` names the problem of each row, `strata` what it is resampled inside of. `num_problems` says on how
    many problems a statistic rests where that is not all of them. `biased` has the range of every statistic whose
    resamples are biased. An interval contains its estimate, or is NaN.
    ValueError: no rows, ids and strata of unequal length, level outside (0, 1).
    """
    cluster, sizes = _clusters(np.asarray(problem), strata)
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    point = statistics(np.ones(len(cluster)))
    drawn = [statistics(weights) for weights in _resamples(cluster, sizes, resamples, seed)]
    tail, counts = (1 - level) / 2, num_problems or {}

    def finding(name: str) -> Finding:
        values = np.array([each[name] for each in drawn], np.float64)
        low, high = _percentiles(values[~np.isnan(values)], point[name], tail, biased.get(name))
        return Finding(float(point[name]), low, high, counts.get(name, int(sizes.sum())))

    return {name: finding(name) for name in point}


def _percentiles(values: np.ndarray, point: float, tail: float, biased: Range | None) -> tuple[float, float]:
    if not len(values) or np.isnan(point):
        return float("nan"), float("nan")
    low, middle, high = map(float, np.quantile(values, (tail, 0.5, 1 - tail)))
    if biased is not None:
        low, high = max(low - middle + point, biased[0]), min(high - middle + point, biased[1])
    rounding = 1e-9 * max(abs(point), 1.0)
    if not low - rounding <= point <= high + rounding:
        return float("nan"), float("nan")
    return min(low, point), max(high, point)


def weighted_mean(values: Shaped[np.ndarray, " rows"], weights: Weights) -> float:
    """sum w v / sum w; NaN where nothing has weight."""
    total = weights.sum()
    return float(weights @ values / total) if total else float("nan")


def _clusters(problem: np.ndarray, strata: Ids | None) -> tuple[np.ndarray, np.ndarray]:
    """The number of each row's problem, counted stratum by stratum, and how many problems each stratum has."""
    stratum = np.zeros(len(problem), int) if strata is None else np.unique(np.asarray(strata), return_inverse=True)[1]
    if problem.ndim != 1 or len(problem) == 0 or len(stratum) != len(problem):
        raise ValueError(f"problem, strata: expected an id per row, got {problem.shape} and {stratum.shape}")
    names, number = np.unique(problem, return_inverse=True)
    pairs, cluster = np.unique(stratum * len(names) + number, return_inverse=True)
    return cluster, np.bincount(pairs // len(names))


def _resamples(cluster: np.ndarray, sizes: np.ndarray, resamples: int, seed: int) -> Iterator[Weights]:
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        counts = [rng.multinomial(size, np.full(size, 1 / size)) for size in sizes]
        yield np.concatenate(counts)[cluster].astype(np.float64)
