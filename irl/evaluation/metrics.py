"""How well scores order traces: areas and rank correlations, over all rows or inside each prompt.

A reward is identified only up to a constant per prompt, so the `within_prompt_*` functions are the ones to
report: prompts weigh the same however many traces they have, and prompts where the statistic is undefined are
left out and counted. Only the order of scores matters: -inf is legal, NaN is a ValueError.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

Rows = Shaped[np.ndarray, " rows"]


class PromptMean(NamedTuple):
    """A statistic averaged over the prompts where it is defined."""

    mean: float
    """NaN where no prompt defines it."""
    num_prompts: int
    per_prompt: Float[np.ndarray, " num_prompts"]
    """Its value in each of them, by increasing prompt id: what a bootstrap over prompts resamples."""


def auc(scores: Rows, labels: Rows) -> float:
    """P(a positive scores above a negative) + 1/2 P(they tie): the area under the ROC curve.

    With R the sum of the midranks of the p positives, and q negatives, AUC = (R - p(p+1)/2) / (pq): the
    Mann-Whitney U statistic over pq (Hanley and McNeil 1982). NaN where a class is empty.
    ValueError: NaN scores, labels other than 0 and 1, unequal lengths.
    """
    scores, labels = _same_length(scores, labels)
    if not np.isin(labels, (0, 1)).all():
        raise ValueError("labels: expected only 0 and 1 (or booleans)")
    positive = labels == 1
    p, q = int(positive.sum()), int((~positive).sum())
    if not p * q:
        return float("nan")
    return float((midranks(scores)[positive].sum() - p * (p + 1) / 2) / (p * q))


def spearman(first: Rows, second: Rows) -> float:
    """Rank correlation in [-1, 1]: Pearson's correlation of midranks, correct under ties.

    NaN where either side is constant. ValueError: NaN entries, unequal lengths.
    """
    first, second = _same_length(first, second)
    middle = (len(first) + 1) / 2
    x, y = midranks(first) - middle, midranks(second) - middle
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


def within_prompt_auc(scores: Rows, labels: Rows, prompt_id: Rows) -> PromptMean:
    """Mean AUC over the prompts that have both classes."""
    return _within_prompt(auc, scores, labels, prompt_id)


def within_prompt_spearman(first: Rows, second: Rows, prompt_id: Rows) -> PromptMean:
    """Mean rank correlation over the prompts where neither side is constant."""
    return _within_prompt(spearman, first, second, prompt_id)


def length_correlation(scores: Rows, lengths: Rows, prompt_id: Rows) -> PromptMean:
    """Rank correlation of score and trace length (tokens) inside a prompt; positive favours long traces."""
    return within_prompt_spearman(scores, lengths, prompt_id)


def midranks(values: Rows) -> Float[np.ndarray, " rows"]:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, group, count = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(count) - (count - 1) / 2)[group]


def _same_length(first, second) -> tuple[np.ndarray, np.ndarray]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"expected two arrays of one length, got shapes {first.shape} and {second.shape}")
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError(f"NaN in {np.isnan(first).sum()} and {np.isnan(second).sum()} of {len(first)} rows")
    return first, second


def _within_prompt(statistic: Callable[[Rows, Rows], float], first, second, prompt_id) -> PromptMean:
    first, second = _same_length(first, second)
    prompt_id = np.asarray(prompt_id)
    if prompt_id.shape != first.shape:
        raise ValueError(f"prompt_id: expected shape {first.shape}, got {prompt_id.shape}")
    order = np.argsort(prompt_id, kind="stable")
    start = np.unique(prompt_id[order], return_index=True)[1]
    values = np.array([statistic(first[rows], second[rows]) for rows in np.split(order, start[1:])])
    defined = values[~np.isnan(values)]
    return PromptMean(float(defined.mean()) if len(defined) else float("nan"), len(defined), defined)
