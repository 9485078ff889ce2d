"""Advantages by hand, the clipped objective's limits, and a world that is learned."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.learners.ppo import Ppo, advantages, orders
from irl.control.rollout.in_graph import collect, in_graph, returns
from irl.control.types import Rollout
from irl.types import InputError
from tests.irl.control.tiny_environments import target


def rollout(reward, terminated, truncated):
    time = len(reward)
    column = lambda values, kind: np.asarray(values, kind).reshape(time, 1)  # noqa: E731
    return Rollout(
        observation=np.zeros((time, 1, 1), np.float32),
        action=np.zeros((time, 1), np.int32),
        next_observation=np.zeros((time, 1, 1), np.float32),
        terminated=column(terminated, bool),
        truncated=column(truncated, bool),
        reward=column(reward, np.float32),
        log_prob=np.zeros((time, 1), np.float32),
    )


def test_advantages_by_hand():
    """Step 0 goes on, 1 is cut off by time, 2 terminates, 3 is the last of the rollout."""
    made = rollout([1.0, 2, 3, 4], [False, False, True, False], [False, True, False, False])
    value, after = np.array([[0.5], [1.5], [2.5], [3.5]]), np.array([[10.0], [20], [30], [40]])
    found = advantages(made, value, after, discount=0.9, trace_decay=0.8)
    last = 4 + 0.9 * 40 - 3.5
    terminal = 3 - 2.5
    cut = 2 + 0.9 * 20 - 1.5
    first = (1 + 0.9 * 10 - 0.5) + 0.9 * 0.8 * cut
    np.testing.assert_allclose(found[:, 0], [first, cut, terminal, last], rtol=1e-5)


def test_advantages_are_sums_of_discounted_errors():
    """One episode that terminates with the rollout: Schulman et al. 2016, eq. 16."""
    reward, value = np.random.default_rng(0).normal(size=(2, 7)).astype(np.float32)
    made = rollout(reward, [False] * 6 + [True], [False] * 7)
    after = np.append(value[1:], 99.0)
    found = advantages(made, value[:, None], after[:, None], discount=0.9, trace_decay=0.7)
    errors = reward + 0.9 * np.append(value[1:], 0) - value
    wanted = [sum((0.9 * 0.7) ** k * error for k, error in enumerate(errors[t:])) for t in range(7)]
    np.testing.assert_allclose(found[:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_it_learns_and_compiles_once():
    world = target()
    agent = Ppo(learning_rate=3e-3, minibatch=64, epochs=4, discount=0.5, hidden=(16,)).make(
        world.observation, world.action
    )
    algorithm = in_graph(world, agent, envs=16, time=10)
    traced = []

    def counted(state, key):
        traced.append(1)
        return algorithm.step(state, None, key)

    step, state = jax.jit(counted), algorithm.init(jax.random.key(0))
    assert returns(world, agent, state.agent, jax.random.key(1), 64).mean() < 8
    for number in range(30):
        state, info = step(state, jax.random.key(number))
    assert len(traced) == 1
    assert returns(world, agent, state.agent, jax.random.key(1), 64).mean() > 9.9
    assert set(info) >= {"loss", "return", "episodes", "entropy"} and info["return"] > 8


def test_a_policy_on_its_own_rollout_has_ratio_one():
    """With one epoch of one minibatch and no advantage, nothing is clipped and the policy does not move."""
    world = target()
    agent = Ppo(epochs=1, minibatch=160, hidden=(8,)).make(world.observation, world.action)
    algorithm = in_graph(world, agent, envs=16, time=10)
    state = algorithm.init(jax.random.key(0))
    _, info = algorithm.step(state, None, jax.random.key(1))
    assert info["clipped"] == 0 and info["policy_loss"] == pytest.approx(0, abs=1e-5)


def test_normalised_observations_move_with_what_is_seen():
    world = target()
    agent = Ppo(normalise=True, epochs=1, hidden=(8,)).make(world.observation, world.action)
    algorithm = in_graph(world, agent, envs=4, time=10)
    state, _ = algorithm.step(algorithm.init(jax.random.key(0)), None, jax.random.key(1))
    assert state.agent.moments.count == 40 and 0 < state.agent.moments.variance[0] <= 1


def test_orders_are_permutations_all_of_them_as_likely():
    for count in (1, 2, 7, 64, 100):
        found = np.asarray(orders(jax.random.key(count), 3, count))
        np.testing.assert_array_equal(np.sort(found), np.tile(np.arange(count), (3, 1)))
    drawn = np.asarray(orders(jax.random.key(0), 6000, 3))
    _, times = np.unique(drawn, axis=0, return_counts=True)
    assert len(times) == 6 and abs(times - 1000).max() < 5 * 1000**0.5


def test_the_learning_rate_falls_in_a_line():
    """One update in each of three rollouts, over which it falls by a half each time: 1, 1/2, 0 of the steps of Adam."""
    world = target()

    def moved(decay):
        agent = Ppo(decay=decay, epochs=1, minibatch=160, hidden=(8,)).make(world.observation, world.action)
        algorithm = in_graph(world, agent, envs=16, time=10)
        state, params = algorithm.init(jax.random.key(0)), []
        _, rollout, _ = collect(world, agent, state.agent, state.environments, jax.random.key(1), 10)
        learner = state.agent
        for _ in range(3):
            params.append(jax.flatten_util.ravel_pytree(learner.params)[0])
            learner, _ = agent.step(learner, rollout, jax.random.key(2))
        params.append(jax.flatten_util.ravel_pytree(learner.params)[0])
        return np.diff(params, axis=0)

    falling, fixed = moved(2), moved(0)
    np.testing.assert_allclose(falling[0], fixed[0], rtol=1e-5)
    np.testing.assert_allclose(falling[1], fixed[1] / 2, rtol=1e-2, atol=1e-6)
    np.testing.assert_allclose(falling[2], 0, atol=1e-7)
    assert np.abs(fixed[1]).max() > 1e-5


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"epochs": 0}, "Ppo.epochs: expected at least 1, got 0"),
        ({"decay": -1}, "Ppo.decay: expected at least 0, got -1"),
    ],
)
def test_bad_settings(settings, told):
    with pytest.raises(InputError, match=told):
        Ppo(**settings)


def test_many_seeds_at_once_are_the_seeds_one_by_one():
    world = target()
    agent = Ppo(epochs=2, minibatch=32, hidden=(8,)).make(world.observation, world.action)
    algorithm = in_graph(world, agent, envs=4, time=10)
    keys = jax.random.split(jax.random.key(0), 3)
    many, _ = jax.vmap(algorithm.step, in_axes=(0, None, 0))(jax.vmap(algorithm.init)(keys), None, keys)
    one, _ = algorithm.step(algorithm.init(keys[1]), None, keys[1])
    for a, b in zip(jax.tree.leaves(many.agent.params), jax.tree.leaves(one.agent.params), strict=True):
        np.testing.assert_allclose(a[1], b, rtol=1e-3, atol=1e-5)
    assert jnp.isfinite(many.agent.params["critic"][0]["w"]).all()
