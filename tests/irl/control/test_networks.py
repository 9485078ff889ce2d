"""Perceptrons and action distributions against numbers worked out otherwise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from irl.control.networks import distribution, perceptron, spectral_norm_of
from irl.control.spaces import Box, Discrete


def test_perceptron():
    network = perceptron((2, 3, 1))
    params = network.init(jax.random.key(0))
    x = np.array([[0.5, -1.0]])
    w, v = np.asarray(params[0]["w"]), np.asarray(params[1]["w"])
    np.testing.assert_allclose(network.apply(params, x), np.tanh(x @ w) @ v, rtol=1e-5)


def test_first_weights():
    body, head = perceptron((100, 80, 300), head_scale=0.1).init(jax.random.key(0))
    assert [w["w"].shape for w in (body, head)] == [(100, 80), (80, 300)]
    assert body["w"].std() == pytest.approx((2 / 100) ** 0.5, rel=0.03)
    assert head["w"].std() == pytest.approx(0.1 / 80**0.5, rel=0.03)
    assert abs(np.corrcoef(body["w"].ravel(), head["w"].ravel()[:8000])[0, 1]) < 0.05


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 1), (6, 6)])
def test_spectral_norm(shape):
    w = np.random.default_rng(1).normal(size=shape)
    found, exact = spectral_norm_of(jnp.asarray(w), 200), np.linalg.svd(w, compute_uv=False)[0]
    assert found == pytest.approx(exact, rel=1e-4)
    assert spectral_norm_of(jnp.asarray(w)) == pytest.approx(exact, rel=0.05)
    assert spectral_norm_of(jnp.zeros(shape)) > 0


def test_a_spectrally_normalised_perceptron_hardly_stretches():
    network = perceptron((4, 16, 16, 1), jax.nn.relu, spectral_norm=True)
    params = jax.tree.map(lambda leaf: 7 * leaf, network.init(jax.random.key(3)))
    a, b = np.random.default_rng(0).normal(size=(2, 200, 4)).astype(np.float32)
    slopes = np.abs(network.apply(params, a) - network.apply(params, b))[:, 0] / np.linalg.norm(a - b, axis=1)
    assert slopes.max() < 1.1


def test_categorical():
    d, logits, none = distribution(Discrete(3)), jnp.log(jnp.array([[0.5, 0.3, 0.2]])), jnp.zeros(0)
    np.testing.assert_allclose(d.log_prob(logits, none, np.array([1])), np.log(0.3), rtol=1e-5)
    np.testing.assert_allclose(d.entropy(logits, none), stats.entropy([0.5, 0.3, 0.2]), rtol=1e-5)
    assert d.mode(logits, none)[0] == 0
    drawn = d.sample(np.tile(logits, (20_000, 1)), none, jax.random.key(0))
    np.testing.assert_allclose(np.bincount(drawn) / 20_000, [0.5, 0.3, 0.2], atol=0.02)


def test_gaussian():
    d = distribution(Box((2, 1), -1.0, 1.0))
    mean, log_std = np.array([[0.5, -1.0]]), np.log([0.5, 2.0])
    exact = stats.norm([0.5, -1], [0.5, 2])
    action = np.array([[[0.7], [3.0]]])
    np.testing.assert_allclose(d.log_prob(mean, log_std, action), exact.logpdf(action[0, :, 0]).sum(), rtol=1e-5)
    np.testing.assert_allclose(d.entropy(mean, log_std), exact.entropy().sum(), rtol=1e-5)
    drawn = d.sample(np.tile(mean, (20_000, 1)), log_std, jax.random.key(0))
    assert drawn.shape == (20_000, 2, 1) and d.mode(mean, log_std).shape == (1, 2, 1)
    np.testing.assert_allclose(drawn[..., 0].mean(0), [0.5, -1], atol=0.05)
    np.testing.assert_allclose(drawn[..., 0].std(0), [0.5, 2], rtol=0.03)


def test_many_seeds_at_once():
    """Under vmap and jit together: an orthogonal start waits for ever there."""
    network = perceptron((4, 8, 1))
    params = jax.jit(jax.vmap(network.init))(jax.random.split(jax.random.key(0), 6))
    assert params[0]["w"].shape == (6, 4, 8) and len(np.unique(params[0]["w"])) == 6 * 32
