"""The memory of past steps: what it keeps, what it draws, what it is given."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.learners.replay import Experience, balanced, empty, experience, insert, sample
from irl.control.spaces import Box, Discrete
from irl.control.types import Rollout, Transitions


def steps(numbers):
    """Steps that carry their number everywhere."""
    numbers = jnp.asarray(numbers)
    seen = jnp.stack([numbers, -numbers], axis=-1).astype(jnp.float32)
    return Experience(seen, numbers.astype(jnp.int32), seen + 0.5, numbers % 2 == 0, numbers.astype(jnp.float32))


def kept(replay):
    return sorted(replay.rows.action.tolist())


@pytest.mark.parametrize("sizes", [[3], [3, 3], [5], [2, 2, 2, 2, 2], [4, 7], [12], [1] * 7])
def test_keeps_the_newest(sizes):
    capacity, done = 5, 0
    replay = empty(Box((2,)), Discrete(100), capacity)
    for size in sizes:
        replay, done = insert(replay, steps(range(done + 1, done + size + 1))), done + size
    there = list(range(max(1, done - capacity + 1), done + 1))
    assert kept(replay) == [0] * (capacity - len(there)) + there
    assert int(replay.inserted) == done


def test_a_row_is_one_step():
    replay = insert(insert(empty(Box((2,)), Discrete(100), 4), steps([1, 2, 3])), steps([4, 5]))
    for row in range(4):
        number = replay.rows.action[row]
        expected = jax.tree.map(lambda leaf: leaf[0], steps([number]))
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[row], b), replay.rows, expected)  # noqa: B023


def test_draws_uniformly_from_what_is_there():
    replay = insert(empty(Box((2,)), Discrete(100), 50), steps([1, 2, 3, 4]))
    drawn = sample(replay, jax.random.key(0), (40, 100))
    assert drawn.observation.shape == (40, 100, 2)
    share = np.bincount(np.asarray(drawn.action).ravel(), minlength=5) / 4000
    np.testing.assert_allclose(share, [0, 0.25, 0.25, 0.25, 0.25], atol=0.03)
    np.testing.assert_array_equal(drawn.observation[..., 0], drawn.action)


def test_rollout_keeps_truncated_steps_apart_from_terminated():
    grid = jnp.arange(6.0).reshape(3, 2)
    ends = jnp.array([[False, True], [False, False], [True, False]])
    cut = jnp.array([[True, False], [False, False], [False, True]])
    rollout = Rollout(grid[..., None], grid.astype(jnp.int32), grid[..., None] + 1, ends, cut, 10 * grid, grid)
    made = experience(rollout)
    assert made.terminated.tolist() == [False, True, False, False, True, False]
    assert made.reward.tolist() == [0, 10, 20, 30, 40, 50]
    assert made.next_observation[:, 0].tolist() == [1, 2, 3, 4, 5, 6]


def test_balanced_halves_and_their_rewards():
    replay = insert(empty(Box((2,)), Discrete(100), 8), steps([1, 2, 3]))
    demonstrations = Transitions(*steps([51, 52])[:4])
    drawn = balanced(replay, demonstrations, jax.random.key(0), (7, 4))
    assert drawn.observation.shape == (7, 8, 2)
    assert set(drawn.action[:, :4].ravel().tolist()) == {51, 52}
    assert set(drawn.action[:, 4:].ravel().tolist()) <= {1, 2, 3}
    np.testing.assert_array_equal(drawn.reward, np.repeat([[1.0, 0.0]], 7, 0).repeat(4, 1))
