"""Losses against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.losses import bradley_terry_loss, discriminator_loss, weighted_mean

LOG2, LOG3 = np.log(2), np.log(3)


def test_weighted_mean():
    values = jnp.array([1.0, 2.0, 6.0])
    assert np.isclose(weighted_mean(values), 3.0)
    assert np.isclose(weighted_mean(values, jnp.array([1.0, 3.0, 0.0])), 1.75)
    assert np.isclose(weighted_mean(values, jnp.array([True, False, True])), 3.5)
    assert weighted_mean(values, jnp.zeros(3)) == 0


def test_discriminator_by_hand():
    # sigmoid(log 3) = 3/4: the expert costs -log 3/4, the policy, taken for an expert, -log 1/4.
    loss = discriminator_loss(jnp.array([LOG3]), jnp.array([LOG3]))
    assert np.isclose(loss, -np.log(0.75) - np.log(0.25), atol=1e-6)
    smooth = discriminator_loss(jnp.array([LOG3]), jnp.array([0.0]), label_smoothing=0.1)
    assert np.isclose(smooth, -0.9 * np.log(0.75) - 0.1 * np.log(0.25) + LOG2, atol=1e-6)


def test_discriminator_weighs_its_sides_apart():
    logits = jnp.array([LOG3, 100.0])
    loss = discriminator_loss(
        logits, logits, expert_weights=jnp.array([True, False]), policy_weights=jnp.array([2.0, 0.0])
    )
    assert np.isclose(loss, -np.log(0.75) - np.log(0.25), atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_optimal_discriminator_logit(smoothing):
    expert, policy = np.array([0.7, 0.2, 0.1]), np.array([0.2, 0.3, 0.5])
    mixed = ((1 - smoothing) * expert + smoothing * policy) / ((1 - smoothing) * policy + smoothing * expert)

    def loss(logits):
        weights = {"expert_weights": jnp.asarray(expert), "policy_weights": jnp.asarray(policy)}
        return discriminator_loss(logits, logits, label_smoothing=smoothing, **weights)

    np.testing.assert_allclose(jax.grad(loss)(jnp.asarray(np.log(mixed), jnp.float32)), 0, atol=1e-6)
    if smoothing:
        assert np.abs(np.log(mixed)).max() < np.log((1 - smoothing) / smoothing)


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


@pytest.mark.parametrize("extreme", [1e4, -1e4, 1e15])
def test_extreme_scores_have_finite_losses_and_gradients(extreme):
    score = jnp.array([extreme])
    for loss in (
        lambda s: discriminator_loss(s, s, label_smoothing=0.1),
        lambda s: bradley_terry_loss(s, jnp.zeros(1), label_smoothing=0.1),
    ):
        value, gradient = jax.value_and_grad(loss)(score)
        assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("hidden", [np.nan, np.inf, -np.inf])
def test_what_has_no_weight_leaves_no_trace(hidden):
    mask = jnp.array([1.0, 0.0])
    for loss in (
        lambda s: discriminator_loss(s, s, expert_weights=mask, policy_weights=mask),
        lambda s: bradley_terry_loss(s, jnp.zeros(2), margin=s, centering=0.1, weights=mask),
        lambda s: bradley_terry_loss(s, s, weights=jnp.zeros(2)),
    ):
        value, gradient = jax.value_and_grad(loss)(jnp.array([0.5, 7.0]))
        hidden_value, hidden_gradient = jax.value_and_grad(loss)(jnp.array([0.5, hidden]))
        assert value == hidden_value and np.isfinite(value)
        np.testing.assert_array_equal(gradient, hidden_gradient)
        assert gradient[1] == 0


def test_nothing_costs_nothing():
    empty = jnp.zeros(0)
    assert discriminator_loss(empty, empty) == 0
    assert bradley_terry_loss(empty, empty) == 0
