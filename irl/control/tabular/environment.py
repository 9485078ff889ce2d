"""A tabular world as an `Environment`, for every algorithm that learns by acting.

Observations are the rows of the world's features; `world._replace(features=jnp.eye(states))` gives one-hot ones. Its
horizon ends an episode as a time limit does: truncated, never terminated.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from irl.control.environments.base import Environment, EnvState, Outcome
from irl.control.spaces import Box, Discrete
from irl.control.tabular.demonstrations import length
from irl.control.tabular.mdp import TabularWorld, check, check_reward, transition_reward
from irl.types import InputError


def tabular_environment(world: TabularWorld, *, horizon: int | None = None) -> Environment:
    """Truncated at the world's horizon, or at `horizon` where that is infinite. InputError: a bad world."""
    mdp, name = world.mdp, world.name
    check(mdp)
    check_reward(mdp, world.reward)
    if world.features.ndim != 2 or len(world.features) != mdp.states:
        raise InputError(f"{name}.features: expected shape ({mdp.states}, features), got {world.features.shape}")
    limit = length(f"{name}: horizon", mdp, horizon)
    paid = transition_reward(mdp, world.reward).astype(jnp.float32)
    seen = world.features.astype(jnp.float32)
    log_initial, log_transition = jnp.log(mdp.initial), jnp.log(mdp.transition)

    def reset(key: jax.Array) -> tuple[EnvState, Array]:
        state = jax.random.categorical(key, log_initial).astype(jnp.int32)
        return (state, jnp.int32(0)), seen[state]

    def step(state: EnvState, action: Array, key: jax.Array) -> tuple[EnvState, Outcome]:
        here, time = state
        there = jax.random.categorical(key, log_transition[here, action]).astype(jnp.int32)
        outcome = Outcome(seen[there], paid[here, action, there], jnp.bool_(False), time + 1 >= limit)
        return (there, time + 1), outcome

    return Environment(name, Box(seen.shape[1:]), Discrete(mdp.actions), limit, reset, step)
