"""PRMBench: is every step classified right, kind of error by kind of error?

    TP  a right step accepted     FP  a wrong step accepted
    TN  a wrong step rejected     FN  a right step rejected
    F1 = 2 TP / (2 TP + FP + FN),   F1_neg = 2 TN / (2 TN + FN + FP),   PRM-Score = F1/2 + F1_neg/2

over all steps of a class, counted together; `multi_solutions` has no wrong steps, and its score is F1 alone. A
dimension is the plain mean of its classes; the overall score counts the steps of all classes together. Solutions of
the class `correct` (the unmodified ones) stand outside of it.

Song et al. 2025 (arXiv 2501.03124); github.com/ssmisya/PRMBench, prmtest_classified.
Numbers are shares of 1, the published ones percent. Differences:

1. An F1 without anything to find or found is NaN; where nothing was hit it is 0. Both are -1 there, and 0 in the
   published tables.
2. A step is accepted where the caller says so; there, redundancy scores of models that have them judge two classes.
3. The similarity of answers to a solution before and after its modification is left out.
4. Intervals: solutions are resampled inside their class.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from irl.evaluation.audit import Finding
from irl.evaluation.benchmarks.base import Scored, benchmark
from irl.evaluation.benchmarks.processbench import step_thresholds
from irl.evaluation.resampling import Ids, Weights, findings
from irl.types import InputError, LabelledSteps

DIMENSIONS: dict[str, tuple[str, ...]] = {
    "simplicity": ("redundency", "circular"),
    "soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""Classes by the names of the data set, `redundency` among them."""
CLASSES = tuple(name for inside in DIMENSIONS.values() for name in inside)
CORRECT = "correct"
ALL_RIGHT = "multi_solutions"
Steps = Sequence[Bool[np.ndarray, " _"]]


class _Counts(NamedTuple):
    """Per solution: steps of each kind, solutions with an error, and those whose first error is rejected."""

    tp: Float[np.ndarray, " solutions"]
    fp: Float[np.ndarray, " solutions"]
    tn: Float[np.ndarray, " solutions"]
    fn: Float[np.ndarray, " solutions"]
    erroneous: Float[np.ndarray, " solutions"]
    first_found: Float[np.ndarray, " solutions"]

    def total(self, weights: Weights, rows: Bool[np.ndarray, " solutions"]) -> "_Totals":
        return _Totals(*(float(weights[rows] @ column[rows]) for column in self))


class _Totals(NamedTuple):
    tp: float
    fp: float
    tn: float
    fn: float
    erroneous: float
    first_found: float


def prmbench(
    accepted: Steps, wrong: Steps, classification: Ids, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Finding]:
    """PRM-Score "overall", of every dimension and of every class, with its parts and accuracies over all classes.

    Per solution: the steps the model accepts, the steps that are wrong, and the class of its error. In
    "first_error_accuracy" a solution with errors counts where its first wrong step is rejected.

    ValueError: unequal numbers of solutions or steps. InputError: no solution outside the class `correct`, an unknown
    class.
    """
    names = np.asarray(classification)
    counts = _count(accepted, wrong, names)
    present = [name for name in CLASSES if (names == name).any()]
    counted = names != CORRECT
    if not counted.any():
        raise InputError("classification: every solution is 'correct'; PRM-Score is over the other classes")

    def statistics(w: Weights) -> dict[str, float]:
        scores = {name: _class_score(name, counts.total(w, names == name)) for name in present}
        return _overall(counts.total(w, counted)) | _dimension_scores(scores) | scores

    sizes = {name: int((names == name).sum()) for name in present}
    sizes |= {name: sum(sizes.get(part, 0) for part in inside) for name, inside in DIMENSIONS.items()}
    sizes |= dict.fromkeys(_overall(counts.total(np.ones(len(names)), counted)), int(counted.sum()))
    sizes["first_error_accuracy"] = int(counts.erroneous[counted].sum())
    problem = np.arange(len(names))
    return findings(statistics, problem, strata=names, num_problems=sizes, resamples=resamples, seed=seed)


@benchmark("prmbench", LabelledSteps, uses_steps=True)
def prmbench_metrics(scored: Scored) -> dict[str, Finding]:
    """PRMBench of the scores of a model."""
    known = [[label for label in each.labels if label is not None] for each in scored.records]
    wrong = [np.array(labels) < 0.5 for labels in known]
    limits = step_thresholds(scored)
    accepted = [steps[: len(bad)] >= limit for steps, bad, limit in zip(scored.steps, wrong, limits, strict=True)]
    return prmbench(accepted, wrong, [each.subset for each in scored.records], resamples=scored.resamples)


def f1_score(hits: float, false: float, missed: float) -> float:
    """2 hits / (2 hits + false + missed); NaN where there is nothing."""
    return _ratio(2 * hits, 2 * hits + false + missed)


def _class_score(name: str, t: _Totals) -> float:
    f1 = f1_score(t.tp, t.fp, t.fn)
    return f1 if name == ALL_RIGHT else (f1 + f1_score(t.tn, t.fn, t.fp)) / 2


def _dimension_scores(classes: Mapping[str, float]) -> dict[str, float]:
    present = {name: [classes[part] for part in inside if part in classes] for name, inside in DIMENSIONS.items()}
    return {name: float(np.mean(scores)) for name, scores in present.items() if scores}


def _overall(t: _Totals) -> dict[str, float]:
    f1, negative = f1_score(t.tp, t.fp, t.fn), f1_score(t.tn, t.fn, t.fp)
    return {
        "overall": (f1 + negative) / 2,
        "f1": f1,
        "f1_negative": negative,
        "right_step_accuracy": _ratio(t.tp, t.tp + t.fn),
        "wrong_step_accuracy": _ratio(t.tn, t.tn + t.fp),
        "step_accuracy": _ratio(t.tp + t.tn, t.tp + t.fp + t.tn + t.fn),
        "first_error_accuracy": _ratio(t.first_found, t.erroneous),
    }


def _count(accepted: Steps, wrong: Steps, names: np.ndarray) -> _Counts:
    if not len(accepted) == len(wrong) == len(names):
        lengths = f"{len(accepted)}, {len(wrong)} and {len(names)}"
        raise ValueError(f"accepted, wrong and classification: expected one length, got {lengths}")
    rows = []
    for number, (yes, bad, name) in enumerate(zip(accepted, wrong, names, strict=True)):
        if name not in (*CLASSES, CORRECT):
            raise InputError(f"solution {number}: unknown class {str(name)!r}; known: {', '.join((*CLASSES, CORRECT))}")
        if yes.shape != bad.shape or not len(yes):
            raise ValueError(f"solution {number}: {len(yes)} steps accepted or not, {len(bad)} labelled")
        located = bad.any() and not yes[bad.argmax()]
        kinds = (yes & ~bad).sum(), (yes & bad).sum(), (~yes & bad).sum(), (~yes & ~bad).sum()
        rows.append((*kinds, bad.any(), located))
    return _Counts(*np.array(rows, np.float64).reshape(-1, 6).T)


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
