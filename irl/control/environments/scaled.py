"""Observations standardised by the demonstrations: (x - mean) / std, clipped to `CLIP` standard deviations.

Networks resolve the range that the expert visits, and observations far outside are clipped. On seals/CartPole, where a
fallen pole keeps turning, moments of all observations concentrated the upright poles in one point: GAIL missed 500 on
one or two seeds of five, with moments of the demonstrations on none (LOG.md).
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from irl.control.environments.base import Environment
from irl.control.moments import Moments, empty_moments, normalised, update_moments
from irl.control.spaces import Box, Space, features
from irl.control.types import Transitions
from irl.types import InputError

CLIP = 10.0


def moments_of(space: Space, demonstrations: Transitions) -> Moments:
    """Mean and variance of the demonstrated observations. Raises InputError if there are none, or discrete ones."""
    if not isinstance(space, Box):
        raise InputError(f"observations: {space} has no scale; set --scale False")
    if not len(demonstrations.terminated):
        raise InputError("demonstrations: expected at least one transition, got none")
    return update_moments(empty_moments((space.width,)), features(space, jnp.asarray(demonstrations.observation)))


def scaled_environment(environment: Environment, moments: Moments) -> Environment:
    """The environment with standardised observations, as vectors."""

    def read(observation):
        return normalised(moments, features(environment.observation, observation), CLIP)

    def reset(key):
        state, observation = environment.reset(key)
        return state, read(observation)

    def step(state, action, key):
        state, outcome = environment.step(state, action, key)
        return state, outcome._replace(observation=read(outcome.observation))

    return environment._replace(observation=scaled_space(environment.observation), reset=reset, step=step)


def scaled_space(space: Space) -> Box:
    return Box((space.width,), -CLIP, CLIP)


def scaled(space: Space, moments: Moments, observations: Num[ArrayLike, "batch ..."]) -> Float[Array, "batch width"]:
    """Standardised observations, as those of `scaled_environment`."""
    return normalised(moments, features(space, jnp.asarray(observations)), CLIP)


def unscaled(
    space: Space, moments: Moments, observations: Float[ArrayLike, "batch width"]
) -> Float[Array, "batch ..."]:
    """The inverse of `scaled`, up to clipping."""
    values = jnp.asarray(observations) * jnp.sqrt(moments.variance + 1e-8) + moments.mean
    return values.reshape(len(values), *space.shape)
