"""The fixed-horizon variants of seals, as `Environment`.

If the end of an episode depends on the actions, it leaks the reward: an imitator is rewarded for survival alone
(Kostrikov et al. 2019, arXiv 1809.02925; Freire et al. 2020, arXiv 2012.01365, "DERAIL"). These environments always run
to their horizon: CartPole continues after a fall, with reward 0; MountainCar stays at the goal, with reward 0.
"""

import jax.numpy as jnp
import numpy as np

from irl.control.environments.base import Environment, Outcome
from irl.control.environments.classic_control import (
    State,
    cart_pole,
    in_bounds,
    mountain_car,
    move_cart_pole,
    wrapped,
)
from irl.control.spaces import Box

ANGLE = np.array([False, False, True, False])


def seals_cartpole(horizon: int = 500) -> Environment:
    """seals/CartPole-v0: no end before the horizon; reward 1 while cart and pole are in bounds, else 0."""

    def step(state, action, key):
        physics = move_cart_pole(state.physics, action)
        physics = jnp.where(ANGLE, wrapped(physics), physics)
        state = State(physics, state.time + 1)
        return state, Outcome(physics, jnp.float32(in_bounds(physics)), jnp.bool_(False), state.time >= horizon)

    high = (np.inf, np.inf, np.pi, np.inf)
    space = Box((4,), tuple(-h for h in high), high)
    return cart_pole(horizon)._replace(name="seals/CartPole-v0", observation=space, step=step)


def seals_mountain_car(horizon: int = 200) -> Environment:
    """seals/MountainCar-v0: the car stays at the goal, with reward 0, until the horizon."""
    env = mountain_car(horizon)

    def reset(key):
        state, observation = env.reset(key)
        return (state, jnp.bool_(False)), observation

    def step(state, action, key):
        before, at_goal = state
        moved, outcome = env.step(before, action, key)
        physics = jnp.where(at_goal, before.physics, moved.physics)
        reward = jnp.where(at_goal, 0.0, outcome.reward)
        after = (State(physics, moved.time), at_goal | outcome.terminated)
        return after, Outcome(physics, reward, jnp.bool_(False), moved.time >= horizon)

    return env._replace(name="seals/MountainCar-v0", reset=reset, step=step)
