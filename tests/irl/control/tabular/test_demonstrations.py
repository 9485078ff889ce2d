"""Sampled demonstrations against exact occupancies, and counts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.tabular.demonstrations import (
    Trajectories,
    check_occupancy,
    empirical_transitions,
    sample,
)
from irl.control.tabular.mdp import occupancy_by_time, total_occupancy
from irl.types import InputError
from tests.irl.control.tabular.all_paths import HORIZON, STATES, random_policy, tiny_mdp

HAND = Trajectories(jnp.array([[0, 1, 1, 2], [0, 2, 1, 0]]), jnp.array([[1, 0, 0], [1, 0, 1]]))


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_counts_by_hand():
    half = np.zeros((3, 2))
    half[0, 1], half[1, 0], half[2, 0], half[1, 1] = 1, 0.5 * (0.5 + 0.25), 0.5 * 0.5, 0.5 * 0.25
    mdp = tiny_mdp(discount=0.5)
    np.testing.assert_allclose(empirical_transitions(mdp, HAND).sum(axis=-1), half, atol=1e-15)
    moves = empirical_transitions(mdp, HAND)
    assert float(moves[0, 1, 1]) == 0.5 and float(moves[0, 1, 2]) == 0.5 and float(moves[1, 0, 1]) == 0.25


def test_a_seen_beginning_is_scaled_to_an_infinite_horizon():
    endless, seen = tiny_mdp(discount=0.5, horizon=None), tiny_mdp(discount=0.5)
    assert float(total_occupancy(seen)) == 1.75 and float(total_occupancy(endless)) == 2
    scaled = empirical_transitions(seen, HAND) * (2 / 1.75)
    np.testing.assert_allclose(empirical_transitions(endless, HAND), scaled, atol=1e-15)


def test_samples_follow_policy_and_dynamics():
    mdp, policy, count = tiny_mdp(), random_policy(HORIZON, STATES), 20_000
    drawn = sample(mdp, policy, jax.random.key(0), count)
    exact = np.asarray(occupancy_by_time(mdp, policy)[..., None] * mdp.transition)
    found = np.zeros_like(exact)
    for t in range(HORIZON):
        np.add.at(found[t], (drawn.states[:, t], drawn.actions[:, t], drawn.states[:, t + 1]), 1)
        chi_square = ((found[t] - count * exact[t]) ** 2 / (count * exact[t])).sum()
        assert chi_square < 41  # 17 degrees of freedom: the 99.9% quantile


def test_samples_of_an_infinite_horizon_have_the_length_asked_for():
    mdp = tiny_mdp(horizon=None, discount=0.9)
    drawn = sample(mdp, random_policy(STATES), jax.random.key(0), 5, steps=7)
    assert drawn.states.shape == (5, 8) and drawn.actions.shape == (5, 7)
    for other, steps in ((mdp, None), (tiny_mdp(), 7)):
        with pytest.raises(InputError, match="sample: steps: expected only with an infinite horizon"):
            sample(other, random_policy(STATES), jax.random.key(0), 5, steps=steps)


@pytest.mark.parametrize(
    ("expert", "message"),
    [
        (lambda: jnp.ones((3, 3)), r"occupancy: expected shape \(3, 2\), got \(3, 3\)"),
        (lambda: jnp.ones((3, 2), int), "occupancy: expected floats, got dtype int64"),
        (lambda: jnp.full((3, 2), 0.5).at[2, 1].set(-1.0), r"occupancy\[2, 1\]: expected 0 or more, got -1.0"),
        (lambda: jnp.full((3, 2), 0.5).at[0, 1].set(jnp.nan), r"occupancy\[0, 1\]: expected 0 or more, got nan"),
        (lambda: jnp.full((3, 2), 1.0), "expected a sum of 3, .* got 6; were discount and horizon the same"),
    ],
)
def test_bad_occupancies_are_named(expert, message):
    with pytest.raises(InputError, match=message):
        check_occupancy(tiny_mdp(), expert(), (3, 2))
