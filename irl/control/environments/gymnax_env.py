"""Pure-JAX environments by their ids: our own (classic_control.py, acrobot.py, seals.py), or gymnax's as `Environment`.

gymnax is imported when one of its own is asked for: with it come pandas, seaborn and matplotlib.
"""

import difflib
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from irl.control.environments.acrobot import acrobot
from irl.control.environments.base import Environment, Outcome
from irl.control.environments.brax_env import PREFIX, brax_environment
from irl.control.environments.classic_control import cart_pole, mountain_car, mountain_car_continuous, pendulum
from irl.control.environments.seals import seals_cartpole, seals_mountain_car
from irl.control.spaces import Discrete, Space, box
from irl.types import InputError


def gymnax_environment(name: str, **parameters: float) -> Environment:
    """An environment of gymnax by its id (CartPole-v1, Pendulum-v1, ...), with some of its parameters changed.

    ValueError of gymnax: no such id. InputError: no such parameter.
    """
    import gymnax

    env, params = gymnax.make(name)
    unknown = [key for key in parameters if not hasattr(params, key)]
    if unknown:
        there = ", ".join(sorted(vars(params)))
        raise InputError(f"{name}: no parameter {unknown[0]!r}; there are {there}")
    params = params.replace(**parameters)

    def reset(key):
        observation, state = env.reset_env(key, params)
        return state, observation

    def step(state, action, key):
        observation, state, reward, terminated, _ = env.step_env(key, state, action, params)
        truncated = env.is_truncated(state, params)
        return state, Outcome(observation, jnp.float32(reward), terminated, truncated & ~terminated)

    spaces = (_space(env.observation_space(params)), _space(env.action_space(params)))
    return Environment(name, *spaces, int(params.max_steps_in_episode), reset, step)


OWN: dict[str, Callable[[], Environment]] = {
    "Acrobot-v1": acrobot,
    "CartPole-v1": cart_pole,
    "MountainCar-v0": mountain_car,
    "MountainCarContinuous-v0": mountain_car_continuous,
    "Pendulum-v1": pendulum,
    "seals/CartPole-v0": seals_cartpole,
    "seals/MountainCar-v0": seals_mountain_car,
}


def jax_environment(name: str) -> Environment:
    """A pure-JAX environment by its id: one of `OWN`, brax/NAME, or one of gymnax. InputError: there is none."""
    if name in OWN:
        return OWN[name]()
    if name.startswith(PREFIX):
        return brax_environment(name)
    import gymnax

    if name not in gymnax.registered_envs:
        near = difflib.get_close_matches(name, [*OWN, *gymnax.registered_envs], n=3) or ["CartPole-v1"]
        raise InputError(f"environment: no pure-JAX environment {name!r}; perhaps {', '.join(near)}")
    return gymnax_environment(name)


def _space(space) -> Space:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    low, high = (np.broadcast_to(np.asarray(edge), space.shape) for edge in (space.low, space.high))
    largest = np.finfo(np.float32).max
    return box(np.where(low <= -largest, -np.inf, low), np.where(high >= largest, np.inf, high))
