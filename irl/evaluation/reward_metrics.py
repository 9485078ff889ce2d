"""What a held-out set says of a reward model: order of pairs, ties, calibration, spread of an ensemble.

Pairs enter as gaps, score of the first answer minus score of the second: the constant of a prompt cancels. Every number
comes with its bootstrap interval over prompts, as a `Finding`.

Ties of annotators: a model calls a tie where |gap| <= width, and accuracy counts three outcomes, with the width of
greatest accuracy on other pairs: Deutsch et al. 2023 (arXiv 2305.14324), acc_eq with tie calibration. Differences:

1. The width is the middle between the gaps next to it, not the gap itself, so that it carries over to new pairs.
2. Precision, recall and F1 of the ties, and an area that needs no width, stand beside the accuracy.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from irl.evaluation.audit import Finding
from irl.evaluation.metrics import auc, spearman
from irl.evaluation.resampling import UNIT, Ids, Weights, findings, weighted_mean
from reward_models.calibration import (
    brier_score,
    equal_mass_edges,
    equal_width_edges,
    expected_calibration_error,
    log_loss,
    pair_confidence,
    reliability_curve,
    sigmoid,
)

Rows = Shaped[np.ndarray, " rows"]
BINS = 15
ECES = dict.fromkeys(("ECE, equal width", "ECE, equal mass"), UNIT)


def pair_credit(gap: Rows) -> Float[np.ndarray, " rows"]:
    """1 where the chosen answer scores higher, 1/2 at equal scores, else 0. ValueError: NaN."""
    gap = _rows(gap, "gap")
    return np.where(gap > 0, 1.0, np.where(gap == 0, 0.5, 0.0))


def preference_findings(gap: Rows, prompt: Ids, *, resamples: int = 2000, seed: int = 0) -> dict[str, Finding]:
    """Accuracy and calibration of gap = score of chosen - score of rejected on held-out pairs.

    accuracy             ties count 1/2
    accuracy, ties wrong a strict win is needed, as in RewardBench
    tied                 share of pairs with equal scores
    log loss, Brier      of p = sigmoid(gap) that the chosen answer is preferred
    ECE                  of `pair_confidence`; edges of equal mass are those of the whole set

    ECE is biased upwards in small samples; its interval is that of a biased statistic (irl/evaluation/resampling.py).
    """
    credit, gap = pair_credit(gap), _rows(gap, "gap")
    ones = np.ones(len(gap))
    sure = pair_confidence(gap)
    widths, masses = equal_width_edges(BINS), equal_mass_edges(sure.probability, BINS)

    def statistics(w: Weights) -> dict[str, float]:
        return {
            "accuracy": weighted_mean(credit, w),
            "accuracy, ties wrong": weighted_mean(gap > 0, w),
            "tied": weighted_mean(gap == 0, w),
            "log loss": log_loss(gap, ones, w),
            "Brier": brier_score(sigmoid(gap), ones, w),
            "ECE, equal width": expected_calibration_error(reliability_curve(*sure, widths, w)),
            "ECE, equal mass": expected_calibration_error(reliability_curve(*sure, masses, w)),
        }

    return findings(statistics, prompt, biased=ECES, resamples=resamples, seed=seed)


def fit_tie_width(gap: Rows, outcome: Rows) -> float:
    """The width of greatest three-way accuracy, of several the one of fewest ties. Fit it on other pairs.

    `outcome` is 1 (first better), 0 (tie) or -1. Width 0 calls only gaps of 0 ties.
    ValueError: other outcomes, NaN, no pairs.
    """
    gap, outcome = _outcomes(gap, outcome)
    sizes, place = np.unique(np.abs(gap), return_inverse=True)
    change = np.where(outcome == 0, 1, -(np.sign(gap) == outcome).astype(int))
    gained = np.concatenate([[0], np.cumsum(np.bincount(place, change))])
    best = int(np.argmax(gained if sizes[0] > 0 else gained[1:])) + int(sizes[0] == 0)
    if best == 0 or sizes[best - 1] == 0:
        return 0.0
    return float(sizes[best - 1] if best == len(sizes) else (sizes[best - 1] + sizes[best]) / 2)


def tie_findings(
    gap: Rows, outcome: Rows, prompt: Ids, width: float, *, resamples: int = 2000, seed: int = 0
) -> dict[str, Finding]:
    """How annotators' outcomes (1, 0 for a tie, -1) are recovered when |gap| <= width is called a tie.

    three-way accuracy          beside that of always naming the commonest outcome
    decided-pair accuracy       on pairs without an annotators' tie, by the sign of the gap, gap 0 for 1/2
    tie precision, recall, F1   F1 is 0 where a tie was called or meant and none was hit
    tie AUC                     P(|gap| of a tie is smaller than of a decided pair) + 1/2 P(equal); needs no width
    """
    gap, outcome = _outcomes(gap, outcome)
    if not width >= 0:
        raise ValueError(f"width: expected 0 or more, got {width}")
    meant, called = outcome == 0, np.abs(gap) <= width
    right = np.where(called, 0, np.sign(gap)) == outcome
    commonest = max((-1, 0, 1), key=lambda value: (outcome == value).sum())
    decided = ~meant

    def statistics(w: Weights) -> dict[str, float]:
        hit, called_sum, meant_sum = w @ (called & meant), w @ called, w @ meant
        return {
            "three-way accuracy": weighted_mean(right, w),
            "three-way accuracy of the commonest": weighted_mean(outcome == commonest, w),
            "decided-pair accuracy": weighted_mean(pair_credit(gap * outcome)[decided], w[decided]),
            "tie precision": _ratio(hit, called_sum),
            "tie recall": _ratio(hit, meant_sum),
            "tie F1": _ratio(2 * hit, called_sum + meant_sum),
            "tie AUC": _repeated_auc(-np.abs(gap), meant, w),
        }

    return findings(statistics, prompt, resamples=resamples, seed=seed)


class EnsembleSpread(NamedTuple):
    """How far the members of an ensemble disagree, and whether they disagree where they err."""

    mean_std: float
    """Mean over rows of the standard deviation over members, in the unit of the scores."""
    error_correlation: float
    """Rank correlation of that deviation with the error; NaN where either is constant."""


def ensemble_spread(scores: Shaped[np.ndarray, "members rows"], error: Rows) -> EnsembleSpread:
    """Spread of members' scores. Give gaps of pairs: scores of members differ by a constant.

    `error` is larger where the ensemble is more wrong: 1 - pair_credit(mean gap), a squared error, a log loss.
    The deviation is that of the members at hand (divided by their number, as `networks.ensemble` does).
    ValueError: fewer than two members, unequal lengths, values that are not finite.
    """
    scores, error = np.asarray(scores, np.float64), _rows(error, "error")
    if scores.ndim != 2 or len(scores) < 2 or scores.shape[1] != len(error):
        raise ValueError(f"scores: expected [2 or more members, {len(error)} rows], got shape {scores.shape}")
    if not np.isfinite(scores).all():
        raise ValueError(f"scores: {(~np.isfinite(scores)).sum()} of {scores.size} are not finite")
    deviation = scores.std(axis=0)
    return EnsembleSpread(float(deviation.mean()), spearman(deviation, error))


def _rows(values: Rows, name: str) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError(f"{name}: expected one number per row, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {(~np.isfinite(values)).sum()} of {len(values)} are not finite")
    return values


def _outcomes(gap: Rows, outcome: Rows) -> tuple[np.ndarray, np.ndarray]:
    gap, outcome = _rows(gap, "gap"), _rows(outcome, "outcome")
    if gap.shape != outcome.shape:
        raise ValueError(f"gap and outcome differ in length: {len(gap)} and {len(outcome)}")
    if not np.isin(outcome, (-1, 0, 1)).all():
        raise ValueError("outcome: expected 1 (first better), 0 (tie) or -1 (second better)")
    return gap, outcome


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


def _repeated_auc(scores: np.ndarray, labels: np.ndarray, weights: Weights) -> float:
    """The AUC of rows that stand as often as their whole-numbered weight says."""
    times = weights.astype(int)
    return auc(np.repeat(scores, times), np.repeat(labels, times))
