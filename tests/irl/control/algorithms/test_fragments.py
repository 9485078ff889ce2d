"""Fragments against rollouts in which every step is numbered; what a query is worth against the joint distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.algorithms.fragments import (
    ACQUISITIONS,
    Fragments,
    best_queries,
    disagreement,
    discounted_sum,
    draw_fragments,
    draw_queries,
    fragment_returns,
    information_gain,
    preferences,
)
from irl.control.types import Rollout
from irl.types import InputError

KEY = jax.random.key(0)


def numbered(time, envs, *, terminated=(), truncated=()):
    """A rollout whose observation, action and reward at step t of environment e are 100 e + t."""
    number = jnp.arange(time)[:, None] + 100.0 * jnp.arange(envs)

    def at(places):
        return jnp.zeros((time, envs), bool).at[tuple(np.array(places, int).reshape(-1, 2).T)].set(True)

    seen = number[..., None]
    return Rollout(seen, seen, seen + 1, at(terminated), at(truncated), number, jnp.zeros((time, envs)))


def test_fragments_stay_within_an_episode():
    """Of seven steps the third ends an episode, by its end or a time limit: the end may only come last."""
    rollout = numbered(7, 2, terminated=[(2, 0)], truncated=[(4, 1)])
    fragments = draw_fragments(rollout, KEY, 400, 3)
    assert set(fragments.reward[:, 0].tolist()) == {0, 3, 4, 100, 101, 102}
    assert np.array_equal(fragments.reward - fragments.reward[:, :1], np.tile([0, 1, 2], (400, 1)))
    assert np.array_equal(fragments.transitions.observation[..., 0], fragments.reward)
    assert np.array_equal(fragments.transitions.next_observation[..., 0], fragments.reward + 1)
    assert np.array_equal(fragments.transitions.terminated, fragments.reward == 2)
    assert fragments.present.all()


def test_fragments_of_short_episodes_are_cut():
    rollout = numbered(6, 1, terminated=[(1, 0), (3, 0)])
    fragments = draw_fragments(rollout, KEY, 100, 4)
    lengths = {0: 2, 1: 1, 2: 2}
    first = fragments.reward[:, 0].astype(int).tolist()
    assert set(first) == set(lengths)
    assert fragments.present.sum(axis=1).tolist() == [lengths[start] for start in first]
    assert np.array_equal(np.sort(fragments.present, axis=1)[:, ::-1], fragments.present)


def test_queries_are_drawn_alike():
    queries = draw_queries(numbered(5, 3), KEY, 600, 2, 3)
    assert queries.present.shape == (600, 2, 3) and queries.transitions.action.shape == (600, 2, 3, 1)
    starts = queries.reward[..., 0].reshape(-1)
    counts = np.array([(starts == 100 * env + start).sum() for env in range(3) for start in range(3)])
    assert counts.sum() == 1200 and np.abs(counts - 1200 / 9).max() < 5 * np.sqrt(1200 / 9)


def test_fragments_longer_than_the_rollout():
    with pytest.raises(InputError, match="fragments of 6 steps from a rollout of 5: lower the length or collect more"):
        draw_fragments(numbered(5, 1), KEY, 1, 6)


def test_sums_by_hand():
    values, present = jnp.array([[1.0, 2.0, 4.0], [1.0, 2.0, jnp.nan]]), jnp.array([[True] * 3, [True, True, False]])
    assert discounted_sum(values, present).tolist() == [7.0, 3.0]
    assert discounted_sum(values, present, 0.5).tolist() == [3.0, 2.0]


def test_returns_of_a_reward():
    """r = 2 s, fragments in queries: twice the sum of the numbers."""
    queries = draw_queries(numbered(5, 2), KEY, 4, 3, 2)
    returns = fragment_returns(lambda params, steps: params * steps.observation[:, 0], 2.0, queries)
    np.testing.assert_allclose(returns, 2 * queries.reward.sum(axis=-1))


def test_preferences_by_hand():
    np.testing.assert_allclose(preferences(jnp.log(jnp.array([[3.0, 1.0]]))), [[0.75, 0.25]], rtol=1e-6)
    np.testing.assert_allclose(preferences(jnp.log(jnp.array([[5.0, 2.0, 1.0]]))), [[5 / 8, 2 / 8, 1 / 8]], rtol=1e-6)


@pytest.mark.parametrize("items", [2, 4])
def test_information_gain_is_mutual_information(items):
    """sum over members m and answers y of p(m, y) log p(m, y) / (p(m) p(y)), term by term."""
    p = np.random.default_rng(0).dirichlet(np.ones(items), (3, 5))
    expected = np.zeros(5)
    for query in range(5):
        marginal = p[:, query].mean(axis=0)
        for member in range(3):
            for answer in range(items):
                joint = p[member, query, answer] / 3
                expected[query] += joint * np.log(joint / (marginal[answer] / 3))
    np.testing.assert_allclose(information_gain(jnp.asarray(p, jnp.float32)), expected, atol=1e-6)


def test_worth_of_certain_and_disputed_queries():
    """Members at odds: 1 bit. Agreed, sure or not: nothing to learn. Half agree: by hand."""
    p = jnp.array([[[1.0, 0.0], [1.0, 0.0], [0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]]])
    half = -(0.75 * np.log(0.75) + 0.25 * np.log(0.25)) - np.log(2) / 2
    np.testing.assert_allclose(information_gain(p), [np.log(2), 0, 0, half], atol=1e-6)
    np.testing.assert_allclose(disagreement(p), [0.25, 0, 0, 0.0625], atol=1e-6)


def test_best_queries():
    queries = draw_queries(numbered(5, 3), KEY, 4, 2, 3)
    chosen = best_queries(queries, jnp.array([0.1, 0.4, 0.1, 0.3]), 3)
    assert isinstance(chosen, Fragments)
    np.testing.assert_array_equal(chosen.reward, queries.reward[np.array([1, 3, 0])])
    at_random = best_queries(queries, ACQUISITIONS["random"](jnp.full((2, 4, 2), 0.5)), 2)
    np.testing.assert_array_equal(at_random.reward, queries.reward[:2])
