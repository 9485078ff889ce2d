"""Weighted means that stay finite: what has no weight reaches neither the value nor the gradient."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

Weights = Float[Array, "..."] | Bool[Array, "..."] | None
"""None weighs all alike; a mask counts as 0 and 1; anything else are probabilities or counts, never negative."""
Number = float | int


def weighted_mean(values: Float[Array, "..."], weights: Weights = None) -> Float[Array, ""]:
    """sum w v / sum w, and 0 when every weight is 0; None weighs all alike, a mask counts as 0 and 1."""
    if weights is None:
        weights = jnp.ones(values.shape, values.dtype)
    weights = weights.astype(values.dtype)
    total = jnp.sum(weights)
    return jnp.sum(weights * kept(values, weights)) / jnp.where(total == 0, 1, total)


def per_trace(weights: Float[Array, "batch steps"] | Bool[Array, "batch steps"]) -> Float[Array, "batch steps"]:
    """Weights that sum to 1 over the steps of every trace that has any."""
    weights = weights.astype(jnp.promote_types(weights.dtype, jnp.float32))
    total = weights.sum(-1, keepdims=True)
    return weights / jnp.where(total == 0, 1, total)


def kept(values: Array, weights: Weights) -> Array:
    """Zeros in place of what has no weight, so that not even a NaN there leaks into a gradient."""
    return values if weights is None else jnp.where(weights == 0, 0, values)


def kept_like(values: Array | Number, like: Array, weights: Weights) -> Array:
    """`kept` of a number, or of an array that broadcasts, in the shape and dtype of `like`."""
    return kept(jnp.broadcast_to(jnp.asarray(values, like.dtype), like.shape), weights)
