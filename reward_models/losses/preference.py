"""Which of two is better. Ties are in `ties.py`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reward_models.losses.reduction import Number, Weights, kept, kept_like, weighted_mean


def bradley_terry_loss(
    chosen: Float[Array, "..."],
    rejected: Float[Array, "..."],
    *,
    margin: Float[Array, "..."] | Number = 0.0,
    label_smoothing: Number = 0.0,
    soft_labels: Float[Array, "..."] | Number = 1.0,
    centering: Number = 0.0,
    weights: Weights = None,
) -> Float[Array, ""]:
    """Negative log-likelihood of pairwise preferences.

        L = - q log sigmoid(d) - (1-q) log sigmoid(-d) + centering (chosen + rejected)^2,
        d = chosen - rejected - margin,    q = (1-e) p + e (1-p)

    Bradley & Terry 1952; margin: Touvron et al. 2023 (arXiv 2307.09288), eq. 2; centering, which fixes the
    free constant of a pair: Eisenstein et al. 2023 (arXiv 2312.09244). e = `label_smoothing` is the share of
    labels thought to be flipped; p = `soft_labels` the share of judges who prefer `chosen`.
    """
    chosen, rejected = kept(chosen, weights), kept(rejected, weights)
    gap = chosen - rejected - kept_like(margin, chosen, weights)
    likelihood = _expected(gap, kept_like(soft_labels, gap, weights), label_smoothing)
    return weighted_mean(centering * (chosen + rejected) ** 2 - likelihood, weights)


def _expected(logit, label, label_smoothing):
    """Mean of log P(label) over labels that hold with probability `label` and are flipped with `label_smoothing`.

    A label without probability is left out, so that a log-probability of -inf cannot make it NaN.
    """
    yes = (1 - label_smoothing) * label + label_smoothing * (1 - label)
    no = 1 - yes
    forward = jax.nn.log_sigmoid(jnp.where(yes == 0, 0, logit))
    backward = jax.nn.log_sigmoid(jnp.where(no == 0, 0, -logit))
    return yes * forward + no * backward
