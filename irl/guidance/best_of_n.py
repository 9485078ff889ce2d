"""Best-of-n: keep the candidate the reward model likes most."""

import numpy as np
from jaxtyping import Shaped


def choose(scores: Shaped[np.ndarray, " candidates"]) -> int:
    """Index of the highest score; of equal scores the first.

    Only the order of scores matters, so any increasing transform or constant per prompt chooses the same.
    Candidates that tie are taken to be duplicates: then the chosen candidate does not depend on their order.
    Costs at most log n - (n-1)/n nats of KL divergence from the policy. -inf is a legal score.
    ValueError: no candidates, more than one axis, NaN scores.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"scores: expected one score per candidate, got shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"scores: {np.isnan(scores).sum()} of {scores.size} are NaN")
    return int(np.argmax(scores))
