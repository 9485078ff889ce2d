"""Cloning: closed forms of tabular and linear Gaussian policies, one compilation, warm starts, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.algorithms.behavioural_cloning import (
    BehaviouralCloning,
    Labelled,
    entropy,
    number_of_steps,
    train_epochs,
)
from irl.control.algorithms.dagger import Dagger
from irl.control.algorithms.gail import Gail
from irl.control.environments.base import Environment, Outcome
from irl.control.learners.ppo import Ppo
from irl.control.spaces import Box, Discrete
from irl.text.pipeline import ArraySource
from irl.types import InputError

TABLE = np.array([[6, 3, 1], [0, 2, 6]])
"""How often an action was demonstrated in a state."""


def tabular(**settings):
    """(agent of one logit per state and action, cloning, demonstrations of TABLE)."""
    agent = Ppo(hidden=()).make(Discrete(2), Discrete(3))
    state, action = (np.repeat(index.reshape(-1), TABLE.reshape(-1)).astype(np.int32) for index in np.indices((2, 3)))
    return agent, BehaviouralCloning(**settings).make(agent, Discrete(3)), Labelled(state, action)


def still():
    """One state, any action, four steps."""

    def step(time, action, key):
        return time + 1, Outcome(jnp.ones(1), jnp.float32(0.0), jnp.bool_(False), time >= 3)

    return Environment("still", Box((1,)), Box((1,)), 4, lambda key: (jnp.int32(0), jnp.ones(1)), step)


def policy_of(agent, state):
    every = jnp.arange(3)
    return np.array([np.exp(agent.log_prob(state, jnp.full(3, s), every)) for s in range(2)])


def test_a_tabular_policy_becomes_the_frequencies_of_the_demonstrations():
    agent, cloning, data = tabular(learning_rate=0.1)
    state, info = train_epochs(cloning, cloning.init(jax.random.key(0)), data, jax.random.key(1), epochs=300, batch=18)
    expected = TABLE / TABLE.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(policy_of(agent, state.agent), expected, atol=2e-3)
    best = (TABLE * np.log(np.maximum(expected, 1e-9))).sum() / TABLE.sum()
    np.testing.assert_allclose(info["log_likelihood"][-1], best, atol=2e-3)
    assert info["loss"].shape == (300,)


def test_a_gaussian_policy_becomes_the_mean_and_spread_of_the_actions():
    agent = Ppo(hidden=()).make(Box((1,)), Box((2,)))
    actions = np.array([[1.0, -2.0], [3.0, -2.5], [2.0, -0.5], [2.0, -3.0]], np.float32)
    cloning = BehaviouralCloning(learning_rate=0.05).make(agent, Box((2,)))
    data = Labelled(np.zeros((4, 1), np.float32), actions)
    state, _ = train_epochs(cloning, cloning.init(jax.random.key(0)), data, jax.random.key(1), epochs=500)
    np.testing.assert_allclose(agent.greedy(state.agent, jnp.zeros((1, 1)))[0], actions.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(np.exp(state.params["log_std"]), actions.std(axis=0), atol=2e-3)


def test_loss_of_one_batch_by_hand():
    agent, cloning, data = tabular(entropy=0.3, l2=0.2)
    state = cloning.init(jax.random.key(0))
    _, info = cloning.step(state, data, jax.random.key(1))
    policy = policy_of(agent, state.agent)
    likelihood = (TABLE * np.log(policy)).sum() / TABLE.sum()
    spread = (-(policy * np.log(policy)).sum(axis=1) * TABLE.sum(axis=1)).sum() / TABLE.sum()
    squares = sum(float((leaf**2).sum()) for leaf in jax.tree.leaves(state.params))
    np.testing.assert_allclose(info["entropy"], spread, rtol=1e-5)
    np.testing.assert_allclose(info["loss"], -likelihood - 0.3 * spread + 0.1 * squares, rtol=1e-5)


def test_entropy_of_boxes_is_estimated_with_the_right_gradient():
    agent = Ppo(hidden=(), initial_log_std=0.5).make(Box((1,)), Box((1,)))
    state = agent.init(jax.random.key(0))

    def of(log_std):
        params = {**state.params, "log_std": log_std}
        return entropy(agent, Box((1,)), state._replace(params=params), jnp.zeros((4000, 1)), jax.random.key(1))

    value, gradient = jax.value_and_grad(of)(state.params["log_std"])
    np.testing.assert_allclose(value, 0.5 + 0.5 * np.log(2 * np.pi * np.e), atol=0.03)
    np.testing.assert_allclose(gradient, [1.0], rtol=1e-5)


def test_compiled_once_and_batches_of_an_array_source_do():
    _, cloning, data = tabular()
    traced = []

    def step(state, batch, key):
        traced.append(batch)
        return cloning.step(state, batch, key)

    counted = cloning._replace(step=step)
    state = cloning.init(jax.random.key(0))
    for seed in range(3):
        state, _ = train_epochs(counted, state, data, jax.random.key(seed), epochs=2, batch=4)
    assert len(traced) == 1
    source = ArraySource(data, batch_size=4, seed=0)
    state, info = jax.jit(cloning.step)(state, source.next(), jax.random.key(9))
    assert np.isfinite(info["loss"])


def test_same_key_same_parameters_and_every_row_is_seen_once_an_epoch():
    _, cloning, _ = tabular()
    rows = Labelled(np.zeros(12, np.int32), np.arange(12, dtype=np.int32))

    def step(seen, batch, key):
        return seen.at[batch.action].add(1), {"count": seen.sum()}

    seen, _ = train_epochs(cloning._replace(step=step), jnp.zeros(12, int), rows, jax.random.key(0), epochs=5, batch=4)
    assert (seen == 5).all()


@pytest.mark.parametrize("inside", ["learner", "gail", "dagger"])
def test_with_params_replaces_the_policy_of_the_learner(inside):
    tiny = still()
    learner = Ppo(hidden=(4,)).make(tiny.observation, tiny.action)
    cloning = BehaviouralCloning().make(learner, tiny.action)
    observations, actions = jnp.ones((8, 1)), jnp.linspace(0, 1, 8)[:, None]
    clone, _ = cloning.step(cloning.init(jax.random.key(5)), Labelled(observations, actions), jax.random.key(0))
    gail = Gail().make(learner, tiny.observation, tiny.action)
    dagger = Dagger(capacity=8).guided(learner, tiny.observation, tiny.action, lambda params, x: x, jnp.ones(1))
    agent = {"learner": learner, "gail": gail, "dagger": dagger}[inside]
    initial = agent.init(jax.random.key(1))
    warm = agent.with_params(initial, clone.params)
    expected = learner.log_prob(clone.agent, observations, actions)
    np.testing.assert_array_equal(agent.log_prob(warm, observations, actions), expected)
    assert jax.tree.structure(warm) == jax.tree.structure(initial)
    if inside == "gail":  # the discriminator is unchanged
        jax.tree.map(np.testing.assert_array_equal, warm.params, initial.params)


def test_bad_settings_are_named():
    with pytest.raises(InputError, match=r"learning_rate: expected more than 0.0, got 0"):
        BehaviouralCloning(learning_rate=0)
    with pytest.raises(InputError, match=r"entropy: expected at least 0.0, got -1"):
        BehaviouralCloning(entropy=-1)
    with pytest.raises(InputError, match=r"l2: expected a finite number, got nan"):
        BehaviouralCloning(l2=float("nan"))
    _, cloning, data = tabular()
    with pytest.raises(InputError, match=r"epochs and batch of at least 1, got 0, 32"):
        train_epochs(cloning, None, data, jax.random.key(0), epochs=0)


def test_empty_or_uneven_demonstrations_are_refused():
    _, cloning, _ = tabular()
    empty = Labelled(np.zeros((0,), np.int32), np.zeros((0,), np.int32))
    with pytest.raises(InputError, match=r"demonstrations: empty; expected at least one step"):
        train_epochs(cloning, None, empty, jax.random.key(0))
    with pytest.raises(InputError, match=r"expected arrays of one length, got {'observation': 3, 'action': 2}"):
        number_of_steps(Labelled(np.zeros(3, np.int32), np.zeros(2, np.int32)))
