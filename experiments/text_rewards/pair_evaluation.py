"""What scores of pairs are worth: accuracy, calibration, ties and spread on held-out pairs.

Temperature and width of ties come from validation pairs. `mean of seeds` is the ensemble: the mean of the gaps.

A minimum or a variance over members means nothing while each has a scale of its own. So beside it stand combinations of
*standardised* scores, (s - mean) / deviation, with each member's own mean and deviation over the validation answers:
their mean, their minimum, and their mean less PENALTY times their variance (reward_models/networks/ensemble.py; Coste
et al. 2024, arXiv 2310.02743). The spread is the deviation over members of the standardised gap.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from irl.evaluation.audit import Finding
from irl.evaluation.estimators import bootstrap_interval
from irl.evaluation.resampling import findings, weighted_mean
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
from reward_models.networks.ensemble import EnsembleConfig

Row = dict[str, Any]
PENALTY = EnsembleConfig.penalty
"""What a unit of variance costs a standardised score."""


class Gaps(NamedTuple):
    """Scores of the two answers of every pair of a set; of baselines the first's less the second's."""

    outcome: np.ndarray
    """1 where the first is preferred, -1 the second, 0 a tie."""
    prompt: Sequence[str]
    scores: np.ndarray
    """[seeds, 2, pairs]: of the first answers and of the second ones."""
    baselines: dict[str, np.ndarray]

    @property
    def members(self) -> np.ndarray:
        """[seeds, pairs]: score of the first answer less score of the second."""
        return self.scores[:, 0] - self.scores[:, 1]


def standardised(validation: Gaps, test: Gaps) -> np.ndarray:
    """The test's scores with each member's mean over the validation answers as 0 and its deviation there as 1."""
    mean = validation.scores.mean(axis=(1, 2), keepdims=True)
    deviation = validation.scores.std(axis=(1, 2), keepdims=True)
    return (test.scores - mean) / np.where(deviation > 0, deviation, 1.0)


def combinations(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Gaps [pairs] of the members' standardised scores [seeds, 2, pairs] put together answer by answer."""
    mean = scores.mean(axis=0)
    together = {
        "standardised mean of seeds": mean,
        "standardised minimum of seeds": scores.min(axis=0),
        f"standardised mean of seeds less {PENALTY:g} variance": mean - PENALTY * scores.var(axis=0),
    }
    return {name: first - second for name, (first, second) in together.items()}


def pair_rows(name: str, validation: Gaps, test: Gaps) -> list[Row]:
    """Headline rows of a set."""
    decided, sign = test.outcome != 0, test.outcome[test.outcome != 0]
    prompts = [prompt for prompt, kept in zip(test.prompt, decided, strict=True) if kept]
    credit = np.stack([pair_credit(gap[decided] * sign) for gap in test.members])
    mean = test.members.mean(axis=0)
    rows = [_seeds(f"{name}: accuracy", credit)]
    together = preference_findings(mean[decided] * sign, prompts)
    rows.append(_row(f"{name}: accuracy, mean of seeds", together["accuracy"], "preferences"))
    if len(test.members) > 1:
        rows += _ensemble_rows(name, standardised(validation, test)[..., decided], sign, prompts)
    for baseline, gap in test.baselines.items():
        found = preference_findings(gap[decided] * sign, prompts)
        rows.append(_row(f"{name}: accuracy of {baseline}", found["accuracy"], "none"))
    calibrated = preference_findings(_temperature(validation)(mean[decided] * sign), prompts)
    for measure in ("log loss", "Brier", "ECE, equal mass"):
        rows.append(_row(f"{name}: {measure}", together[measure], "preferences"))
        rows.append(_row(f"{name}: {measure}, calibrated", calibrated[measure], "preferences"))
    if (test.outcome == 0).any() and (validation.outcome == 0).any():
        width = fit_tie_width(validation.members.mean(axis=0), validation.outcome)
        ties = tie_findings(mean, test.outcome, test.prompt, width)
        known = {measure: found for measure, found in ties.items() if not np.isnan(found.mean)}  # no tie: no precision
        rows += [_row(f"{name}: {measure}", found, "preferences") for measure, found in known.items()]
    return rows


def _ensemble_rows(name: str, scores: np.ndarray, sign: np.ndarray, prompts: Sequence[str]) -> list[Row]:
    """Of decided pairs: accuracies of the combinations, and how far the members are apart."""
    rows = []
    for how, gap in combinations(scores).items():
        found = preference_findings(gap * sign, prompts)
        rows.append(_row(f"{name}: accuracy, {how}", found["accuracy"], "preferences"))
    gaps = scores[:, 0] - scores[:, 1]
    spread = ensemble_spread(gaps, 1 - pair_credit(gaps.mean(axis=0) * sign))
    deviation = gaps.std(axis=0)
    found = findings(lambda weights: {"spread": weighted_mean(deviation, weights)}, prompts)
    note = f"standard deviation over seeds, standardised; rank correlation with error {spread.error_correlation:.3f}"
    return [*rows, _row(f"{name}: spread of the gap", found["spread"], note=note)]


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


def _row(name: str, finding: Finding, information: str = "preferences", note: str | None = None) -> Row:
    row = {"name": name, "value": finding.mean, "low": _number(finding.low), "high": _number(finding.high)}
    return row | {"information": information, "note": note, "count": finding.num_prompts}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
