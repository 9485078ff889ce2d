"""Preferences against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from reward_models.losses import bradley_terry_loss

LOG2, LOG3 = np.log(2), np.log(3)


def test_bradley_terry_by_hand():
    chosen, rejected = jnp.array([1 + LOG3, 0.0]), jnp.array([1.0, 0.0])
    assert np.isclose(bradley_terry_loss(chosen, rejected), (-np.log(0.75) + LOG2) / 2, atol=1e-6)
    one = chosen[:1], rejected[:1]
    assert np.isclose(bradley_terry_loss(*one, margin=LOG3), LOG2, atol=1e-6)
    smooth = -0.8 * np.log(0.75) - 0.2 * np.log(0.25)
    assert np.isclose(bradley_terry_loss(*one, label_smoothing=0.2), smooth, atol=1e-6)
    centred = -np.log(0.75) + 0.01 * (2 + LOG3) ** 2
    assert np.isclose(bradley_terry_loss(*one, centering=0.01), centred, atol=1e-6)


def test_bradley_terry_weights_and_margins_per_pair():
    chosen, rejected = jnp.array([LOG3, 0.0]), jnp.array([0.0, 0.0])
    loss = bradley_terry_loss(chosen, rejected, margin=jnp.array([LOG3, 0.0]), weights=jnp.array([1.0, 3.0]))
    assert np.isclose(loss, LOG2, atol=1e-6)
    assert np.isclose(
        bradley_terry_loss(chosen, rejected, weights=jnp.array([3.0, 1.0])),
        (-3 * np.log(0.75) + LOG2) / 4,
        atol=1e-6,
    )


def test_bradley_terry_soft_labels():
    chosen, rejected = jnp.array([LOG3, LOG3]), jnp.zeros(2)
    loss = bradley_terry_loss(chosen, rejected, soft_labels=jnp.array([1.0, 0.25]))
    assert np.isclose(loss, (-np.log(0.75) - 0.25 * np.log(0.75) - 0.75 * np.log(0.25)) / 2, atol=1e-6)
    flipped = bradley_terry_loss(chosen, rejected, soft_labels=0.0, label_smoothing=0.2)
    assert np.isclose(flipped, -0.2 * np.log(0.75) - 0.8 * np.log(0.25), atol=1e-6)


def test_soft_labels_are_learned():
    """The best gap is the logit of the label."""
    gap = jnp.array([LOG3])
    slope = jax.grad(lambda c: bradley_terry_loss(c, jnp.zeros(1), soft_labels=0.75))(gap)
    np.testing.assert_allclose(slope, 0, atol=1e-6)
