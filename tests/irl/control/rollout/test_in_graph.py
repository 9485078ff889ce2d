"""Rollouts in one compiled program: episodes end, true last observations stay, actions are clipped."""

import jax
import jax.numpy as jnp
import numpy as np

from irl.control.agent import Agent
from irl.control.environments.base import Environment, Outcome
from irl.control.rollout.in_graph import clipped, collect, reset, returns
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions
from tests.irl.control.tiny_environments import walk


def constant(value) -> Agent:
    """Does the same everywhere."""

    def act(state, observations, key):
        return jnp.broadcast_to(jnp.asarray(value), (len(observations), *np.shape(value))), jnp.full(
            len(observations), -0.5
        )

    return Agent(
        init=lambda key: None,
        act=act,
        greedy=lambda state, observations: act(state, observations, None)[0],
        log_prob=lambda state, observations, actions: jnp.zeros(len(observations)),
        step=lambda state, batch, key: (state, {}),
    )


def test_episodes_end_and_begin_anew():
    world = walk(3)
    environments, rollout, info = collect(
        world, constant(1), None, reset(world, 2, jax.random.key(0)), jax.random.key(1), 7
    )
    np.testing.assert_array_equal(rollout.observation[:, 0, 0], [0, 1, 2, 0, 1, 2, 0])
    np.testing.assert_array_equal(rollout.next_observation[:, 0, 0], [1, 2, 3, 1, 2, 3, 1])
    np.testing.assert_array_equal(rollout.terminated[:, 0], [0, 0, 1, 0, 0, 1, 0])
    assert not rollout.truncated.any()
    np.testing.assert_array_equal(rollout.log_prob, -0.5)
    assert info["episodes"] == 4 and info["return"] == 1 + 2 + 3
    np.testing.assert_array_equal(environments.steps, [1, 1])
    np.testing.assert_array_equal(environments.episode_return, [1, 1])


def test_transitions_of_a_rollout():
    world = walk(3)
    _, rollout, _ = collect(world, constant(1), None, reset(world, 2, jax.random.key(0)), jax.random.key(1), 4)
    flat = rollout.transitions()
    assert isinstance(flat, Transitions) and flat.observation.shape == (8, 1) and flat.terminated.shape == (8,)
    np.testing.assert_array_equal(flat.observation[:, 0], [0, 0, 1, 1, 2, 2, 0, 0])


def test_returns_stop_at_the_end_of_an_episode():
    world = walk(3)
    np.testing.assert_array_equal(returns(world, constant(0), None, jax.random.key(0), 5), [6] * 5)
    np.testing.assert_array_equal(returns(world, constant(0), None, jax.random.key(0), 5, explore=True), [6] * 5)


def test_the_environment_gets_actions_inside_their_bounds_and_the_rollout_keeps_what_was_drawn():
    def step(state, action, key):
        return state, Outcome(jnp.zeros(1), action[0], jnp.bool_(False), jnp.bool_(False))

    space = Box((1,), -1.0, 1.0)
    world = Environment("echo", Box((1,)), space, 4, lambda key: (jnp.zeros(()), jnp.zeros(1)), step)
    environments = reset(world, 2, jax.random.key(0))
    _, rollout, _ = collect(world, constant((7.0,)), None, environments, jax.random.key(1), 3)
    np.testing.assert_array_equal(rollout.reward, np.ones((3, 2)))
    np.testing.assert_array_equal(rollout.action, np.full((3, 2, 1), 7.0))
    assert clipped(Discrete(2), jnp.array(5)) == 5
