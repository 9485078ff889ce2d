"""BIG-Bench-Mistake: where is the first logical mistake of a trace, or is there none?

    accuracy             share of traces whose location is exact: the first wrong step, or none where there is none
    mistake accuracy     the same over traces with a mistake;   no-mistake accuracy: over the others
    answer F1            "no mistake found" taken as "the answer is right": F1 of right and of wrong answers,
                         weighted by how many there are of each

Tyen et al. 2023 (arXiv 2311.08516), section 3, and 3.3 with table 5 for the F1, where calling every answer wrong
reaches .78: the bar to beat. `mistake_index` counts from 0, and null becomes -1. A reward model names a location by
`processbench.first_error` and a threshold. Numbers are shares of 1, the published ones percent.
Differences:

1. Tasks are reported one by one and as their plain mean.
2. Intervals: traces are resampled inside their task.
"""

import numpy as np
from jaxtyping import Shaped

from irl.evaluation.audit import Finding
from irl.evaluation.benchmarks.base import Scored, benchmark
from irl.evaluation.benchmarks.processbench import NO_ERROR, check_locations, labels, locations
from irl.evaluation.resampling import Ids, Weights, findings, weighted_mean
from irl.types import LabelledSteps

Traces = Shaped[np.ndarray, " traces"]


def bigbench_mistake(
    predicted: Traces,
    label: Traces,
    task: Ids,
    answer_right: Traces | None = None,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> dict[str, Finding]:
    """Of every task "TASK accuracy", "TASK mistake_accuracy", "TASK no_mistake_accuracy", "TASK answer_f1"; and "mean".

    `answer_right` says whether each trace's answer equals its target; without it there is no answer_f1.

    ValueError: unequal lengths, locations below -1, answers other than 0 and 1.
    """
    predicted, label = check_locations(predicted, label)
    names, right = np.asarray(task), _answers(answer_right, len(label))
    if names.shape != label.shape:
        raise ValueError(f"task: expected a name for each of {len(label)} traces, got {names.shape}")
    hit, wrong, clean = predicted == label, label != NO_ERROR, predicted == NO_ERROR
    order = list(dict.fromkeys(names.tolist()))
    rows_of = {name: names == name for name in order}
    parts = {"accuracy": np.ones(len(label), bool), "mistake_accuracy": wrong, "no_mistake_accuracy": ~wrong}

    def statistics(w: Weights) -> dict[str, float]:
        values: dict[str, float] = {}
        for name, rows in rows_of.items():
            values |= {f"{name} {part}": weighted_mean(hit[rows & of], w[rows & of]) for part, of in parts.items()}
            if right is not None:
                values[f"{name} answer_f1"] = weighted_f1(clean[rows], right[rows], w[rows])
        return values | {"mean": float(np.mean([values[f"{name} accuracy"] for name in order]))}

    sizes = {f"{name} {part}": int((rows & of).sum()) for name, rows in rows_of.items() for part, of in parts.items()}
    sizes |= {f"{name} answer_f1": int(rows.sum()) for name, rows in rows_of.items()}
    return findings(statistics, np.arange(len(label)), strata=names, num_problems=sizes, resamples=resamples, seed=seed)


@benchmark("bigbench_mistake", LabelledSteps, uses_steps=True)
def bigbench_mistake_metrics(scored: Scored) -> dict[str, Finding]:
    """BIG-Bench-Mistake of the scores of a model."""
    right = [each.correct for each in scored.records]
    known = None if None in right else np.array(right, int)
    return bigbench_mistake(locations(scored), labels(scored), scored.split, known, resamples=scored.resamples)


def weighted_f1(predicted: Traces, truth: Traces, weights: Weights | None = None) -> float:
    """F1 of each class present in `truth`, weighted by its share; a class never hit has F1 0. NaN for no rows."""
    w = np.ones(len(truth)) if weights is None else weights
    total, score = w.sum(), 0.0
    for value in np.unique(truth):
        guessed, true = predicted == value, truth == value
        sizes = w @ guessed + w @ true
        score += (w @ true) * (2 * (w @ (guessed & true)) / sizes if sizes else 0.0)
    return float(score / total) if total else float("nan")


def majority_location(label: Traces) -> int:
    """The commonest location of (training) labels, the earliest of several: the baseline that reads nothing."""
    values, counts = np.unique(np.asarray(label), return_counts=True)
    return int(values[counts.argmax()])


def _answers(answer_right: Traces | None, count: int) -> np.ndarray | None:
    if answer_right is None:
        return None
    right = np.asarray(answer_right)
    if right.shape != (count,) or not np.isin(right, (0, 1)).all():
        raise ValueError(f"answer_right: expected 0 or 1 (or booleans) for each of {count} traces, got {right.shape}")
    return right == 1
