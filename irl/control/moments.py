"""Running mean and variance of all values seen so far, used to normalise inputs.

Chan, Golub & LeVeque 1983, eq. 2.1: the moments of two sets are combined exactly, whatever their sizes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float, Num

from reward_models.types import Array


class Moments(NamedTuple):
    """Mean and variance of each coordinate over `count` values."""

    count: Float[Array, ""]
    mean: Float[Array, "*shape"]
    variance: Float[Array, "*shape"]


def empty_moments(shape: tuple[int, ...]) -> Moments:
    """Moments of no values, which normalise to the identity."""
    return Moments(jnp.zeros(()), jnp.zeros(shape), jnp.ones(shape))


def update_moments(moments: Moments, values: Num[Array, "batch *shape"]) -> Moments:
    """The moments after a batch of further values."""
    values = jnp.asarray(values, jnp.float32)
    count, mean, variance = float(len(values)), values.mean(axis=0), values.var(axis=0)
    total = moments.count + count
    share = count / total
    change = mean - moments.mean
    old = jnp.where(moments.count > 0, moments.variance, 0.0)
    combined = (1 - share) * old + share * variance + share * (1 - share) * change**2
    return Moments(total, moments.mean + share * change, combined)


def normalised(
    moments: Moments, values: Num[Array, "batch *shape"], clip: float = 10.0
) -> Float[Array, "batch *shape"]:
    """(x - mean) / std, clipped to `clip` standard deviations."""
    return jnp.clip((values - moments.mean) / jnp.sqrt(moments.variance + 1e-8), -clip, clip)
