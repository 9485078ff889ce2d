"""SQIL: the fixed point of its rewards on a table, imitation in a corridor without any reward, both kinds of action."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import logsumexp

from irl.control.agent import ImitationBatch
from irl.control.algorithms.sqil import Sqil
from irl.control.learners.dqn import Dqn
from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.sac import Sac
from irl.control.learners.soft_q import SoftQ
from irl.control.rollout.in_graph import in_graph, returns
from irl.control.spaces import Discrete
from irl.control.types import Transitions
from tests.irl.control.learners.off_policy_worlds import DISCOUNT, END, NEXT, aim, compiled, corridor, every_step, table

TRAINING = OffPolicy(learning_rate=0.02, batch=64, updates=1500, target_rate=0.1, capacity=6)


def forwards():
    """An expert who always takes action 1."""
    states = jnp.arange(3, dtype=jnp.int32)
    ends = jnp.asarray(END[:, 1])
    return Transitions(states, jnp.ones(3, jnp.int32), jnp.asarray(NEXT[:, 1], jnp.int32), ends)


def fixed_point(backup):
    """Values where a demonstrated step is paid 2/3 and any other 0."""
    q, paid = np.zeros((3, 2)), np.array([0.0, 2 / 3])
    for _ in range(300):
        q = paid + DISCOUNT * np.where(END, 0.0, backup(q)[NEXT])
    return q


def test_fixed_point_on_a_table():
    """A demonstrated step is 1 of 3 at reward 1 and 1 of 6 at 0, and so paid (1 / 3) / (1 / 3 + 1 / 6) = 2 / 3.

    The rewards of the rollout do not enter.
    """
    config = Sqil(learner=SoftQ(discount=DISCOUNT, temperature=0.2, hidden=(), training=TRAINING))
    agent = config.make(Discrete(3), Discrete(2))
    batch = ImitationBatch(every_step(), forwards())
    state, _ = jax.jit(agent.step)(compiled(agent.init)(jax.random.key(0)), batch, jax.random.key(1))
    q = fixed_point(lambda q: 0.2 * logsumexp(q / 0.2, axis=1))
    np.testing.assert_allclose(table(state.params["critic"]), q, atol=0.12)  # minibatches are noisy
    np.testing.assert_array_equal(agent.greedy(state, jnp.arange(3)), [1, 1, 0])  # the expert's own end does not pay


def expert_steps(world, act, key, envs=20):
    """Transitions of a policy that is a function of observations."""

    def step(carry, key):
        state, seen = carry
        done = act(seen)
        state, outcome = jax.vmap(world.step)(state, done, jax.random.split(key, envs))
        return (state, outcome.observation), Transitions(seen, done, outcome.observation, outcome.terminated)

    begin = jax.vmap(world.reset)(jax.random.split(key, envs))
    made = jax.lax.scan(step, begin, jax.random.split(key, world.horizon))[1]
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), made)


def test_imitates_in_a_corridor_without_reward():
    world = corridor()
    learner = SoftQ(temperature=0.05, training=OffPolicy(learning_rate=3e-3, updates=8))
    agent = Sqil(learner=learner).make(world.observation, world.action)
    demonstrations = expert_steps(world, lambda seen: jnp.ones(len(seen), jnp.int32), jax.random.key(5))
    blind = world._replace(step=lambda *of: (lambda state, out: (state, out._replace(reward=0.0)))(*world.step(*of)))
    algorithm = in_graph(blind, agent, envs=4, time=10)
    step, state = compiled(algorithm.step), compiled(algorithm.init)(jax.random.key(0))
    for number in range(30):
        state, info = step(state, demonstrations, jax.random.key(number))
    assert step._cache_size() == 1
    assert np.isfinite(info["loss"])
    returned = compiled(lambda state: returns(world, agent, state, jax.random.key(1), 2))
    np.testing.assert_array_equal(returned(state.agent), 7.0)


def test_on_dqn_the_fixed_point_has_the_maximum_in_place_of_the_soft_value():
    config = Sqil(learner=Dqn(discount=DISCOUNT, hidden=(), training=TRAINING))
    agent = config.make(Discrete(3), Discrete(2))
    batch = ImitationBatch(every_step(), forwards())
    state, _ = jax.jit(agent.step)(compiled(agent.init)(jax.random.key(0)), batch, jax.random.key(1))
    np.testing.assert_allclose(table(state.params), fixed_point(lambda q: q.max(axis=1)), atol=0.12)


def test_imitates_with_boxes():
    """By chance a step costs 1.7, by staying in the middle 0.33."""
    world = aim()
    training = OffPolicy(learning_rate=1e-2, updates=16, batch=64)
    config = Sqil(learner=Sac(discount=0.5, temperature=0.02, learn_temperature=False, hidden=(32,), training=training))
    agent = config.make(world.observation, world.action)
    demonstrations = expert_steps(world, lambda seen: seen, jax.random.key(5), envs=100)
    algorithm = in_graph(world, agent, envs=8, time=4)

    def train(key):
        steps = jax.random.split(key, 60)
        state, _ = jax.lax.scan(lambda s, k: algorithm.step(s, demonstrations, k), algorithm.init(key), steps)
        return returns(world, agent, state.agent, key, 20).mean(), state.params["log_temperature"]

    earned, log_temperature = compiled(jax.vmap(train))(jax.random.split(jax.random.key(0), 2))
    assert (earned / world.horizon > -0.1).all()
    np.testing.assert_array_equal(log_temperature, np.log(np.float32(0.02)))  # not learned
