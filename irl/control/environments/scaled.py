"""Observations in the units of the demonstrations: less their mean, by their standard deviation, cut at `clip` of them.

What an expert visits fills the range that networks resolve best, and what lies far outside is merely far. On
seals/CartPole, where a fallen pole goes on turning, moments of everything seen made the upright poles one point
instead: GAIL then missed 500 on one or two seeds of five, with moments of the demonstrations on none (LOG.md).
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from irl.control.environments.base import Environment
from irl.control.moments import Moments, no_moments, normalised, updated
from irl.control.spaces import Box, Space, features
from irl.control.types import Transitions
from irl.types import InputError

CLIP = 10.0


def moments_of(space: Space, demonstrations: Transitions) -> Moments:
    """Mean and variance of the demonstrated observations. InputError: none, or discrete ones."""
    if not isinstance(space, Box):
        raise InputError(f"observations: {space} has no scale; leave the scaling out (--scale False)")
    if not len(demonstrations.terminated):
        raise InputError("demonstrations: expected one transition or more, got none")
    return updated(no_moments((space.width,)), features(space, jnp.asarray(demonstrations.observation)))


def scaled_environment(environment: Environment, moments: Moments) -> Environment:
    """The environment with its observations in these units, as vectors."""

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
    """Observations of the space in the units of `scaled_environment`."""
    return normalised(moments, features(space, jnp.asarray(observations)), CLIP)


def unscaled(
    space: Space, moments: Moments, observations: Float[ArrayLike, "batch width"]
) -> Float[Array, "batch ..."]:
    """Observations of the space again, those that were cut as they were cut."""
    values = jnp.asarray(observations) * jnp.sqrt(moments.variance + 1e-8) + moments.mean
    return values.reshape(len(values), *space.shape)
