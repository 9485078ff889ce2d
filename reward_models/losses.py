"""Pure losses on scores, in logit space to the end, in nats: arrays first, then weights and options.

A mean over nothing is 0. An entry of weight 0 reaches neither the value nor the gradient, whatever it holds.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float

Weights = Float[Array, "..."] | Bool[Array, "..."] | None
Number = float | int


def weighted_mean(values: Float[Array, "..."], weights: Weights = None) -> Float[Array, ""]:
    """sum w v / sum w, and 0 when every weight is 0; None weighs all alike, a mask counts as 0 and 1."""
    if weights is None:
        weights = jnp.ones(values.shape, values.dtype)
    weights = weights.astype(values.dtype)
    total = jnp.sum(weights)
    return jnp.sum(weights * _kept(values, weights)) / jnp.where(total == 0, 1, total)


def _kept(values: Array, weights: Weights) -> Array:
    """Zeros in place of what has no weight, so that not even a NaN there leaks into a gradient."""
    return values if weights is None else jnp.where(weights == 0, 0, values)


def discriminator_loss(
    expert_logits: Float[Array, "..."],
    policy_logits: Float[Array, "..."],
    *,
    label_smoothing: Number = 0.0,
    expert_weights: Weights = None,
    policy_weights: Weights = None,
) -> Float[Array, ""]:
    """Binary cross-entropy of "an expert made this", each side averaged for itself.

        L = - E_E[log D] - E_pi[log(1 - D)],    D = sigmoid(logit)

    Goodfellow et al. 2014 (arXiv 1406.2661), eq. 1; the optimal logit is log pi_E/pi. Differences:

    1. With `label_smoothing` e the targets are 1-e and e, and the optimal logit stays within +-log((1-e)/e).
    2. Weights, on either side, stand for probabilities (to sum over all traces) or for a mask.
    """

    def side(logits, target, weights):
        losses = optax.sigmoid_binary_cross_entropy(_kept(logits, weights), target)
        return weighted_mean(losses, weights)

    expert = side(expert_logits, 1.0 - label_smoothing, expert_weights)
    policy = side(policy_logits, label_smoothing, policy_weights)
    return expert + policy


def bradley_terry_loss(
    chosen: Float[Array, "..."],
    rejected: Float[Array, "..."],
    *,
    margin: Float[Array, "..."] | Number = 0.0,
    label_smoothing: Number = 0.0,
    centering: Number = 0.0,
    weights: Weights = None,
) -> Float[Array, ""]:
    """Negative log-likelihood of pairwise preferences.

        L = - (1-e) log sigmoid(d) - e log sigmoid(-d) + centering (chosen + rejected)^2,
        d = chosen - rejected - margin

    Bradley & Terry 1952; margin: Touvron et al. 2023 (arXiv 2307.09288), eq. 2; centering, which fixes the
    free constant of a pair: Eisenstein et al. 2023 (arXiv 2312.09244). e = `label_smoothing` is the share of
    labels thought to be flipped.
    """
    chosen, rejected = _kept(chosen, weights), _kept(rejected, weights)
    gap = chosen - rejected - _kept(jnp.broadcast_to(margin, chosen.shape), weights)
    likelihood = (1 - label_smoothing) * jax.nn.log_sigmoid(gap) + label_smoothing * jax.nn.log_sigmoid(-gap)
    return weighted_mean(centering * (chosen + rejected) ** 2 - likelihood, weights)
