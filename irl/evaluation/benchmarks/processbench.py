"""ProcessBench: where is the first wrong step, or is there none?

    prediction   the first step that scores below a threshold, else -1
    acc_error    share of erroneous solutions whose first wrong step is named exactly
    acc_correct  share of right solutions for which -1 is said
    F1           2 acc_error acc_correct / (acc_error + acc_correct), per split; the score is the splits' mean

Zheng et al. 2024 (arXiv 2412.06559): `label` is the index of the first wrong step, from 0, or -1.
Numbers are shares of 1, the published ones percent. The paper sets the threshold of process reward models to that
of greatest F1 on GSM8K; `fit_threshold` finds it, on any labelled traces. Differences:

1. F1 is 0 where both accuracies are 0 (0/0 there), and NaN for a split without one of the kinds.
2. The threshold is the middle of the best interval, so that it carries over to new traces.
3. Intervals: solutions are resampled inside their split.
4. `traceward evaluate` cross-fits the threshold inside each split, or takes a given one.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from irl.evaluation.audit import Finding
from irl.evaluation.benchmarks.base import Scored, benchmark
from irl.evaluation.resampling import Ids, Weights, findings, weighted_mean
from irl.types import InputError, LabelledSteps

NO_ERROR = -1
AVERAGE = "average F1"
Steps = Shaped[np.ndarray, " _"]
Index = Shaped[np.ndarray, " traces"]


def first_error(step_scores: Sequence[Steps], threshold: float) -> Int[np.ndarray, " traces"]:
    """The first step of each trace that scores below the threshold, -1 for none. ValueError: NaN, no steps."""
    return np.array([_first(row, threshold) for row in _checked_steps(step_scores)], int)


def processbench(
    predicted: Index, label: Index, split: Ids, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Finding]:
    """Of every split "SPLIT error", "SPLIT correct" and "SPLIT F1", each over its own solutions; and "average F1".
    ValueError: unequal lengths, indices below -1."""
    predicted, label = check_locations(predicted, label)
    names = np.asarray(split)
    if names.shape != label.shape:
        raise ValueError(f"split: expected a name for each of {len(label)} traces, got {names.shape}")
    hit, wrong = predicted == label, label != NO_ERROR
    order = list(dict.fromkeys(names.tolist()))
    kinds = {name: (wrong & (names == name), ~wrong & (names == name)) for name in order}

    def statistics(w: Weights) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, (bad, good) in kinds.items():
            error, correct = weighted_mean(hit[bad], w[bad]), weighted_mean(hit[good], w[good])
            values |= {f"{name} error": error, f"{name} correct": correct, f"{name} F1": harmonic_mean(error, correct)}
        return values | {AVERAGE: float(np.mean([values[f"{name} F1"] for name in order]))}

    counts: dict[str, int] = {}
    for name, (bad, good) in kinds.items():
        sizes = int(bad.sum()), int(good.sum())
        counts |= {f"{name} error": sizes[0], f"{name} correct": sizes[1], f"{name} F1": sum(sizes)}
    return findings(
        statistics, np.arange(len(label)), strata=names, num_problems=counts, resamples=resamples, seed=seed
    )


@benchmark("processbench", LabelledSteps, uses_steps=True)
def processbench_metrics(scored: Scored) -> dict[str, Finding]:
    """ProcessBench of the scores of a model."""
    return processbench(locations(scored), labels(scored), scored.split, resamples=scored.resamples)


def labels(scored: Scored) -> Index:
    """The first wrong step of each record, -1 for none."""
    return np.array([NO_ERROR if each.first_error is None else each.first_error for each in scored.records])


def locations(scored: Scored) -> Index:
    """The first step of each record below its threshold, -1 for none."""
    return np.array(
        [_first(row, threshold) for row, threshold in zip(scored.steps, step_thresholds(scored), strict=True)]
    )


def step_thresholds(scored: Scored) -> Float[np.ndarray, " traces"]:
    """The given threshold, or that of the other half of the problems of its split.

    InputError for a half whose solutions are all right or all wrong.
    """
    if scored.threshold is not None:
        return np.full(len(scored.records), scored.threshold)
    label, split, thresholds = labels(scored), np.asarray(scored.split), np.zeros(len(scored.records))
    problem = np.unique([each.prompt for each in scored.records], return_inverse=True)[1]
    second = np.random.default_rng(0).permutation(problem.max() + 1)[problem] % 2 == 1
    for name in dict.fromkeys(scored.split):
        for half in (second, ~second):
            fitted = np.flatnonzero((split == name) & ~half).tolist()
            if not ((label[fitted] == NO_ERROR).any() and (label[fitted] != NO_ERROR).any()):
                expected = "a threshold needs right and wrong solutions in each half of the problems"
                raise InputError(f"{name}: {expected}; use more solutions, or set --threshold")
            thresholds[(split == name) & half] = fit_threshold([scored.steps[i] for i in fitted], label[fitted])
    return thresholds


def harmonic_mean(a: float, b: float) -> float:
    """2ab / (a+b), 0 where both are 0."""
    return 2 * a * b / (a + b) if a + b != 0 else 0.0


def fit_threshold(step_scores: Sequence[Steps], label: Index) -> float:
    """The threshold of greatest F1, by exact search; the lowest interval where several are best.

    A trace with first wrong step L is right for thresholds in (score of L, least score before L], a right trace
    for those up to its least score: F1 changes at these ends only.
    ValueError: NaN, labels that are no step, traces of one kind only.
    """
    rows, label = _checked_steps(step_scores), np.asarray(label)
    _, label = check_locations(label, label)
    if len(rows) != len(label):
        raise ValueError(f"step_scores and label differ in length: {len(rows)} and {len(label)}")
    if not ((label == NO_ERROR).any() and (label != NO_ERROR).any()):
        raise ValueError("label: all traces are of one kind; a threshold needs right and erroneous ones")
    for number, (row, index) in enumerate(zip(rows, label, strict=True)):
        if index >= len(row):
            raise ValueError(f"trace {number}: label {index}, but there are {len(row)} steps, counted from 0")
    above = max(row.max() for row in rows) + 1.0
    pairs = [_interval(row, index, above) for row, index in zip(rows, label.tolist(), strict=True)]
    floor, ceiling = np.array(pairs, np.float64).T
    ends = np.unique(np.concatenate([ceiling, floor[np.isfinite(floor)]]))
    error, correct = (_share_inside(ends, floor[kind], ceiling[kind]) for kind in (label >= 0, label < 0))
    f1 = [harmonic_mean(a, b) for a, b in zip(error.tolist(), correct.tolist(), strict=True)]
    best = int(np.argmax(f1))
    return float((ends[best - 1] + ends[best]) / 2 if best else ends[0])


def check_locations(predicted: Index, label: Index) -> tuple[np.ndarray, np.ndarray]:
    """Both as integer arrays of one length, -1 and up."""
    predicted, label = np.asarray(predicted), np.asarray(label)
    if predicted.ndim != 1 or predicted.shape != label.shape or not len(label):
        raise ValueError(f"predicted and label: expected one length, got {predicted.shape} and {label.shape}")
    for name, values in (("predicted", predicted), ("label", label)):
        if not np.issubdtype(values.dtype, np.integer) or (values < NO_ERROR).any():
            raise ValueError(f"{name}: expected step indices from 0, or -1 for no error")
    return predicted, label


def _first(row: np.ndarray, threshold: float) -> int:
    below = np.flatnonzero(row < threshold)
    return int(below[0]) if len(below) else NO_ERROR


def _interval(row: np.ndarray, index: int, above: float) -> tuple[float, float]:
    """The thresholds (floor, ceiling] for which a trace is judged right."""
    if index == NO_ERROR:
        return -np.inf, float(row.min())
    return float(row[index]), float(row[:index].min(initial=above))


def _share_inside(thresholds: np.ndarray, floor: np.ndarray, ceiling: np.ndarray) -> np.ndarray:
    """For each threshold the share of the non-empty intervals (floor, ceiling] that hold it."""
    real = floor < ceiling
    opened = np.searchsorted(np.sort(floor[real]), thresholds, side="left")
    closed = np.searchsorted(np.sort(ceiling[real]), thresholds, side="left")
    return (opened - closed) / len(floor)


def _checked_steps(step_scores: Sequence[Steps]) -> list[np.ndarray]:
    rows = [np.asarray(row, np.float64) for row in step_scores]
    for number, row in enumerate(rows):
        if row.ndim != 1 or not len(row) or np.isnan(row).any():
            raise ValueError(f"trace {number}: expected a score for each of its steps, got {row}")
    return rows
