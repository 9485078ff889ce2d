"""The exact worlds cell by cell."""

import numpy as np
import pytest

from irl.control.tabular.cliff_world import CliffWorld
from irl.control.tabular.mdp import check, check_reward
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
