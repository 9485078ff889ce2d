"""What step scores are worth: where the first wrong step is, and which of a problem's answers is right.

Thresholds come from validation problems, one per scorer and test set (the greatest F1 of ProcessBench): each test set
is judged by the validation set it is given with. Rows of seeds are summed up as their mean with an interval over
problems and seeds; `mean of seeds` is the ensemble: the mean of step scores.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from experiments.reporting.report_records import result_row
from irl.evaluation.benchmarks.bigbench_mistake import majority_location
from irl.evaluation.benchmarks.processbench import NO_ERROR, first_error, fit_threshold
from irl.evaluation.metrics import within_prompt_auc
from irl.types import InputError
from reward_models.aggregation import aggregate_rows
from reward_models.calibration import Calibration, fit_temperature_and_offset
from reward_models.types import Aggregate

Steps = list[np.ndarray]
Row = dict[str, Any]
Together = Callable[[Mapping[str, list[Steps]]], dict[str, list[Steps]]]
"""Adds combinations of the learned scores."""
AGGREGATES: tuple[Aggregate, ...] = ("min", "mean", "sum")


class Scored(NamedTuple):
    """A set of traces with the step scores of every scorer."""

    label: np.ndarray
    """First wrong step, -1 where there is none."""
    subset: np.ndarray
    learned: dict[str, list[Steps]]
    """Of every kind of learned score, one member per seed."""
    baselines: dict[str, Steps]
    oracle: Steps | None = None
    """1 for steps that are right by the rules of the domain, 0 for others."""


def ensemble(members: Sequence[Steps]) -> Steps:
    """The mean of members' step scores."""
    return [np.mean(rows, axis=0) for rows in zip(*members, strict=True)]


def calibration(steps: Steps, label: np.ndarray) -> Calibration:
    """Scores of steps to log-odds that they are right, from those up to the first wrong one of each trace."""
    known = [(row[: first + 1] if first != NO_ERROR else row, first) for row, first in zip(steps, label, strict=True)]
    right = [np.arange(len(row)) != first for row, first in known]
    return fit_temperature_and_offset(np.concatenate([row for row, _ in known]), np.concatenate(right).astype(float))


def lowest_of_all(name: str, validation: Sequence[Scored]) -> Together:
    """Adds, under `name`, the lowest of the learned scores: a step counts as correct if every score accepts it.

    Scores are compared as log-odds, calibrated on the validation sets.
    """
    label = np.concatenate([each.label for each in validation])

    def fitted(kind: str, seed: int) -> Calibration:
        return calibration([row for each in validation for row in each.learned[kind][seed]], label)

    fits = {kind: [fitted(kind, seed) for seed in range(len(kept))] for kind, kept in validation[0].learned.items()}

    def together(learned: Mapping[str, list[Steps]]) -> dict[str, list[Steps]]:
        log_odds = [
            [[fit(row) for row in steps] for fit, steps in zip(fits[kind], learned[kind], strict=True)] for kind in fits
        ]
        lowest = [[np.min(rows, axis=0) for rows in zip(*kinds, strict=True)] for kinds in zip(*log_odds, strict=True)]
        return {**learned, name: lowest}

    return together


def location_rows(name: str, validation: Scored, test: Scored, information: Mapping[str, str]) -> list[Row]:
    """Headline rows of one test set: location of the first error, in all traces and by kind of error.

    `information` is the level of every learned score.

    InputError: `validation`, where thresholds come from, has traces of one kind only.
    """
    _check_both_kinds(name, validation.label)
    rows = []
    for learner, members in test.learned.items():
        tuned = validation.learned[learner]
        rows += _learned_rows(f"{name}, {learner}", validation, tuned, test, members, information[learner])
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
    if test.oracle is not None:
        by_rules = first_error(test.oracle, 0.5) == test.label
        rows.append(_row(f"{name}: the rules, exact location, all traces", by_rules, "none", "oracle"))
    return rows


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
    learned: Mapping[str, Sequence[Steps]],
    baselines: Mapping[str, np.ndarray],
    information: Mapping[str, str],
) -> list[Row]:
    """Headline rows of a pool: AUC within problems of trace scores, three for each learned score of steps."""

    def row(scorer: str, members: Sequence[np.ndarray], level: str) -> Row:
        per_problem = [within_prompt_auc(each, correct, problem).per_prompt for each in members]
        return _row(f"{name}: {scorer}", np.stack(per_problem), level, "AUC within problems")

    rows = [
        row(f"{kind}, {how}", [aggregate_rows(each, how) for each in members], information[kind])
        for kind, members in learned.items()
        for how in AGGREGATES
    ]
    return rows + [row(scorer, [scores], "none") for scorer, scores in baselines.items()]


def _check_both_kinds(name: str, label: np.ndarray) -> None:
    wrong = int((label != NO_ERROR).sum())
    if wrong in (0, len(label)):
        counts = f"of the {len(label)} traces that set its threshold {wrong} have a wrong step"
        raise InputError(f"{name}: {counts}; expected both kinds; raise data.validation, or give more traces")


def _hits(validation: Steps, test: Steps, validation_label: np.ndarray, label: np.ndarray) -> np.ndarray:
    return first_error(test, fit_threshold(validation, validation_label)) == label


def _lowest(steps: Steps) -> np.ndarray:
    return np.array([int(np.argmin(row)) for row in steps])


def _row(name: str, values: np.ndarray, information: str, note: str) -> Row:
    return {**result_row(name, values, information, note), "count": values.shape[-1]}
