"""DAgger: schedules by hand, the ring of labels, who acts, a corridor learned in one program, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.algorithms.behavioural_cloning import BehaviouralCloning, Labelled
from irl.control.algorithms.dagger import Dagger, ExponentialBeta, LinearBeta, aggregated
from irl.control.environments.base import Environment, Outcome
from irl.control.learners.ppo import Ppo
from irl.control.rollout.in_graph import in_graph, returns
from irl.control.spaces import Box, Discrete
from irl.types import InputError

SMALL = Dagger(cloning=BehaviouralCloning(learning_rate=0.05), updates=30, batch=16, capacity=256)


def corridor(length=6, slip=0.3):
    """Start in the middle; keep within the ends: action 1 moves right, 0 left, a gust now and then moves left."""

    def reset(key):
        return (jnp.int32(length // 2), jnp.int32(0)), jnp.int32(length // 2)

    def step(state, action, key):
        place, time = state
        gust = jax.random.bernoulli(key, slip)
        place = jnp.clip(place + jnp.where(gust, -1, 2 * action - 1), 0, length - 1).astype(jnp.int32)
        inside = (place > 0) & (place < length - 1)
        outcome = Outcome(place, jnp.float32(inside), jnp.bool_(False), time + 1 >= 20)
        return (place, time + 1), outcome

    return Environment("corridor", Discrete(length), Discrete(2), 20, reset, step)


def expert(params, observations):
    return (observations < params).astype(jnp.int32)


def test_schedules_by_hand():
    at = lambda beta: [float(beta.at(jnp.int32(i))) for i in range(4)]  # noqa: E731
    assert at(ExponentialBeta()) == [1, 0, 0, 0]
    np.testing.assert_allclose(at(ExponentialBeta(decay=0.5)), [1, 0.5, 0.25, 0.125])
    np.testing.assert_allclose(at(LinearBeta(rounds=2)), [1, 0.5, 0, 0])


def test_labels_are_kept_in_a_ring():
    data, seen = Labelled(jnp.zeros((5, 1)), jnp.zeros(5, jnp.int32)), jnp.int32(0)
    for first in (0, 3, 6):
        rows = np.arange(first, first + 3)
        data, seen = aggregated(data, seen, Labelled(rows[:, None].astype(np.float32), rows.astype(np.int32)))
    assert int(seen) == 9
    np.testing.assert_array_equal(data.action, [5, 6, 7, 8, 4])
    np.testing.assert_array_equal(data.observation[:, 0], data.action)


def test_rows_that_are_not_filled_yet_are_not_learned():
    agent = Ppo(hidden=()).make(Discrete(2), Discrete(2))
    learning = SMALL.make(agent, Discrete(2), Discrete(2))
    ones = Labelled(np.ones(4, np.int32), np.ones(4, np.int32))
    state, info = jax.jit(learning.step)(learning.init(jax.random.key(0)), ones, jax.random.key(1))
    untouched = learning.init(jax.random.key(0)).cloning.agent
    zero, one = jnp.zeros(1, jnp.int32), jnp.ones(1, jnp.int32)
    weights = lambda s: np.asarray(s.params["actor"][0]["w"])  # noqa: E731
    np.testing.assert_array_equal(weights(state.cloning.agent)[0], weights(untouched)[0])  # state 0 was never shown
    assert agent.log_prob(state.cloning.agent, one, one) > agent.log_prob(untouched, one, one) + 0.3
    assert agent.log_prob(untouched, one, one) == pytest.approx(float(info["log_likelihood_before"]), abs=1e-6)
    assert np.isfinite(agent.log_prob(state.cloning.agent, zero, zero)).all()


def test_the_expert_acts_as_often_as_beta_says():
    observations = jnp.zeros(2000, jnp.int32)  # the expert says 1, a novice that says 0
    agent = (
        Ppo(hidden=())
        .make(Discrete(6), Discrete(2))
        ._replace(act=lambda state, observations, key: (jnp.zeros_like(observations), jnp.zeros(len(observations))))
    )
    guided = Dagger(beta=ExponentialBeta(decay=0.5), capacity=10).guided(agent, Discrete(6), Discrete(2), expert, 3)
    state = guided.init(jax.random.key(0))
    for rounds, beta in ((0, 1.0), (1, 0.5), (2, 0.25)):
        at = state._replace(learner=state.learner._replace(rounds=jnp.int32(rounds)))
        actions, _ = guided.act(at, observations, jax.random.key(1))
        assert float(actions.mean()) == pytest.approx(beta, abs=0.04)


def test_the_corridor_is_learned_in_one_program():
    world = corridor()
    agent = Ppo(hidden=()).make(world.observation, world.action)
    guided = SMALL.guided(agent, world.observation, world.action, expert, jnp.int32(4))
    algorithm, traced = in_graph(world, guided, envs=4, time=10), []

    @jax.jit
    def step(state, key):
        traced.append(key)
        return algorithm.step(state, None, key)

    state = jax.jit(algorithm.init)(jax.random.key(0))
    for index in range(5):
        state, info = step(state, jax.random.key(index))
    assert len(traced) == 1
    learner = state.agent.learner
    assert int(learner.inserted) == 200 and int(learner.rounds) == 5
    filled = jax.tree.map(lambda leaf: leaf[:200], learner.data)
    np.testing.assert_array_equal(filled.action, expert(4, filled.observation))
    assert set(np.unique(filled.observation)) >= {2, 3, 4}
    ours = returns(world, guided, state.agent, jax.random.key(7), 64).mean()
    theirs = returns(
        world,
        guided._replace(greedy=lambda state, observations: expert(4, observations)),
        state.agent,
        jax.random.key(7),
        64,
    ).mean()
    assert ours == pytest.approx(float(theirs), abs=0.5)
    assert info["beta"] == 0 and info["loss"] < 0.3


def test_continuous_experts_are_mixed_and_labelled():
    agent = Ppo(hidden=(4,)).make(Box((2,)), Box((3,)))
    guided = Dagger(capacity=8).guided(agent, Box((2,)), Box((3,)), lambda p, o: o @ p, jnp.ones((2, 3)))
    actions, log_prob = guided.act(guided.init(jax.random.key(0)), jnp.ones((5, 2)), jax.random.key(0))
    np.testing.assert_array_equal(actions, np.full((5, 3), 2.0))
    assert log_prob.shape == (5,)


def test_bad_settings_are_named():
    with pytest.raises(InputError, match=r"Dagger.updates: expected at least 1, got 0"):
        Dagger(updates=0)
    with pytest.raises(InputError, match=r"decay: expected at most 1.0, got 1.5"):
        ExponentialBeta(decay=1.5)
    with pytest.raises(InputError, match=r"rounds: expected at least 1, got 0"):
        LinearBeta(rounds=0)


def test_labels_that_do_not_fit_or_are_none_are_refused():
    data = Labelled(jnp.zeros((2, 1)), jnp.zeros(2, jnp.int32))
    three = Labelled(np.zeros((3, 1), np.float32), np.zeros(3, np.int32))
    with pytest.raises(InputError, match=r"capacity: expected at least 3, the labels of one round, got 2"):
        aggregated(data, jnp.int32(0), three)
    with pytest.raises(InputError, match=r"demonstrations: empty"):
        aggregated(data, jnp.int32(0), jax.tree.map(lambda leaf: leaf[:0], three))
