"""Which of two is better, where the answer may be "neither".

Davidson's model gives three log-probabilities that sum to 1. That of a tie falls like -|d|/2 with the difference d of
the scores.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from reward_models.losses.reduction import Number, Weights, kept, weighted_mean

FIRST, SECOND, TIE = 0, 1, 2
"""Outcomes: the place of each in the last axis of the log-probabilities."""


def davidson_log_probabilities(
    first: Float[Array, "*shape"], second: Float[Array, "*shape"], *, log_tie: Float[Array, ""] | Number = 0.0
) -> Float[Array, "*shape outcomes"]:
    """log P of first, second, tie = log softmax [r_i, r_j, (r_i + r_j)/2 + log_tie].

    Davidson 1970, eq. 2.6, nu = exp(log_tie); equal scores tie with probability nu / (2 + nu).
    """
    half = (first - second) / 2
    logits = jnp.stack([half, -half, jnp.broadcast_to(jnp.asarray(log_tie, half.dtype), half.shape)], axis=-1)
    return jax.nn.log_softmax(logits, axis=-1)


def davidson_loss(
    first: Float[Array, "*shape"],
    second: Float[Array, "*shape"],
    outcome: Int[Array, "*shape"],
    *,
    log_tie: Float[Array, ""] | Number = 0.0,
    weights: Weights = None,
) -> Float[Array, ""]:
    """Negative log-likelihood of outcomes FIRST, SECOND, TIE by Davidson; `log_tie` may be learned."""
    log_p = davidson_log_probabilities(kept(first, weights), kept(second, weights), log_tie=log_tie)
    return weighted_mean(-_pick(log_p, outcome), weights)


def _pick(log_p, outcome):
    return jnp.take_along_axis(log_p, outcome[..., None], axis=-1)[..., 0]
