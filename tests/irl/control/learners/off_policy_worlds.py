"""Worlds of the tests of off-policy learners: a table that is known exactly, environments learned in seconds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from irl.control.environments.base import Environment, Outcome
from irl.control.spaces import Box, Discrete
from irl.control.types import Rollout

compiled = partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
"""For programs that take longer to compile than to run."""

NEXT = np.array([[0, 1], [0, 2], [1, 2]])
"""State after each action in each of three states; the last action of the last state ends the task."""
REWARD = np.array([[0.1, 0.0], [0.0, 0.5], [0.0, 1.0]])
END = np.array([[False, False], [False, False], [False, True]])
DISCOUNT = 0.8


def every_step(*, truncated=False):
    """All states and actions once, as a rollout of one environment; the end may be a time limit's."""
    states, actions = (grid.reshape(-1, 1).astype(np.int32) for grid in np.indices(NEXT.shape))
    ends, no = jnp.asarray(END[states, actions]), jnp.zeros((6, 1), bool)
    return Rollout(
        jnp.asarray(states),
        jnp.asarray(actions),
        jnp.asarray(NEXT[states, actions], jnp.int32),
        no if truncated else ends,
        ends if truncated else no,
        jnp.asarray(REWARD[states, actions], jnp.float32),
        jnp.zeros((6, 1)),
    )


def values(backup, *, ends=END):
    """Q of the table by 500 sweeps; `backup` says what a state is worth by its actions' values."""
    q = np.zeros(NEXT.shape)
    for _ in range(500):
        q = REWARD + DISCOUNT * np.where(ends, 0.0, backup(q)[NEXT])
    return q


def table(layers):
    """What a network without hidden layers says of each of three states."""
    return np.asarray(layers[-1]["w"] + layers[-1]["b"])


def corridor(length=5, horizon=10):
    """Discrete: from 0 action 1 goes on and action 0 back; a step at the far end pays 1. Only time ends it."""

    def observe(place):
        return jax.nn.one_hot(place, length)

    def reset(key):
        return (jnp.int32(0), jnp.int32(0)), observe(0)

    def step(state, action, key):
        place = jnp.clip(state[0] + 2 * action - 1, 0, length - 1)
        time = state[1] + 1
        reward = jnp.where(place == length - 1, 1.0, 0.0)
        return (place, time), Outcome(observe(place), reward, jnp.bool_(False), time >= horizon)

    return Environment("corridor", Box((length,), 0.0, 1.0), Discrete(2), horizon, reset, step)


def aim(horizon=4):
    """Box: hit a mark that is drawn anew in each step; the square of the distance is the cost."""

    def reset(key):
        mark = jax.random.uniform(key, (1,), minval=-1.0)
        return (mark, jnp.int32(0)), mark

    def step(state, action, key):
        reward = -((action - state[0]) ** 2).sum()
        mark = jax.random.uniform(key, (1,), minval=-1.0)
        time = state[1] + 1
        return (mark, time), Outcome(mark, reward, jnp.bool_(False), time >= horizon)

    return Environment("aim", Box((1,), -1.0, 1.0), Box((1,), -2.0, 2.0), horizon, reset, step)
