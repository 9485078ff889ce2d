"""Pure-JAX environments by id: our own (classic_control.py, acrobot.py, seals.py), brax's, and gymnax's.

gymnax is imported only for its own environments: it imports pandas, seaborn and matplotlib.
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
    """An environment of gymnax by id (CartPole-v1, Pendulum-v1, ...), with changes of its parameters.

    Raises:
        ValueError: From gymnax, for an unknown id.
        InputError: An unknown parameter.
    """
    import gymnax

    env, params = gymnax.make(name)
    unknown = [key for key in parameters if not hasattr(params, key)]
    if unknown:
        known = ", ".join(sorted(vars(params)))
        raise InputError(f"{name}: no parameter {unknown[0]!r}; expected one of {known}")
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
    """The pure-JAX environment with an id of `OWN`, brax/NAME, or gymnax. Raises InputError for any other id."""
    if name in OWN:
        return OWN[name]()
    if name.startswith(PREFIX):
        return brax_environment(name)
    import gymnax

    if name not in gymnax.registered_envs:
        near = difflib.get_close_matches(name, {*OWN, *gymnax.registered_envs}, n=3) or ["CartPole-v1"]
        raise InputError(f"environment: no pure-JAX environment {name!r}; similar ids: {', '.join(near)}")
    return gymnax_environment(name)


def _space(space) -> Space:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    return box(*(np.broadcast_to(np.asarray(edge), space.shape) for edge in (space.low, space.high)))
