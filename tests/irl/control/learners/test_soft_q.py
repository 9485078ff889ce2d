"""Soft Q-learning: soft value iteration's values, its policy, truncation, cloning; in a world, see test_sqil.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.replay import Experience
from irl.control.learners.soft_q import SoftQ, soft_value
from irl.control.spaces import Box, Discrete
from irl.types import InputError
from tests.irl.control.learners.off_policy_worlds import DISCOUNT, END, compiled, every_step, table, values

STATES, ACTIONS = Discrete(3), Discrete(2)
TRAINING = OffPolicy(learning_rate=0.02, batch=32, updates=1500, target_rate=0.1, capacity=6)


def soft(temperature):
    return lambda q: temperature * logsumexp(q / temperature, axis=1)


def test_soft_value():
    assert soft_value(jnp.array([2.0, 2.0]), 0.5) == pytest.approx(2 + 0.5 * np.log(2))
    assert soft_value(jnp.array([2.0, -60.0]), 1e-3) == pytest.approx(2.0)


def test_target():
    """Q'(s', .) = (1, 1) at T = 2: V' = 1 + 2 log 2; the loss is half the square of the error."""
    loss = jax.jit(SoftQ(discount=0.5, temperature=2.0, hidden=()).build(STATES, ACTIONS).loss)
    params = {"critic": [{"w": jnp.zeros((3, 2)), "b": jnp.array([0.25, 0.0])}]}
    target = [{"w": jnp.zeros((3, 2)), "b": jnp.ones(2)}]
    step = Experience(jnp.eye(3)[:1], jnp.zeros(1, jnp.int32), jnp.eye(3)[1:2], jnp.zeros(1, bool), jnp.full(1, 3.0))
    error = 3 + 0.5 * (1 + 2 * np.log(2)) - 0.25
    assert loss(params, target, step, jax.random.key(0))[0] == pytest.approx(0.5 * error**2)
    ended = step._replace(terminated=jnp.ones(1, bool))
    assert loss(params, target, ended, jax.random.key(0))[0] == pytest.approx(0.5 * 2.75**2)


@pytest.mark.parametrize("truncated", [False, True])
def test_reaches_soft_value_iteration(truncated):
    config = SoftQ(discount=DISCOUNT, temperature=0.5, hidden=(), training=TRAINING)
    agent, seen = config.make(STATES, ACTIONS), jnp.arange(3)
    step = jax.jit(agent.step)
    state, _ = step(compiled(agent.init)(jax.random.key(0)), every_step(truncated=truncated), jax.random.key(1))
    true = values(soft(0.5), ends=END & (not truncated))
    np.testing.assert_allclose(table(state.params["critic"]), true, atol=0.02)
    for action in range(2):
        chances = np.exp(agent.log_prob(state, seen, jnp.full(3, action)))
        np.testing.assert_allclose(chances, softmax(true / 0.5, axis=1)[:, action], atol=0.02)
    step(state, every_step(), jax.random.key(2))
    assert step._cache_size() == 1


def test_acts_as_its_log_prob_says():
    agent = SoftQ(temperature=0.5, hidden=()).make(STATES, ACTIONS)
    layers = [{"w": jnp.zeros((3, 2)), "b": jnp.array([0.0, 0.5])}]
    state = compiled(agent.init)(jax.random.key(0))._replace(params={"critic": layers})
    seen = jnp.zeros(4000, jnp.int32)
    actions, log_prob = agent.act(state, seen, jax.random.key(1))
    chance = np.e / (1 + np.e)
    assert actions.mean() == pytest.approx(chance, abs=0.03)
    np.testing.assert_allclose(np.exp(log_prob), np.where(actions == 1, chance, 1 - chance), rtol=1e-5)
    np.testing.assert_array_equal(agent.log_prob(state, seen, actions), log_prob)
    assert (agent.greedy(state, seen) == 1).all()


def test_cloning_by_log_prob_finds_the_expert():
    agent = SoftQ(hidden=()).make(STATES, ACTIONS)
    state, seen, expert = compiled(agent.init)(jax.random.key(0)), jnp.arange(3), jnp.array([1, 0, 1])

    def loss(params):
        return -agent.log_prob(state._replace(params=params), seen, expert).mean()

    for _ in range(50):
        state = state._replace(
            params=jax.tree.map(lambda p, g: p - 0.1 * g, state.params, jax.grad(loss)(state.params))
        )
    np.testing.assert_array_equal(agent.greedy(state, seen), expert)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discount": -0.1}, "SoftQ.discount: expected at least 0.0, got -0.1"),
        ({"temperature": 0.0}, "SoftQ.temperature: expected at least 1e-06, got 0.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        SoftQ(**settings)


def test_boxes_are_refused():
    with pytest.raises(InputError, match=r"SoftQ: expected discrete actions, got Box.*; use Sac for boxes"):
        SoftQ().make(STATES, Box((1,), -1.0, 1.0))
