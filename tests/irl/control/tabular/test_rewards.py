"""Reward tables from features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.tabular.rewards import LinearReward, MlpReward
from irl.types import InputError

FEATURES = jnp.array([[[1.0, 2.0], [0.0, 1.0]], [[3.0, 0.0], [1.0, 1.0]], [[0.0, 0.0], [2.0, -1.0]]])


def test_linear_rewards_are_dot_products():
    theta = jnp.array([2.0, -1.0])
    np.testing.assert_array_equal(LinearReward().make(FEATURES).apply(theta), [[0, -1], [6, 1], [0, 5]])
    np.testing.assert_array_equal(LinearReward().make(FEATURES[:, 0]).apply(theta), [0, 6, 0])
    np.testing.assert_array_equal(LinearReward().make(FEATURES).init(jax.random.key(0)), [0, 0])
    drawn = LinearReward(init_scale=3.0).make(jnp.ones((1, 5000))).init(jax.random.key(0))
    assert float(drawn.std()) == pytest.approx(3, rel=0.05)


def test_a_perceptron_reads_every_row_alone():
    reward = MlpReward(hidden=(8,)).make(FEATURES)
    params = reward.init(jax.random.key(0))
    table = reward.apply(params)
    assert table.shape == (3, 2)
    first, last = params
    by_hand = np.tanh(FEATURES[1, 0] @ first["w"] + first["b"]) @ last["w"] + last["b"]
    np.testing.assert_allclose(table[1, 0], by_hand[0], rtol=1e-5)


@pytest.mark.parametrize("config", [LinearReward(), MlpReward()])
def test_bad_features_are_named(config):
    with pytest.raises(InputError, match=r"features: expected \[states, features\] or .* got shape \(3,\)"):
        config.make(jnp.ones(3))
    with pytest.raises(InputError, match="features: expected floats, got dtype int32"):
        config.make(jnp.ones((3, 2), jnp.int32))
    with pytest.raises(InputError, match=r"features\[1, 0, 1\]: NaN or infinite, as 1 of 12 are"):
        config.make(FEATURES.at[1, 0, 1].set(jnp.nan))
