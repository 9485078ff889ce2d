"""Running moments against those of all values together."""

import jax
import numpy as np

from irl.control.moments import empty_moments, normalised, update_moments


def test_batches_add_up():
    values = np.random.default_rng(0).normal(3, [1, 5], size=(100, 2)).astype(np.float32)
    moments = empty_moments((2,))
    for part in np.split(values, [1, 30, 31, 90]):
        moments = update_moments(moments, part)
    assert moments.count == 100
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-5)
    np.testing.assert_allclose(moments.variance, values.var(0), rtol=1e-4)
    scaled = normalised(moments, values)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(0), 1, rtol=1e-4)


def test_nothing_seen_changes_nothing_and_far_values_are_cut():
    np.testing.assert_allclose(normalised(empty_moments((1,)), np.array([[2.0], [99.0]])), [[2.0], [10.0]])
    assert np.isfinite(normalised(update_moments(empty_moments((1,)), np.ones((4, 1))), np.ones((2, 1)))).all()


def test_under_vmap():
    many = jax.vmap(lambda v: update_moments(empty_moments((1,)), v))(np.arange(6.0).reshape(2, 3, 1))
    np.testing.assert_allclose(many.mean[:, 0], [1, 4])
