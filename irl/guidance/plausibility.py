"""The plausibility of a score among the scores of expert traces: a learned reward on a scale from 0 to 1.

    p(s) = (1 + #{i : s_i <= s}) / (n + 1)                 s >= min s_i,  s_1 ... s_n the scores of demonstrations
    p(s) = 1 / (n + 1) * exp((s - min s_i) / std(s_i))     s <  min s_i
    r(s) = min(p(s) / level, 1)

p is the conformal p-value of "an expert wrote this" (Bates et al. 2023, "Testing for outliers with conformal
p-values", Annals of Statistics 51(1), eq. 2): among traces exchangeable with the demonstrations it is at most u
with a probability of about u. The p-value depends on no answer: information level demonstrations.
Differences: (1) r is cut at `level`. Among what experts would write, the score mostly measures how common a choice is;
a policy trained on that learns to write the common. (2) Below all demonstrations p falls exponentially. The p-value is
constant there, 1 / (n + 1): with few demonstrations most samples would have the same reward, and a policy no gradient.
"""

import numpy as np
from jaxtyping import Float


def plausibility(
    scores: Float[np.ndarray, " traces"], demonstrated: Float[np.ndarray, " demonstrations"], *, level: float = 1.0
) -> Float[np.ndarray, " traces"]:
    """r(s) of the module docstring for every score. ValueError unless there are finite demonstrated scores."""
    if len(demonstrated) == 0 or not np.isfinite(demonstrated).all():
        raise ValueError(f"expected finite scores of demonstrations, got {len(demonstrated)}, some NaN or infinite")
    if not 0 < level <= 1:
        raise ValueError(f"level: expected a share above 0 and at most 1, got {level}")
    below = np.searchsorted(np.sort(demonstrated), scores, side="right")
    distance = np.minimum(np.asarray(scores, float) - demonstrated.min(), 0.0)
    tail = np.exp(distance / max(float(np.std(demonstrated)), 1e-6))
    return np.minimum((1 + below) * tail / (len(demonstrated) + 1) / level, 1.0)
