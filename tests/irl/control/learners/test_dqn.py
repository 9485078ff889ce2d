"""DQN: targets worked out by hand, a table's values, its policy's chances, and a corridor learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.learners.dqn import Dqn, log_epsilon_greedy
from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.replay import Experience
from irl.control.rollout.in_graph import in_graph, returns
from irl.control.spaces import Box, Discrete
from irl.types import InputError
from tests.irl.control.learners.off_policy_worlds import DISCOUNT, END, compiled, corridor, every_step, table, values

STATES, ACTIONS = Discrete(3), Discrete(2)
TRAINING = OffPolicy(learning_rate=0.02, batch=32, updates=1500, target_rate=0.1, capacity=6)


def layers(rows):
    return [{"w": jnp.asarray(rows), "b": jnp.zeros(2)}]


@pytest.mark.parametrize(("double", "goal"), [(True, 1 + 0.8 * 10), (False, 1 + 0.8 * 30)])
def test_target(double, goal):
    """Q thinks action 0 best in state 1, which Q' values 10; Q' itself thinks action 1 best, at 30."""
    learner = Dqn(discount=0.8, double=double, hidden=()).build(STATES, ACTIONS)
    params = layers([[2.0, 0.0], [5.0, 4.0], [0.0, 0.0]])
    target = layers([[0.0, 0.0], [10.0, 30.0], [0.0, 0.0]])
    here, there = jnp.eye(3)[:1], jnp.eye(3)[1:2]
    step = Experience(here, jnp.zeros(1, jnp.int32), there, jnp.zeros(1, bool), jnp.ones(1))
    loss, info = learner.loss(params, target, step, jax.random.key(0))
    assert loss == pytest.approx(goal - 2 - 0.5)  # Huber, beyond 1
    assert info["q"] == 2
    ended, _ = learner.loss(params, target, step._replace(terminated=jnp.ones(1, bool)), jax.random.key(0))
    assert ended == pytest.approx(0.5 * (1 - 2) ** 2)


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("truncated", [False, True])
def test_reaches_the_values_of_a_table(double, truncated):
    """Where the last step is cut off by time and not the end, it is worth 1 / (1 - discount) = 5."""
    agent = Dqn(discount=DISCOUNT, double=double, hidden=(), training=TRAINING).make(STATES, ACTIONS)
    state, _ = jax.jit(agent.step)(
        compiled(agent.init)(jax.random.key(0)), every_step(truncated=truncated), jax.random.key(1)
    )
    true = values(lambda q: q.max(axis=1), ends=END & (not truncated))
    assert true[2, 1] == pytest.approx(5.0 if truncated else 1.0)
    np.testing.assert_allclose(table(state.params), true, atol=0.02)
    np.testing.assert_array_equal(agent.greedy(state, jnp.arange(3)), true.argmax(axis=1))


@pytest.mark.parametrize(("rate", "period"), [(1.0, 3), (0.25, 1)])
def test_slow_copy(rate, period):
    """Five updates: the hard copy is of the third, the soft one follows each by a quarter of the way."""
    training = OffPolicy(target_rate=rate, target_period=period, updates=1, batch=8, capacity=6)
    agent = Dqn(hidden=(), training=training).make(STATES, ACTIONS)
    state, step = agent.init(jax.random.key(0)), jax.jit(agent.step, donate_argnums=0)  # whose arrays share no memory
    expected = table(state.params)
    for number in range(1, 6):
        state, _ = step(state, every_step(), jax.random.key(number))
        if number % period == 0:
            expected = expected + rate * (table(state.params) - expected)
    np.testing.assert_allclose(table(state.target), expected, rtol=1e-5)
    assert step._cache_size() == 1


def test_target_begins_with_what_was_cloned():
    training = OffPolicy(updates=1, target_rate=1e-6, capacity=6)
    agent = Dqn(hidden=(), training=training).make(STATES, ACTIONS)
    cloned = layers([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    state, _ = agent.step(
        compiled(agent.init)(jax.random.key(0))._replace(params=cloned), every_step(), jax.random.key(1)
    )
    np.testing.assert_allclose(table(state.target), table(cloned), atol=1e-4)


def test_policy_is_epsilon_greedy_with_the_gradient_of_softmax():
    value = jnp.array([[1.0, 3.0, 2.0, 0.0]])
    chances = log_epsilon_greedy(value, jnp.float32(0.2))
    np.testing.assert_allclose(np.exp(chances), [[0.05, 0.85, 0.05, 0.05]], rtol=1e-5)
    grad = jax.grad(lambda v: log_epsilon_greedy(v, jnp.float32(0.2))[0, 2])(value)
    smooth = np.exp(value) / np.exp(value).sum()
    np.testing.assert_allclose(grad, np.eye(4)[2] - smooth, rtol=1e-5)


def test_acts_as_its_log_prob_says():
    config = Dqn(first_epsilon=0.9, last_epsilon=0.1, epsilon_steps=100, hidden=())
    agent = config.make(STATES, ACTIONS)
    state = compiled(agent.init)(jax.random.key(0))._replace(params=layers([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(
        [config.epsilon(jnp.int32(t)) for t in (0, 50, 100, 900)], [0.9, 0.5, 0.1, 0.1], rtol=1e-6
    )
    state = state._replace(replay=state.replay._replace(inserted=jnp.int32(50)))
    seen = jnp.zeros(4000, jnp.int32)
    actions, log_prob = agent.act(state, seen, jax.random.key(1))
    assert actions.mean() == pytest.approx(0.75, abs=0.03)
    np.testing.assert_allclose(np.exp(log_prob), np.where(actions == 1, 0.75, 0.25), rtol=1e-5)
    np.testing.assert_array_equal(agent.log_prob(state, seen, actions), log_prob)


def test_learns_a_corridor_from_several_seeds_at_once():
    world = corridor()
    config = Dqn(epsilon_steps=800, training=OffPolicy(learning_rate=3e-3, updates=8, normalise=True))
    agent = config.make(world.observation, world.action)
    algorithm = in_graph(world, agent, envs=4, time=10)

    def train(key):
        state, _ = jax.lax.scan(lambda s, k: algorithm.step(s, None, k), algorithm.init(key), jax.random.split(key, 80))
        return returns(world, agent, state.agent, key, 2)

    earned = compiled(jax.vmap(train))(jax.random.split(jax.random.key(0), 2))
    np.testing.assert_array_equal(earned, 7.0)  # there after four of ten steps, the fourth paid


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discount": 1.5}, r"Dqn.discount: expected at most 1.0, got 1.5"),
        (
            {"last_epsilon": 0.5, "first_epsilon": 0.1},
            r"Dqn.last_epsilon: expected at most first_epsilon, 0.1, got 0.5",
        ),
        ({"epsilon_steps": 0}, r"Dqn.epsilon_steps: expected at least 1, got 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        Dqn(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"capacity": 0}, "OffPolicy.capacity: expected at least 1, got 0"),
        ({"batch": 0}, "OffPolicy.batch: expected at least 1, got 0"),
        ({"updates": -1}, "OffPolicy.updates: expected at least 1, got -1"),
        ({"target_period": 0}, "OffPolicy.target_period: expected at least 1, got 0"),
        ({"target_rate": 0.0}, "OffPolicy.target_rate: expected more than 0.0, got 0.0"),
        ({"learning_rate": 0.0}, "OffPolicy.learning_rate: expected more than 0.0, got 0.0"),
    ],
)
def test_bad_training(settings, message):
    with pytest.raises(InputError, match=message):
        OffPolicy(**settings)


def test_boxes_are_refused():
    with pytest.raises(InputError, match=r"Dqn: expected discrete actions, got Box.*; use Sac for boxes"):
        Dqn().make(STATES, Box((1,), -1.0, 1.0))
