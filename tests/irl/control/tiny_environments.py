"""Tiny environments whose best behaviour is known."""

import jax
import jax.numpy as jnp

from irl.control.environments.base import Environment, Outcome
from irl.control.spaces import Box, Discrete


def target(horizon: int = 10) -> Environment:
    """Observation: a sign drawn anew every step; action 1 at a positive sign and 0 else earns 1."""

    def draw(key):
        return jnp.where(jax.random.bernoulli(key), 1.0, -1.0)

    def reset(key):
        sign = draw(key)
        return (sign, jnp.int32(0)), sign[None]

    def step(state, action, key):
        sign, time = state
        reward = jnp.where(action == (sign > 0), 1.0, 0.0)
        following = draw(key)
        return (following, time + 1), Outcome(following[None], reward, jnp.bool_(False), time + 1 >= horizon)

    return Environment("target", Box((1,), -1.0, 1.0), Discrete(2), horizon, reset, step)


def walk(length: int = 3) -> Environment:
    """Position 0 to `length`, +1 a step whatever is done; the last position terminates; 2 * length steps at most."""

    def reset(key):
        return (jnp.int32(0), jnp.int32(0)), jnp.zeros(1)

    def step(state, action, key):
        position, time = state
        position = position + 1
        over = position >= length
        outcome = Outcome(position[None].astype(float), jnp.float32(position), over, (time + 1 >= 2 * length) & ~over)
        return (position, time + 1), outcome

    return Environment("walk", Box((1,), 0.0, float(length)), Discrete(2), 2 * length, reset, step)
