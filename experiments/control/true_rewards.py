"""The rewards of some environments as functions of transitions, for EPIC, which evaluates unvisited transitions.

Observations and actions are those of the environment, unscaled. Environments whose reward depends on hidden state
(MuJoCo: on unobserved positions) are excluded, and so are those with a constant reward (CartPole-v1, MountainCar-v0).
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.control.types import Transitions

TrueReward = Callable[[Transitions], Float[Array, " batch"]]

CART, POLE = 2.4, 12 * 2 * jnp.pi / 360
"""Bounds of position and angle, in metres and radians."""
TORQUE = 2.0
GOAL, STEEP_GOAL = 0.5, 0.45
"""Positions of the flag in MountainCar and MountainCarContinuous."""


def seals_cartpole(steps: Transitions) -> Float[Array, " batch"]:
    """1 if the next state is in bounds."""
    x = jnp.asarray(steps.next_observation)
    return ((jnp.abs(x[:, 0]) <= CART) & (jnp.abs(x[:, 2]) <= POLE)).astype(jnp.float32)


def pendulum(steps: Transitions) -> Float[Array, " batch"]:
    """-(angle^2 + velocity^2 / 10 + torque^2 / 1000), before the step; the angle is 0 upright, -pi to pi."""
    x, torque = jnp.asarray(steps.observation), jnp.clip(jnp.asarray(steps.action)[:, 0], -TORQUE, TORQUE)
    angle = jnp.arctan2(x[:, 1], x[:, 0])
    return -(angle**2 + 0.1 * x[:, 2] ** 2 + 0.001 * torque**2)


def seals_mountain_car(steps: Transitions) -> Float[Array, " batch"]:
    """-1 outside of the goal."""
    x = jnp.asarray(steps.observation)
    return jnp.where((x[:, 0] >= GOAL) & (x[:, 1] >= 0), 0.0, -1.0)


def mountain_car_continuous(steps: Transitions) -> Float[Array, " batch"]:
    """100 at the goal, less force^2 / 10."""
    x, force = jnp.asarray(steps.next_observation), jnp.asarray(steps.action)[:, 0]
    at_goal = (x[:, 0] >= STEEP_GOAL) & (x[:, 1] >= 0)
    return 100.0 * at_goal - 0.1 * jnp.clip(force, -1, 1) ** 2


def acrobot(steps: Transitions) -> Float[Array, " batch"]:
    """-1, or 0 if the next state has the tip above the line: -cos t1 - cos(t1 + t2) > 1."""
    cos1, sin1, cos2, sin2 = jnp.moveaxis(jnp.asarray(steps.next_observation)[:, :4], 1, 0)
    height = -cos1 - (cos1 * cos2 - sin1 * sin2)
    return jnp.where(height > 1, 0.0, -1.0)


TRUE_REWARDS: dict[str, TrueReward] = {
    "seals/CartPole-v0": seals_cartpole,
    "seals/MountainCar-v0": seals_mountain_car,
    "Pendulum-v1": pendulum,
    "MountainCarContinuous-v0": mountain_car_continuous,
    "Acrobot-v1": acrobot,
}
"""Id of an environment -> its reward."""
