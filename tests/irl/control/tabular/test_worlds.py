"""The exact worlds cell by cell, and acting in them against their tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.tabular.cliff_world import CliffWorld
from irl.control.tabular.environment import tabular_environment
from irl.control.tabular.mdp import check, check_reward, value_iteration
from irl.control.tabular.random_mdp import RandomMdp
from irl.types import InputError

RIGHT, LEFT, DOWN, UP = range(4)


def after(world, state, action):
    """{state: probability}"""
    row = np.asarray(world.mdp.transition[state, action])
    return {int(s): round(float(row[s]), 6) for s in np.flatnonzero(row)}


def test_wind_blows_towards_the_cliff_and_walls_hold():
    world = CliffWorld(width=5, height=3, wind=0.3).make()
    check(world.mdp)
    # 10 11 12 13 14
    #  5  6  7  8  9
    #  0  1  2  3  4      start, three squares of cliff, goal
    assert after(world, 6, RIGHT) == {7: 0.7, 2: 0.3}
    assert after(world, 6, LEFT) == {5: 0.7, 0: 0.3}
    assert after(world, 6, UP) == {11: 0.7, 6: 0.3}
    assert after(world, 6, DOWN) == {1: 1.0}
    assert after(world, 0, LEFT) == {0: 1.0}
    assert after(world, 14, RIGHT) == {14: 0.7, 9: 0.3}
    assert after(world, 14, UP) == {14: 0.7, 9: 0.3}
    assert after(CliffWorld(width=5, height=3, wind=0.0).make(), 6, UP) == {11: 1.0}
    np.testing.assert_array_equal(world.reward, [-1, -10, -10, -10, 10] + [-1] * 10)
    np.testing.assert_array_equal(world.mdp.initial, np.eye(15)[0])
    np.testing.assert_allclose(world.features[13], [1.0, 0.75])


def test_only_in_calm_air_the_best_way_follows_the_edge():
    def best_move(wind, state):
        world = CliffWorld(width=7, height=4, horizon=30, wind=wind, cliff_reward=-100.0).make()
        return int(value_iteration(world.mdp, world.reward).policy[0, state].argmax())

    beside_the_cliff = 7 + 1
    assert best_move(0.0, 0) == UP and best_move(0.0, beside_the_cliff) == RIGHT
    assert best_move(0.3, 0) == UP and best_move(0.3, beside_the_cliff) == UP


def test_bad_cliff_worlds_are_named():
    with pytest.raises(InputError, match="width: expected at least 3, got 2"):
        CliffWorld(width=2)
    with pytest.raises(InputError, match=r"wind: expected at most 1.0, got 1\.5"):
        CliffWorld(wind=1.5)


def test_random_worlds_are_what_they_say():
    config = RandomMdp(states=10, actions=3, branching=4, features=2, seed=3)
    world = config.make()
    check(world.mdp)
    check_reward(world.mdp, world.reward)
    assert set((np.asarray(world.mdp.transition) > 0).sum(axis=-1).ravel()) == {4}
    residual = np.linalg.lstsq(np.asarray(world.features), np.asarray(world.reward), rcond=None)[1]
    assert world.features.shape == (10, 2) and float(residual[0]) < 1e-9
    np.testing.assert_array_equal(world.mdp.transition, config.make().mdp.transition)
    other = RandomMdp(states=10, actions=3, branching=4, features=2, seed=4).make()
    assert not np.array_equal(world.mdp.transition, other.mdp.transition)
    sure = RandomMdp(branching=1).make().mdp.transition
    assert set(np.unique(sure)) == {0.0, 1.0}


def test_bad_random_worlds_are_named():
    with pytest.raises(InputError, match="branching: expected at most 4 states, got 5"):
        RandomMdp(states=4, branching=5)
    with pytest.raises(InputError, match="actions: expected at least 1, got 0"):
        RandomMdp(actions=0)


def test_acting_follows_the_tables():
    world = CliffWorld(width=4, height=3, horizon=5).make()
    env = tabular_environment(world)
    assert (env.name, env.horizon, env.observation.shape, env.action.n) == ("CliffWorld", 5, (2,), 4)
    state, observation = env.reset(jax.random.key(0))
    np.testing.assert_array_equal(observation, world.features[0])
    over = []
    for t in range(5):
        here = int(state[0])
        state, outcome = env.step(state, jnp.int32(UP if t < 2 else RIGHT), jax.random.key(t))
        assert float(outcome.reward) == float(world.reward[here])
        np.testing.assert_array_equal(outcome.observation, world.features[state[0]])
        over.append((bool(outcome.terminated), bool(outcome.truncated)))
    assert over == [(False, False)] * 4 + [(False, True)]


def test_moves_and_starts_have_the_frequencies_of_the_tables():
    world = RandomMdp(states=5, actions=2, branching=3).make()
    env = tabular_environment(world._replace(features=jnp.eye(5)))
    keys = jax.random.split(jax.random.key(0), 20_000)
    step = jax.vmap(env.step, in_axes=(None, None, 0))
    _, outcome = step((jnp.int32(2), jnp.int32(0)), jnp.int32(1), keys)
    np.testing.assert_allclose(outcome.observation.mean(axis=0), world.mdp.transition[2, 1], atol=0.015)
    _, first = jax.vmap(env.reset)(keys)
    np.testing.assert_allclose(first.mean(axis=0), world.mdp.initial, atol=0.015)


def test_rewards_of_transitions_are_paid_for_where_a_step_led():
    world = RandomMdp(states=5, actions=2).make()
    paid = jnp.arange(50.0).reshape(5, 2, 5)
    env = tabular_environment(world._replace(reward=paid))
    (there, _), outcome = env.step((jnp.int32(3), jnp.int32(0)), jnp.int32(1), jax.random.key(1))
    assert float(outcome.reward) == float(paid[3, 1, there])


def test_environments_of_bad_worlds_are_refused():
    world, endless = RandomMdp().make(), RandomMdp(horizon=None, discount=0.9).make()
    assert tabular_environment(endless, horizon=7).horizon == 7
    for bad, horizon in ((world, 7), (endless, None)):
        with pytest.raises(
            InputError, match="RandomMdp: horizon: needed where the world has no horizon, and only there"
        ):
            tabular_environment(bad, horizon=horizon)
    with pytest.raises(InputError, match=r"features: expected shape \(16, features\), got \(3, 4\)"):
        tabular_environment(world._replace(features=world.features[:3]))
    with pytest.raises(InputError, match="reward: expected floats, got dtype int32"):
        tabular_environment(world._replace(reward=jnp.zeros(16, jnp.int32)))
