"""Gymnasium's Acrobot-v1 as pure functions: swing up a two-link pendulum, driven at the joint, above a line.

Sutton & Barto, "Reinforcement Learning: An Introduction", 1998, section 11.3 ("the book" in Gymnasium's code): links of
1 m and 1 kg, centres of mass in the middle, moments of inertia of 1. One step of the fourth-order Runge-Kutta method
takes 0.2 s; the tests compare with Gymnasium's step by step.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from irl.control.environments.base import Environment
from irl.control.environments.classic_control import GRAVITY, State, outcome_of, wrapped
from irl.control.spaces import Box, Discrete

SECONDS = 0.2
FASTEST = np.array([4 * np.pi, 9 * np.pi], np.float32)


def acrobot(horizon: int = 500) -> Environment:
    """(cos, sin, cos, sin, speeds) of two angles, 0 down; reward -1 per step until the tip is one link above."""

    def observe(physics):
        first, second = physics[:2]
        return jnp.stack([jnp.cos(first), jnp.sin(first), jnp.cos(second), jnp.sin(second), *physics[2:]])

    def reset(key):
        physics = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        return State(physics, jnp.int32(0)), observe(physics)

    def step(state, action, key):
        moved = runge_kutta(state.physics, jnp.float32(action - 1))
        angles, speeds = wrapped(moved[:2]), jnp.clip(moved[2:], -FASTEST, FASTEST)
        state = State(jnp.concatenate([angles, speeds]), state.time + 1)
        above = -jnp.cos(angles[0]) - jnp.cos(angles[0] + angles[1]) > 1.0
        return state, outcome_of(state, observe(state.physics), jnp.where(above, 0.0, -1.0), above, horizon)

    high = (1.0, 1.0, 1.0, 1.0, *map(float, FASTEST))
    return Environment("Acrobot-v1", Box((6,), tuple(-h for h in high), high), Discrete(3), horizon, reset, step)


def runge_kutta(physics: Float[Array, "4"], torque: Float[Array, ""]) -> Float[Array, "4"]:
    """The state 0.2 s later."""
    first = rates(physics, torque)
    second = rates(physics + SECONDS / 2 * first, torque)
    third = rates(physics + SECONDS / 2 * second, torque)
    fourth = rates(physics + SECONDS * third, torque)
    return physics + SECONDS / 6 * (first + 2 * second + 2 * third + fourth)


def rates(physics: Float[Array, "4"], torque: Float[Array, ""]) -> Float[Array, "4"]:
    """Time derivatives of angles and speeds: M(q) q'' + b(q, q') = (0, torque), solved for q''."""
    upper, lower, upper_speed, lower_speed = physics
    bend = jnp.sin(lower)
    m11, m12, m22 = 3.5 + jnp.cos(lower), 1.25 + 0.5 * jnp.cos(lower), 1.25
    weight = 0.5 * GRAVITY * jnp.sin(upper + lower)
    b1 = weight + 1.5 * GRAVITY * jnp.sin(upper) - bend * lower_speed * (0.5 * lower_speed + upper_speed)
    b2 = weight + 0.5 * bend * upper_speed**2
    lower_change = (torque - b2 + m12 / m11 * b1) / (m22 - m12**2 / m11)
    upper_change = -(m12 * lower_change + b1) / m11
    return jnp.stack([upper_speed, lower_speed, upper_change, lower_change])
