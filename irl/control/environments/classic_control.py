"""Gymnasium's CartPole, MountainCar, MountainCarContinuous and Pendulum as pure functions.

CartPole: Barto, Sutton & Anderson 1983, "Neuronlike adaptive elements that can solve difficult learning control
problems", without friction. MountainCar: Moore 1990, "Efficient memory-based learning for robot control". All use
Euler's method; the tests compare equations, rewards and limits with Gymnasium's step by step. gymnax has more
environments, but its import takes two seconds (gymnax_env.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from irl.control.environments.base import Environment, Outcome
from irl.control.spaces import Box, Discrete
from reward_models.types import Array


class State(NamedTuple):
    """Positions and velocities, and the number of steps."""

    physics: Float[Array, " coordinates"]
    time: Int[Array, ""]


# CartPole: metres, kilogrammes, newtons, seconds, radians
GRAVITY, CART, POLE, HALF_LENGTH, FORCE, SECONDS = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
FARTHEST, STEEPEST = 2.4, 12 * np.pi / 180


def cart_pole(horizon: int = 500) -> Environment:
    """CartPole-v1: (x, x', angle, angle'); reward 1 per step until the pole or the cart is out of bounds."""

    def reset(key):
        physics = jax.random.uniform(key, (4,), minval=-0.05, maxval=0.05)
        return State(physics, jnp.int32(0)), physics

    def step(state, action, key):
        physics = move_cart_pole(state.physics, action)
        state = State(physics, state.time + 1)
        return state, outcome_of(state, physics, 1.0, ~in_bounds(physics), horizon)

    high = (2 * FARTHEST, np.inf, 2 * STEEPEST, np.inf)
    return Environment("CartPole-v1", Box((4,), tuple(-h for h in high), high), Discrete(2), horizon, reset, step)


def move_cart_pole(physics: Float[Array, "4"], action: Int[Array, ""]) -> Float[Array, "4"]:
    """The state 0.02 s later, after a push to the left (0) or to the right (1)."""
    _, speed, angle, turning = physics
    force = FORCE * (2 * action - 1)
    total, moment = CART + POLE, POLE * HALF_LENGTH
    push = (force + moment * turning**2 * jnp.sin(angle)) / total
    inertia = HALF_LENGTH * (4 / 3 - POLE * jnp.cos(angle) ** 2 / total)
    turn = (GRAVITY * jnp.sin(angle) - jnp.cos(angle) * push) / inertia
    rates = jnp.stack([speed, push - moment * turn * jnp.cos(angle) / total, turning, turn])
    return physics + SECONDS * rates


def in_bounds(physics: Float[Array, "4"]) -> Array:
    """Whether cart and pole are in bounds."""
    return (jnp.abs(physics[0]) <= FARTHEST) & (jnp.abs(physics[2]) <= STEEPEST)


def mountain_car(horizon: int = 200) -> Environment:
    """MountainCar-v0: (position, velocity); reward -1 per step until the flag at 0.5."""

    def step(state, action, key):
        state = State(move_car(state.physics, 0.001 * (action - 1)), state.time + 1)
        return state, outcome_of(state, state.physics, -1.0, _at_flag(state, 0.5), horizon)

    return Environment("MountainCar-v0", VALLEY, Discrete(3), horizon, _car_reset, step)


def mountain_car_continuous(horizon: int = 999) -> Environment:
    """MountainCarContinuous-v0: reward -0.1 action^2 per step, and 100 at the flag at 0.45."""

    def step(state, action, key):
        state = State(move_car(state.physics, 0.0015 * jnp.clip(action[0], -1.0, 1.0)), state.time + 1)
        at_flag = _at_flag(state, 0.45)
        return state, outcome_of(state, state.physics, 100.0 * at_flag - 0.1 * action[0] ** 2, at_flag, horizon)

    return Environment("MountainCarContinuous-v0", VALLEY, Box((1,), -1.0, 1.0), horizon, _car_reset, step)


VALLEY = Box((2,), (-1.2, -0.07), (0.6, 0.07))


def _car_reset(key):
    physics = jnp.stack([jax.random.uniform(key, minval=-0.6, maxval=-0.4), 0.0])
    return State(physics, jnp.int32(0)), physics


def move_car(physics: Float[Array, "2"], push: Float[Array, ""]) -> Float[Array, "2"]:
    """The state one step later, on a road of height sin(3 position) with a wall on the left."""
    position, velocity = physics
    velocity = jnp.clip(velocity + push - 0.0025 * jnp.cos(3 * position), -0.07, 0.07)
    position = jnp.clip(position + velocity, -1.2, 0.6)
    return jnp.stack([position, jnp.where((position == -1.2) & (velocity < 0), 0.0, velocity)])


def _at_flag(state: State, flag: float) -> Array:
    position, velocity = state.physics
    return (position >= flag) & (velocity >= 0)


def pendulum(horizon: int = 200) -> Environment:
    """Pendulum-v1: (cos, sin, velocity), the angle 0 upright; negative costs of angle, speed and torque; no end."""

    def observe(physics):
        return jnp.stack([jnp.cos(physics[0]), jnp.sin(physics[0]), physics[1]])

    def reset(key):
        physics = jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0) * jnp.array([jnp.pi, 1.0])
        return State(physics, jnp.int32(0)), observe(physics)

    def step(state, action, key):
        angle, velocity = state.physics
        torque = jnp.clip(action[0], -2.0, 2.0)
        cost = wrapped(angle) ** 2 + 0.1 * velocity**2 + 0.001 * torque**2
        velocity = jnp.clip(velocity + 0.05 * (15.0 * jnp.sin(angle) + 3.0 * torque), -8.0, 8.0)
        state = State(jnp.stack([angle + 0.05 * velocity, velocity]), state.time + 1)
        return state, outcome_of(state, observe(state.physics), -cost, jnp.bool_(False), horizon)

    high = (1.0, 1.0, 8.0)
    space = Box((3,), tuple(-h for h in high), high)
    return Environment("Pendulum-v1", space, Box((1,), -2.0, 2.0), horizon, reset, step)


def wrapped(angle: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Angles, wrapped to [-pi, pi)."""
    return (angle + jnp.pi) % (2 * jnp.pi) - jnp.pi


def outcome_of(state: State, observation: Array, reward: float | Array, terminated: Array, horizon: int) -> Outcome:
    """The outcome, truncated at the horizon unless terminated there."""
    return Outcome(observation, jnp.float32(reward), terminated, (state.time >= horizon) & ~terminated)
