"""Step and trace scores against hand numbers, with missing steps anywhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.aggregation import AGGREGATES, aggregate_rows, aggregate_steps, sum_by_step

STEP = jnp.array([[0.5, -2.0, 3.0, 9.0], [9.0, 4.0, 9.0, 0.25], [9.0, 9.0, 9.0, 9.0]])
MASK = jnp.array([[True, True, True, False], [False, True, False, True], [False] * 4])
EXPECTED = {
    "sum": [1.5, 4.25, 0],
    "mean": [0.5, 2.125, 0],
    "min": [-2, 0.25, 0],
    "prod": [-3, 1, 1],
    "last": [3, 0.25, 0],
}


@pytest.mark.parametrize("how", AGGREGATES)
def test_aggregates_by_hand(how):
    np.testing.assert_allclose(aggregate_steps(STEP, MASK, how), EXPECTED[how], atol=1e-6)


@pytest.mark.parametrize("how", AGGREGATES)
def test_missing_steps_have_no_gradient(how):
    gradient = jax.grad(lambda step: aggregate_steps(step, MASK, how).sum())(STEP)
    assert np.isfinite(gradient).all() and (np.asarray(gradient)[~np.asarray(MASK)] == 0).all()


def test_unknown_aggregate_is_named():
    with pytest.raises(ValueError, match="'median'; expected one of last, min"):
        aggregate_steps(STEP, MASK, "median")


@pytest.mark.parametrize("entries", [1, 1 << 23])
def test_sum_by_step(monkeypatch, entries):
    monkeypatch.setattr("reward_models.aggregation.ONE_HOT", entries)
    token = jnp.array([[7.0, 1.0, 2.0, 4.0, 7.0]])
    step_id = jnp.array([[-1, 0, 0, 2, -1]])
    np.testing.assert_allclose(sum_by_step(token, step_id, 3), [[3, 0, 4]])


@pytest.mark.parametrize(("how", "wanted"), [("min", [1, -2]), ("sum", [6, -2]), ("mean", [2, -2]), ("last", [3, -2])])
def test_ragged_rows_by_hand(how, wanted):
    rows = [[2.0, 1.0, 3.0], [-2.0], []]
    np.testing.assert_array_equal(aggregate_rows(rows, how), [*wanted, -np.inf])
