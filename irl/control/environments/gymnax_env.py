"""gymnax's environments, and the fixed-horizon variants of seals, as `Environment`.

An episode whose end depends on what was done leaks the reward: an imitator that survives is rewarded for that alone
(Kostrikov et al. 2019, arXiv 1809.02925; Freire et al. 2020, arXiv 2012.01365, "DERAIL"). The seals variants always
run to their horizon: CartPole goes on after a fall and pays 1 only while it stands; MountainCar stays at the goal,
where it pays 0.
"""

import difflib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from irl.control.environments.base import Environment, Outcome
from irl.control.environments.brax_env import PREFIX, brax_environment
from irl.control.spaces import Box, Discrete, Space, box
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


def seals_cartpole(horizon: int = 500) -> Environment:
    """seals/CartPole-v0: never over before the horizon; reward 1 while cart and pole are in bounds, else 0."""
    env = gymnax_environment("CartPole-v1", max_steps_in_episode=horizon)
    high = (np.inf, np.inf, np.pi, np.inf)

    def step(state, action, key):
        state, outcome = env.step(state, action, key)
        state = state.replace(theta=(state.theta + jnp.pi) % (2 * jnp.pi) - jnp.pi)
        observation = outcome.observation.at[2].set(state.theta)
        reward = jnp.where(outcome.terminated, 0.0, 1.0)
        return state, Outcome(observation, reward, jnp.bool_(False), state.time >= horizon)

    observation = Box((4,), tuple(-h for h in high), high)
    return env._replace(name="seals/CartPole-v0", observation=observation, step=step)


def seals_mountain_car(horizon: int = 200) -> Environment:
    """seals/MountainCar-v0: at the goal the car stays, at reward 0, until the horizon."""
    env = gymnax_environment("MountainCar-v0", max_steps_in_episode=horizon)

    def reset(key):
        state, observation = env.reset(key)
        return (state, observation, jnp.bool_(False), jnp.int32(0)), observation

    def step(state, action, key):
        inner, observation, at_goal, time = state
        moved, outcome = env.step(inner, action, key)
        stay = lambda old, new: jax.tree.map(lambda a, b: jnp.where(at_goal, a, b), old, new)  # noqa: E731
        inner, observation = stay(inner, moved), stay(observation, outcome.observation)
        reward = jnp.where(at_goal, 0.0, outcome.reward)
        state = (inner, observation, at_goal | outcome.terminated, time + 1)
        return state, Outcome(observation, reward, jnp.bool_(False), time + 1 >= horizon)

    return env._replace(name="seals/MountainCar-v0", reset=reset, step=step)


VARIANTS: dict[str, Callable[[], Environment]] = {
    "seals/CartPole-v0": seals_cartpole,
    "seals/MountainCar-v0": seals_mountain_car,
}


def jax_environment(name: str) -> Environment:
    """A pure-JAX environment by its id: one of `VARIANTS`, brax/NAME, or one of gymnax. InputError: there is none."""
    if name in VARIANTS:
        return VARIANTS[name]()
    if name.startswith(PREFIX):
        return brax_environment(name)
    import gymnax

    if name not in gymnax.registered_envs:
        near = difflib.get_close_matches(name, [*VARIANTS, *gymnax.registered_envs], n=3) or ["CartPole-v1"]
        raise InputError(f"environment: no pure-JAX environment {name!r}; perhaps {', '.join(near)}")
    return gymnax_environment(name)


def _space(space) -> Space:
    if hasattr(space, "n"):
        return Discrete(int(space.n))
    low, high = (np.broadcast_to(np.asarray(edge), space.shape) for edge in (space.low, space.high))
    largest = np.finfo(np.float32).max
    return box(np.where(low <= -largest, -np.inf, low), np.where(high >= largest, np.inf, high))
