"""What scores of pairs are worth: accuracy, calibration, ties and spread on held-out pairs.

Temperature and width of ties come from validation pairs. `mean of seeds` is the ensemble: the mean of the gaps.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from irl.evaluation.audit import Finding
from irl.evaluation.estimators import bootstrap_interval
from irl.evaluation.reward_metrics import (
    ensemble_spread,
    fit_tie_width,
    pair_credit,
    preference_findings,
    tie_findings,
)
from reward_models.calibration import (
    equal_width_edges,
    fit_temperature,
    pair_confidence,
    reliability_curve,
)

Row = dict[str, Any]


class Gaps(NamedTuple):
    """Score of the first answer less score of the second, for the pairs of a set."""

    outcome: np.ndarray
    """1 where the first is preferred, -1 the second, 0 a tie."""
    prompt: Sequence[str]
    members: np.ndarray
    """[seeds, pairs]."""
    baselines: dict[str, np.ndarray]


def pair_rows(name: str, validation: Gaps, test: Gaps) -> list[Row]:
    """Headline rows of a set."""
    decided, sign = test.outcome != 0, test.outcome[test.outcome != 0]
    prompts = [prompt for prompt, kept in zip(test.prompt, decided, strict=True) if kept]
    credit = np.stack([pair_credit(gap[decided] * sign) for gap in test.members])
    mean = test.members.mean(axis=0)
    rows = [_seeds(f"{name}: accuracy", credit)]
    together = preference_findings(mean[decided] * sign, prompts)
    rows.append(_found(f"{name}: accuracy, mean of seeds", together["accuracy"], "preferences"))
    for baseline, gap in test.baselines.items():
        found = preference_findings(gap[decided] * sign, prompts)
        rows.append(_found(f"{name}: accuracy of {baseline}", found["accuracy"], "none"))
    calibrated = preference_findings(_temperature(validation)(mean[decided] * sign), prompts)
    for measure in ("log loss", "Brier", "ECE, equal mass"):
        rows.append(_found(f"{name}: {measure}", together[measure], "preferences"))
        rows.append(_found(f"{name}: {measure}, calibrated", calibrated[measure], "preferences"))
    if (test.outcome == 0).any() and (validation.outcome == 0).any():
        width = fit_tie_width(validation.members.mean(axis=0), validation.outcome)
        ties = tie_findings(mean, test.outcome, test.prompt, width)
        rows += [_found(f"{name}: {measure}", found, "preferences") for measure, found in ties.items()]
    if len(test.members) > 1:
        spread = ensemble_spread(test.members[:, decided], 1 - pair_credit(mean[decided] * sign))
        note = f"standard deviation over seeds; rank correlation with error {spread.error_correlation:.3f}"
        rows.append(_row(f"{name}: spread of the gap", Finding(spread.mean_std, np.nan, np.nan, len(sign)), note=note))
    return rows


def reliability_panel(name: str, validation: Gaps, test: Gaps) -> Row:
    """How often the preferred answer was the one said to be, against how sure the ensemble was."""
    decided = test.outcome != 0
    gap = (test.members.mean(axis=0) * test.outcome)[decided]
    curves = {"as trained": gap, "calibrated": _temperature(validation)(gap)}
    series: list[Row] = [{"name": "said = true", "role": "oracle", "x": [0.5, 1.0], "y": [0.5, 1.0]}]
    for label, logits in curves.items():
        curve = reliability_curve(*pair_confidence(logits), equal_width_edges(15))
        series.append({"name": label, "x": curve.probability.tolist(), "y": curve.frequency.tolist()})
    return {"name": f"Reliability, {name}", "x_label": "said", "y_label": "true", "series": series}


def _temperature(validation: Gaps):
    decided = validation.outcome != 0
    gap = (validation.members.mean(axis=0) * validation.outcome)[decided]
    return fit_temperature(gap, np.ones(len(gap)))


def _seeds(name: str, credit: np.ndarray) -> Row:
    mean, low, high = bootstrap_interval(credit)
    return _row(name, Finding(mean, low, high, credit.shape[-1]), note="mean of seeds' accuracies; ties count half")


def _found(name: str, finding: Finding, information: str) -> Row:
    return _row(name, finding, information)


def _row(name: str, finding: Finding, information: str = "preferences", note: str | None = None) -> Row:
    row = {"name": name, "value": finding.mean, "low": _number(finding.low), "high": _number(finding.high)}
    return row | {"information": information, "note": note, "count": finding.num_prompts}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
