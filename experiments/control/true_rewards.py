"""The rewards of some environments as functions of what is seen: what EPIC needs, which asks for steps never taken.

Observations and actions as the environment gives and takes them, unscaled. An environment whose reward hangs on hidden
state (MuJoCo's: on positions that are not shown) has none here, nor one that pays the same for every step (CartPole-v1,
MountainCar-v0), which prefers nothing.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.control.types import Transitions

TrueReward = Callable[[Transitions], Float[Array, " batch"]]

CART, POLE = 2.4, 12 * 2 * jnp.pi / 360
"""Metres and radians beyond which a cart-pole has failed."""
TORQUE = 2.0
GOAL, STEEP_GOAL = 0.5, 0.45
"""Positions of the flag of MountainCar, and of the continuous one."""


def seals_cartpole(steps: Transitions) -> Float[Array, " batch"]:
    """1 where the step leads to a cart and a pole in bounds."""
    seen = jnp.asarray(steps.next_observation)
    return ((jnp.abs(seen[:, 0]) <= CART) & (jnp.abs(seen[:, 2]) <= POLE)).astype(jnp.float32)


def pendulum(steps: Transitions) -> Float[Array, " batch"]:
    """-(angle^2 + velocity^2 / 10 + torque^2 / 1000), before the step; the angle is 0 upright, -pi to pi."""
    seen, torque = jnp.asarray(steps.observation), jnp.clip(jnp.asarray(steps.action)[:, 0], -TORQUE, TORQUE)
    angle = jnp.arctan2(seen[:, 1], seen[:, 0])
    return -(angle**2 + 0.1 * seen[:, 2] ** 2 + 0.001 * torque**2)


def seals_mountain_car(steps: Transitions) -> Float[Array, " batch"]:
    """-1 from wherever is not the goal."""
    seen = jnp.asarray(steps.observation)
    return jnp.where((seen[:, 0] >= GOAL) & (seen[:, 1] >= 0), 0.0, -1.0)


def mountain_car_continuous(steps: Transitions) -> Float[Array, " batch"]:
    """100 at the goal, less force^2 / 10."""
    after, force = jnp.asarray(steps.next_observation), jnp.asarray(steps.action)[:, 0]
    reached = (after[:, 0] >= STEEP_GOAL) & (after[:, 1] >= 0)
    return 100.0 * reached - 0.1 * jnp.clip(force, -1, 1) ** 2


def acrobot(steps: Transitions) -> Float[Array, " batch"]:
    """-1, or 0 where the step swings the tip above the line: -cos t1 - cos(t1 + t2) > 1."""
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
"""By the environment's id, in the graph and on the host alike."""
