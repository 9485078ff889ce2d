"""An environment that shows the time: one more coordinate, steps taken / horizon.

For rewards that depend on the time: the best policy on such a reward does, too (Pardo et al. 2018, arXiv 1712.00378).
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from irl.control.environments.base import Environment
from irl.control.spaces import Box, Space
from irl.types import InputError
from reward_models.types import Array


def timed(environment: Environment) -> Environment:
    """With the time as the last coordinate of its observations, which are vectors."""
    horizon = environment.horizon

    def reset(key):
        state, observation = environment.reset(key)
        return (state, jnp.int32(0)), _with(observation, 0.0)

    def step(state, action, key):
        inner, time = state
        inner, outcome = environment.step(inner, action, key)
        return (inner, time + 1), outcome._replace(observation=_with(outcome.observation, (time + 1) / horizon))

    return environment._replace(observation=timed_space(environment.observation), reset=reset, step=step)


def timed_space(space: Space) -> Box:
    """A vector space with a coordinate from 0 to 1 more."""
    if not isinstance(space, Box) or len(space.shape) != 1:
        raise InputError(f"timed: expected an environment whose observations are vectors, got {space}")
    low, high = space.bounds()
    return Box((space.width + 1,), (*map(float, low), 0.0), (*map(float, high), 1.0))


def timed_observations(
    observations: Float[np.ndarray, "rows width"], horizon: int
) -> Float[np.ndarray, "rows width+1"]:
    """Those of a whole recorded episode, as `timed` would have shown them."""
    if len(observations) > horizon + 1:
        raise InputError(f"timed: expected at most {horizon} steps, the horizon, got {len(observations) - 1}")
    times = np.arange(len(observations), dtype=observations.dtype) / horizon
    return np.concatenate([observations, times[:, None].astype(observations.dtype)], axis=1)


def steps_taken(observations: Float[Array, "batch width"], horizon: int) -> Int[Array, " batch"]:
    """Read from the last coordinate."""
    return jnp.clip(jnp.round(observations[:, -1] * horizon), 0, horizon).astype(jnp.int32)


def _with(observation: Float[Array, " width"], time: float | Array) -> Float[Array, " more"]:
    return jnp.append(observation, jnp.asarray(time, observation.dtype))
