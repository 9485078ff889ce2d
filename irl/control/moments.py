"""Running mean and variance of everything seen so far, to bring inputs to one scale.

Chan, Golub & LeVeque 1983, eq. 2.1: moments of two sets are put together exactly, whatever the sizes.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Float, Num

from reward_models.types import Array


class Moments(NamedTuple):
    """Of `count` values per coordinate."""

    count: Float[Array, ""]
    mean: Float[Array, "*shape"]
    variance: Float[Array, "*shape"]


def no_moments(shape: tuple[int, ...]) -> Moments:
    """Nothing seen: normalises by nothing."""
    return Moments(jnp.zeros(()), jnp.zeros(shape), jnp.ones(shape))


def updated(moments: Moments, values: Num[Array, "batch *shape"]) -> Moments:
    """With a batch more."""
    values = jnp.asarray(values, jnp.float32)
    here, mean, variance = float(len(values)), values.mean(axis=0), values.var(axis=0)
    total = moments.count + here
    share = here / total
    change = mean - moments.mean
    old = jnp.where(moments.count > 0, moments.variance, 0.0)
    spread = (1 - share) * old + share * variance + share * (1 - share) * change**2
    return Moments(total, moments.mean + share * change, spread)


def normalised(
    moments: Moments, values: Num[Array, "batch *shape"], clip: float = 10.0
) -> Float[Array, "batch *shape"]:
    """(x - mean) / std, at most `clip` standard deviations away."""
    return jnp.clip((values - moments.mean) / jnp.sqrt(moments.variance + 1e-8), -clip, clip)
