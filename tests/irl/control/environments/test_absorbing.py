"""Absorbing states: steps by hand, demonstrations that agree with the environment, and the bias that they take away."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.gail import Gail
from irl.control.environments.absorbing import (
    absorbing,
    absorbing_space,
    absorbing_trajectory,
)
from irl.control.environments.base import Environment, Outcome
from irl.control.learners.ppo import Ppo
from irl.control.rewards import RewardMlp
from irl.control.rollout.in_graph import in_graph
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions
from irl.types import InputError

HORIZON = 10


def quitting(horizon=HORIZON):
    """One state. Action 0 ends the episode, action 1 goes on."""

    def reset(key):
        return jnp.int32(0), jnp.ones(1)

    def step(time, action, key):
        over = action == 0
        return time + 1, Outcome(jnp.ones(1), jnp.float32(1.0), over, ~over & (time + 1 >= horizon))

    return Environment("quitting", Box((1,), 0.5, 1.5), Discrete(2), horizon, reset, step)


def play(world, actions):
    state, observation = world.reset(jax.random.key(0))
    seen, outcomes = [observation], []
    for action in actions:
        state, outcome = world.step(state, jnp.int32(action), jax.random.key(1))
        seen.append(outcome.observation)
        outcomes.append(outcome)
    return np.array(seen), jax.tree.map(lambda *leaves: np.array(leaves), *outcomes)


def test_after_the_end_it_stays_until_the_horizon():
    seen, outcome = play(absorbing(quitting(4)), [1, 0, 1, 0])
    np.testing.assert_array_equal(seen, [[1, 0], [1, 0], [0, 1], [0, 1], [0, 1]])
    np.testing.assert_array_equal(outcome.reward, [1, 1, 0, 0])
    np.testing.assert_array_equal(outcome.terminated, [False] * 4)
    np.testing.assert_array_equal(outcome.truncated, [False, False, False, True])


def test_a_time_limit_is_no_end():
    seen, outcome = play(absorbing(quitting(3)), [1, 1, 1])
    np.testing.assert_array_equal(seen[:, 1], 0)
    np.testing.assert_array_equal(outcome.truncated, [False, False, True])
    _, shorter = play(absorbing(quitting(3), horizon=2), [1, 1])
    np.testing.assert_array_equal(shorter.truncated, [False, True])


@pytest.mark.parametrize("actions", [[0], [1, 1, 0], [1] * 4])
def test_demonstrations_look_as_the_environment_would_show_them(actions):
    world = quitting(4)
    seen, outcome = play(world, actions)
    idle = actions + [0] * (4 - len(actions))
    expected, _ = play(absorbing(world), idle)
    observations, filled = absorbing_trajectory(
        world.observation, seen, np.array(actions, np.int32), terminal=bool(outcome.terminated[-1]), horizon=4
    )
    np.testing.assert_array_equal(observations, expected)
    np.testing.assert_array_equal(filled, idle)
    assert observations.dtype == seen.dtype and filled.dtype == np.int32


def test_a_recording_that_was_stopped_ends_where_it_ended():
    seen = np.ones((3, 2), np.float64)
    observations, actions = absorbing_trajectory(Box((2,)), seen, np.ones((2, 1)), terminal=False, horizon=9)
    np.testing.assert_array_equal(observations, [[1, 1, 0]] * 3)
    assert actions.shape == (2, 1) and observations.dtype == np.float64


def test_discrete_observations_get_one_more_value():
    assert absorbing_space(Discrete(3)) == Discrete(4)
    observations, actions = absorbing_trajectory(
        Discrete(3), np.array([0, 2], np.int32), np.array([1], np.int32), terminal=True, horizon=3
    )
    np.testing.assert_array_equal(observations, [0, 3, 3, 3])
    np.testing.assert_array_equal(actions, [1, 0, 0])


def test_the_space_holds_both():
    assert absorbing_space(quitting().observation) == Box((2,), (0.0, 0.0), (1.5, 1.0))
    assert absorbing_space(Box((1,), -3.0, -1.0)) == Box((2,), (-3.0, 0.0), (0.0, 1.0))


def learned_quitting(world, demonstrations):
    """Probability of ending at once, after GAIL with r = log(1 + e^l) on what states are visited."""
    demonstrations = jax.tree.map(jnp.asarray, demonstrations)
    learner = Ppo(hidden=(), learning_rate=0.1, minibatch=160, epochs=2, discount=0.9).make(
        world.observation, world.action
    )
    gail = Gail(
        discriminator=Discriminator(updates=2, batch=64, learning_rate=0.05),
        network=RewardMlp(hidden=(), action=False, normalise=False),
        reward_map="gail",
    )
    algorithm = in_graph(world, gail.make(learner, world.observation, world.action), envs=16, time=HORIZON)

    def train(key):
        step = lambda state, key: algorithm.step(state, demonstrations, key)  # noqa: E731
        return jax.lax.scan(step, algorithm.init(key), jax.random.split(key, 40))[0]

    state = jax.jit(train)(jax.random.key(0))
    _, first = world.reset(jax.random.key(0))
    return float(jnp.exp(learner.log_prob(state.agent.learner, first[None], jnp.zeros(1, jnp.int32)))[0])


def test_survival_bias_of_a_positive_reward_and_its_cure():
    """The expert ends at once. Rewards above 0 and no state after the end: the policy learns to stay alive instead."""
    world = quitting()
    shown = np.ones((2, 1), np.float32), np.zeros(1, np.int32)
    biased = learned_quitting(world, Transitions(shown[0][:-1], shown[1], shown[0][1:], np.ones(1, bool)))
    observations, actions = absorbing_trajectory(world.observation, *shown, terminal=True, horizon=HORIZON)
    whole = Transitions(observations[:-1], actions, observations[1:], np.zeros(HORIZON, bool))
    cured = learned_quitting(absorbing(world), whole)
    assert biased < 0.3
    assert cured > 0.7


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"absorbing: expected a horizon of 1 or more, got 0"):
        absorbing(quitting(), horizon=0)
    with pytest.raises(InputError, match=r"absorbing: expected observations that are vectors or discrete, got Box"):
        absorbing_space(Box((2, 2)))
    one, space = np.zeros(1, np.int32), Box((1,))
    with pytest.raises(InputError, match=r"demonstrations: empty; expected at least one step"):
        absorbing_trajectory(space, np.zeros((1, 1)), one[:0], terminal=True, horizon=3)
    with pytest.raises(InputError, match=r"observations: expected 2, one more than actions, got 3"):
        absorbing_trajectory(space, np.zeros((3, 1)), one, terminal=True, horizon=3)
    with pytest.raises(InputError, match=r"demonstration of 4 steps: expected at most 3, the horizon"):
        absorbing_trajectory(space, np.zeros((5, 1)), np.zeros(4, np.int32), terminal=True, horizon=3)
