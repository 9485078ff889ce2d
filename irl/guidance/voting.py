"""Votes over final answers: one per sample (self-consistency), or weighted by a reward model.

An answer is a canonical text or an id. None and the id -1 mean "no answer": such a sample abstains, and only
where all abstain is the result that mark. Of tied answers the one that appears first wins.
"""

import math
from collections.abc import Hashable, Sequence

import numpy as np

Answer = Hashable | None


def majority(keys: Sequence[Answer] | np.ndarray) -> Answer:
    """The most frequent answer (Wang et al. 2022, arXiv:2203.11171). ValueError: no keys."""
    return weighted_majority(keys, [1.0] * len(keys))


def weighted_majority(keys: Sequence[Answer] | np.ndarray, weights: Sequence[float] | np.ndarray) -> Answer:
    """The answer whose samples have the largest sum of weights (such as exp(score): never negative).

    Sums are exactly rounded (`math.fsum`), so the order of samples matters only between tied answers. An
    answer with weight 0 still beats no answer.
    ValueError: no keys, unequal lengths, weights that are negative or not finite.
    """
    if len(keys) == 0 or len(keys) != len(weights):
        raise ValueError(f"expected as many weights as keys, at least 1: got {len(weights)} and {len(keys)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ValueError("weights must be finite and not negative; exponentiate scores first")
    votes: dict[Answer, list[float]] = {}
    for key, weight in zip(keys, weights, strict=True):
        if not abstains(key):
            votes.setdefault(key, []).append(float(weight))
    return max(votes, key=lambda key: math.fsum(votes[key])) if votes else keys[0]


def abstains(key: Answer) -> bool:
    """Whether a key means "no answer"."""
    return key in (None, -1)
