"""What step scores are worth: where the first wrong step is, and which of a problem's answers is right.

Thresholds come from validation problems, one per scorer and test set (the greatest F1 of ProcessBench): each test set
is judged by the validation set it is given with. Rows of seeds are summed up as their mean with an interval over
problems and seeds; `mean of seeds` is the ensemble: the mean of step scores.
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from irl.evaluation.benchmarks.bigbench_mistake import majority_location
from irl.evaluation.benchmarks.processbench import NO_ERROR, first_error, fit_threshold
from irl.evaluation.estimators import bootstrap_interval
from irl.evaluation.metrics import within_prompt_auc
from irl.types import InputError
from reward_models.calibration import Calibration, fit_temperature_and_offset

Steps = list[np.ndarray]
Row = dict[str, Any]


class Scored(NamedTuple):
    """A set of traces with the step scores of every scorer."""

    label: np.ndarray
    """First wrong step, -1 where there is none."""
    subset: np.ndarray
    learned: dict[str, list[Steps]]
    """Of every kind of learned score, one member per seed."""
    baselines: dict[str, Steps]


def pooled(sets: Sequence[Scored]) -> Scored:
    """The traces of several sets as one."""

    def joined(parts: Iterable[Steps]) -> Steps:
        return list(itertools.chain.from_iterable(parts))

    learned, baselines = sets[0].learned, sets[0].baselines
    return Scored(
        label=np.concatenate([each.label for each in sets]),
        subset=np.concatenate([each.subset for each in sets]),
        learned={
            kind: [joined(each.learned[kind][seed] for each in sets) for seed in range(len(learned[kind]))]
            for kind in learned
        },
        baselines={name: joined(each.baselines[name] for each in sets) for name in baselines},
    )


def ensemble(members: Sequence[Steps]) -> Steps:
    """The mean of members' step scores."""
    return [np.mean(rows, axis=0) for rows in zip(*members, strict=True)]


def calibration(steps: Steps, label: np.ndarray) -> Calibration:
    """Scores of steps to log-odds that they are right, from those up to the first wrong one of each trace."""
    known = [(row[: first + 1] if first != NO_ERROR else row, first) for row, first in zip(steps, label, strict=True)]
    right = [np.arange(len(row)) != first for row, first in known]
    return fit_temperature_and_offset(np.concatenate([row for row, _ in known]), np.concatenate(right).astype(float))


def worse_of(first: Calibration, of_first: Steps, second: Calibration, of_second: Steps) -> Steps:
    """The lower log-odds of two scores of the same steps: a step is right where both find it so."""
    return [np.minimum(first(a), second(b)) for a, b in zip(of_first, of_second, strict=True)]


def location_rows(name: str, validation: Scored, test: Scored, information: str) -> list[Row]:
    """Headline rows of one test set: location of the first error, in all traces and by kind of error.

    InputError: `validation`, where thresholds come from, has traces of one kind only.
    """
    _check_both_kinds(name, validation.label)
    rows = []
    for learner, members in test.learned.items():
        rows += _learned_rows(f"{name}, {learner}", validation, validation.learned[learner], test, members, information)
    wrong = test.label != NO_ERROR
    commonest = test.label == majority_location(validation.label)
    rows.append(_row(f"{name}: commonest location, all traces", commonest, "none", "of the validation's traces"))
    for baseline, steps in test.baselines.items():
        hits = _hits(validation.baselines[baseline], steps, validation.label, test.label)
        rows.append(_row(f"{name}: {baseline}", hits[wrong], "none", "first wrong step found"))
        rows.append(_row(f"{name}: {baseline}, lowest", (_lowest(steps) == test.label)[wrong], "none", "baseline"))
        rows.append(_row(f"{name}: {baseline}, exact location, all traces", hits, "none", "or that there is none"))
    guess = np.array([1 / len(row) for row in next(iter(test.learned.values()))[0]])
    rows.append(_row(f"{name}: chance", guess[wrong], "none", "a step drawn at random"))
    return rows


def oracle_row(name: str, true: Steps, label: np.ndarray) -> Row:
    """What is left to the rules themselves: the first step that is not true by them (1 true, 0 not)."""
    return _row(f"{name}: the rules, exact location, all traces", first_error(true, 0.5) == label, "none", "oracle")


def _learned_rows(
    name: str, validation: Scored, tuned: list[Steps], test: Scored, members: list[Steps], information: str
) -> list[Row]:
    """The rows of one kind of learned score; thresholds are those of its own scores on validation problems."""
    wrong, right = test.label != NO_ERROR, test.label == NO_ERROR
    learned = np.stack([_hits(v, t, validation.label, test.label) for v, t in zip(tuned, members, strict=True)])
    together = _hits(ensemble(tuned), ensemble(members), validation.label, test.label)
    by_lowest = np.stack([_lowest(t) == test.label for t in members])
    rows = [
        _row(f"{name}: first wrong step found", learned[:, wrong], information, "a seed"),
        _row(f"{name}: first wrong step found, mean of seeds", together[wrong], information, "ensemble"),
        _row(f"{name}: lowest step is the first wrong one", by_lowest[:, wrong], information, "knowing that one is"),
        _row(f"{name}: exact location, all traces", learned, information, "or that there is none"),
        _row(f"{name}: exact location, all traces, mean of seeds", together, information, "ensemble"),
    ]
    if right.any():
        rows.append(_row(f"{name}: right trace found right", learned[:, right], information, "a seed"))
    for kind in sorted({*test.subset[wrong]} - {""}):
        of_kind = wrong & (test.subset == kind)
        rows.append(_row(f"{name}: {kind}", learned[:, of_kind], information, "first wrong step found"))
    return rows


def order_rows(
    name: str,
    problem: np.ndarray,
    correct: np.ndarray,
    scores: Mapping[str, Sequence[np.ndarray]],
    learned: Collection[str],
    information: str,
) -> list[Row]:
    """Headline rows of a pool: AUC within problems of every scorer's trace scores (one array per seed).

    Scorers whose name begins with one of `learned` have the information level of the data, others none.
    """
    rows = []
    for scorer, members in scores.items():
        per_problem = [within_prompt_auc(each, correct, problem).per_prompt for each in members]
        level = information if scorer.startswith(tuple(learned)) else "none"
        rows.append(_row(f"{name}: {scorer}", np.stack(per_problem), level, "AUC within problems"))
    return rows


def _check_both_kinds(name: str, label: np.ndarray) -> None:
    wrong = int((label != NO_ERROR).sum())
    if wrong in (0, len(label)):
        told = f"of the {len(label)} traces that set its threshold {wrong} have a wrong step"
        raise InputError(f"{name}: {told}, and it takes both kinds; raise data.validation, or give more traces")


def _hits(validation: Steps, test: Steps, validation_label: np.ndarray, label: np.ndarray) -> np.ndarray:
    return first_error(test, fit_threshold(validation, validation_label)) == label


def _lowest(steps: Steps) -> np.ndarray:
    return np.array([int(np.argmin(row)) for row in steps])


def _row(name: str, values: np.ndarray, information: str, note: str) -> Row:
    mean, low, high = bootstrap_interval(np.asarray(values, np.float64))
    count = values.shape[-1]
    return {
        "name": name,
        "value": mean,
        "low": low,
        "high": high,
        "information": information,
        "note": note,
        "count": count,
    }
