"""Do probabilities mean what they say? Proper scores, reliability, and the scale and offset that repair logits.

    log loss   - mean [ y log p + (1-y) log(1-p) ],   p = sigmoid(logit)
    Brier      mean (p - y)^2                                            Brier 1950
    ECE        sum_b w_b | mean of y in bin b  -  mean of p in bin b |   Guo et al. 2017 (arXiv 1706.04599), eq. 5
    calibrated logit = scale logit + offset                              Platt 1999; offset 0: Guo et al., section 4.2

Labels y are 0 and 1, or anything between where annotators disagree. Weights are counts or probabilities of the
rows; only their ratios matter. Everything is numpy float64 on the host: numbers to report, not to train on.
Differences:

1. A temperature is fitted as its inverse, the scale: the likelihood is concave in scale and offset, so Newton's
   method finds the one maximum. A scale of 0 or below says that the scores carry no information, or the wrong one.
2. Platt shrinks the labels towards 1/2; here labels are taken as they are, and data without a finite maximum
   (all pairs ordered right, say) are refused by name.
3. Bins are (low, high] as in Guo et al., but the first takes 0 as well. ECE from few rows is biased upwards.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from reward_models.types import Array

Rows = Shaped[Array, " rows"]
Edges = Float[np.ndarray, " bins_plus_one"]

NEWTON_STEPS = 100
NEWTON_DECREMENT = 1e-12
"""Nats of log loss that are left to win when one more step is enough."""


class Confidence(NamedTuple):
    """How sure a model is of the order it gives each pair, and whether that order is right."""

    probability: Float[np.ndarray, " rows"]
    """1/2 to 1."""
    label: Float[np.ndarray, " rows"]


class ReliabilityCurve(NamedTuple):
    """Observed frequency against predicted probability, in the bins of positive weight."""

    low: Float[np.ndarray, " bins"]
    high: Float[np.ndarray, " bins"]
    probability: Float[np.ndarray, " bins"]
    """Mean predicted probability."""
    frequency: Float[np.ndarray, " bins"]
    """Mean label."""
    weight: Float[np.ndarray, " bins"]
    """Share of all weight; sums to 1."""


class Calibration(NamedTuple):
    """scale * logit + offset."""

    scale: float
    offset: float = 0.0

    @property
    def temperature(self) -> float:
        """What logits are divided by; infinite where they say nothing."""
        return 1 / self.scale if self.scale else float("inf")

    def __call__(self, logits: Shaped[Array, "*rows"]) -> Float[np.ndarray, "*rows"]:
        """Calibrated logits."""
        return self.scale * np.asarray(logits, np.float64) + self.offset


def sigmoid(logits: Shaped[Array, "*rows"]) -> Float[np.ndarray, "*rows"]:
    """1 / (1 + exp(-logit)) in float64, without overflow."""
    return np.exp(-np.logaddexp(0, -np.asarray(logits, np.float64)))


def log_loss(logits: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Mean negative log-likelihood in nats. ValueError: logits that are not finite, bad labels or weights."""
    z, y, w = _checked(logits, labels, weights, "logits")
    return float(w @ _losses(z, y))


def brier_score(probabilities: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Mean squared distance of probability and label. ValueError: numbers outside [0, 1], bad weights."""
    p, y, w = _checked_probabilities(probabilities, labels, weights)
    return float(w @ (p - y) ** 2)


def pair_confidence(gap: Rows, labels: Rows | None = None) -> Confidence:
    """Probabilities and labels of pairs, for `reliability_curve`, from gap = score of first - score of second.

    `labels` say how often the first was preferred; None stands for (chosen, rejected) pairs, all 1. Binning
    sigmoid(gap) with labels that are all 1 measures nothing, so each pair is turned to the side the model
    prefers: probability sigmoid(|gap|), label y or 1-y. A gap of 0 has label 1/2.
    """
    gap, y, _ = _checked(gap, np.ones(np.shape(gap)) if labels is None else labels, None, "gap")
    return Confidence(sigmoid(np.abs(gap)), np.where(gap > 0, y, np.where(gap < 0, 1 - y, 0.5)))


def equal_width_edges(bins: int = 15) -> Edges:
    """Edges of bins of one width in [0, 1]."""
    _check_bins(bins)
    return np.linspace(0, 1, bins + 1)


def equal_mass_edges(probabilities: Rows, bins: int = 15, weights: Rows | None = None) -> Edges:
    """Edges of at most `bins` bins of about one weight each; equal probabilities stay in one bin."""
    _check_bins(bins)
    p, _, w = _checked_probabilities(probabilities, np.zeros(np.shape(probabilities)), weights)
    order = np.argsort(p, kind="stable")
    reached = np.cumsum(w[order]) + 1e-12
    inner = p[order][np.searchsorted(reached, np.arange(1, bins) / bins)]
    return np.concatenate([[0.0], np.unique(inner), [1.0]])


def reliability_curve(probabilities: Rows, labels: Rows, edges: Edges, weights: Rows | None = None) -> ReliabilityCurve:
    """Mean probability and mean label per bin. ValueError: edges that do not rise from 0 to 1, bad numbers."""
    p, y, w = _checked_probabilities(probabilities, labels, weights)
    if edges[0] != 0 or edges[-1] != 1 or (np.diff(edges) < 0).any():
        raise ValueError(f"edges: expected numbers that rise from 0 to 1, got {edges}; see equal_width_edges")
    bins = len(edges) - 1
    place = np.searchsorted(edges[1:-1], p, side="left")
    mass, predicted, observed = (np.bincount(place, w * values, bins) for values in (np.ones_like(p), p, y))
    kept = mass > 0
    mass, predicted, observed = mass[kept], predicted[kept], observed[kept]
    return ReliabilityCurve(edges[:-1][kept], edges[1:][kept], predicted / mass, observed / mass, mass)


def expected_calibration_error(curve: ReliabilityCurve) -> float:
    """Mean distance of frequency and probability over the bins, weighted by what they hold."""
    return float(curve.weight @ np.abs(curve.frequency - curve.probability))


def fit_temperature(logits: Rows, labels: Rows, weights: Rows | None = None) -> Calibration:
    """The scale of greatest likelihood, without offset: for gaps of pairs (labels all 1) and for logits.

    ValueError: the likelihood has no maximum (every row on one side of its label), or bad numbers.
    """
    z, y, w = _checked(logits, labels, weights, "logits")
    z, y, w = z[w > 0], y[w > 0], w[w > 0]
    right = ((z > 0) & (y > 0)) | ((z < 0) & (y < 1))
    wrong = ((z > 0) & (y < 1)) | ((z < 0) & (y > 0))
    if not (right.any() and wrong.any()):
        what = "right" if right.any() else "wrong" if wrong.any() else "at logit 0"
        raise ValueError(f"logits: every row is {what}, so no temperature is the likeliest; calibrate on more rows")
    (scale,) = _newton(z[:, None], y, w)
    return Calibration(float(scale))


def fit_temperature_and_offset(logits: Rows, labels: Rows, weights: Rows | None = None) -> Calibration:
    """Scale and offset of greatest likelihood, for logits of single rows; a pair has no use for an offset.

    ValueError: the likelihood has no maximum (one class only, or a threshold parts the classes), or bad numbers.
    """
    z, y, w = _checked(logits, labels, weights, "logits")
    z, y, w = z[w > 0], y[w > 0], w[w > 0]
    positive, negative = z[y > 0], z[y < 1]
    if not (len(positive) and len(negative)):
        raise ValueError(f"labels: all are {y[0]:g}; calibrate on rows of both classes")
    if positive.min() >= negative.max() or positive.max() <= negative.min():
        raise ValueError("logits: a threshold parts the classes, so no scale is the likeliest; calibrate on more rows")
    scale, offset = _newton(np.stack([z, np.ones_like(z)], axis=1), y, w)
    return Calibration(float(scale), float(offset))


def _newton(features: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The coefficients that minimise the weighted log loss of features @ coefficients, by damped Newton steps."""
    unit = np.abs(features).max(axis=0)
    x, theta = features / unit, np.zeros(features.shape[1])
    for _ in range(NEWTON_STEPS):
        p = sigmoid(x @ theta)
        gradient = x.T @ (w * (p - y))
        step = np.linalg.solve((x.T * (w * p * (1 - p))) @ x, gradient)
        decrement = gradient @ step
        if decrement < NEWTON_DECREMENT:
            return (theta - step) / unit
        size, loss = 1.0, w @ _losses(x @ theta, y)
        while w @ _losses(x @ (theta - size * step), y) > loss - 1e-4 * size * decrement and size > 1e-10:
            size /= 2
        theta = theta - size * step
    raise ValueError(f"logits: no maximum of the likelihood after {NEWTON_STEPS} steps; calibrate on more rows")


def _losses(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, z) - y * z


def _check_bins(bins: int) -> None:
    if bins < 1:
        raise ValueError(f"bins: expected at least 1, got {bins}")


def _checked_probabilities(probabilities, labels, weights):
    p, y, w = _checked(probabilities, labels, weights, "probabilities")
    _check_unit(p, "probabilities")
    return p, y, w


def _checked(values, labels, weights, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Float64 rows, labels and weights that sum to 1."""
    values, y = np.asarray(values, np.float64), np.asarray(labels, np.float64)
    w = np.ones(values.shape) if weights is None else np.asarray(weights, np.float64)
    if values.ndim != 1 or not values.shape == y.shape == w.shape:
        raise ValueError(f"{name}, labels and weights: expected one length, got {values.shape}, {y.shape}, {w.shape}")
    if not len(values):
        raise ValueError(f"{name}: no rows")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {(~np.isfinite(values)).sum()} of {len(values)} are not finite")
    _check_unit(y, "labels")
    if not (np.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise ValueError("weights: expected finite numbers, none negative and not all 0")
    return values, y, w / w.sum()


def _check_unit(values: np.ndarray, name: str) -> None:
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise ValueError(f"{name}: {outside.sum()} of {len(values)} outside [0, 1], the first is {values[outside][0]}")
