"""What all losses promise; the mean and the discriminator against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models import losses
from reward_models.losses import discriminator_loss, weighted_mean

LOG2, LOG3 = np.log(2), np.log(3)


def test_weighted_mean():
    values = jnp.array([1.0, 2.0, 6.0])
    assert np.isclose(weighted_mean(values), 3.0)
    assert np.isclose(weighted_mean(values, jnp.array([1.0, 3.0, 0.0])), 1.75)
    assert np.isclose(weighted_mean(values, jnp.array([True, False, True])), 3.5)
    assert weighted_mean(values, jnp.zeros(3)) == 0


def test_weights_per_trace():
    weights = losses.per_trace(jnp.array([[True, True, False], [False] * 3, [True] * 3]))
    np.testing.assert_allclose(weights, [[0.5, 0.5, 0], [0, 0, 0], [1 / 3] * 3], rtol=1e-6)


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


TARGETS = jnp.array([1.0, 0.0])
OUTCOMES = jnp.array([losses.FIRST, losses.TIE])


def vectors(s):
    """Two rows of two-dimensional vectors that hold s."""
    return jnp.stack([s, jnp.ones(2)], axis=-1)


CONTRACT = {
    "discriminator": lambda s, w: losses.discriminator_loss(s, s, expert_weights=w, policy_weights=w),
    "bradley_terry": lambda s, w: losses.bradley_terry_loss(
        s, jnp.zeros(2), margin=s, soft_labels=jnp.clip(s, 0, 1), centering=0.1, weights=w
    ),
    "bradley_terry_rejected": lambda s, w: losses.bradley_terry_loss(jnp.zeros(2), s, label_smoothing=0.1, weights=w),
    "davidson": lambda s, w: losses.davidson_loss(s, -s, OUTCOMES, weights=w),
    "plackett_luce": lambda s, w: losses.plackett_luce_loss(vectors(s), weights=w),
    "outcome": lambda s, w: losses.outcome_loss(s, jnp.clip(s, 0, 1), positive_weight=2.0, weights=w),
    "dpo": lambda s, w: losses.dpo_loss(s, -s, margin=0.1, weights=w),
    "kto": lambda s, w: losses.kto_loss(s, TARGETS > 0, weights=w),
    "nca": lambda s, w: losses.nca_loss(vectors(s), vectors(s), weights=w),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_contract_of_every_loss(name):
    """Finite at scores out of all reason; no trace of what has no weight; a mean over nothing is 0."""
    loss = jax.jit(jax.value_and_grad(CONTRACT[name]))
    ones, mask = jnp.ones(2), jnp.array([1.0, 0.0])
    for extreme in (1e4, -1e4, 1e15):
        value, gradient = loss(jnp.array([0.5, extreme]), ones)
        assert np.isfinite(value) and np.isfinite(gradient).all(), f"at {extreme}"
    value, gradient = loss(jnp.array([0.7, 7.0]), mask)
    assert value != 0 and gradient[1] == 0
    for hidden in (np.nan, np.inf, -np.inf):
        hidden_value, hidden_gradient = loss(jnp.array([0.7, hidden]), mask)
        assert value == hidden_value
        np.testing.assert_array_equal(gradient, hidden_gradient)
    nothing, gradient = loss(jnp.array([np.nan, np.inf]), jnp.zeros(2))
    assert nothing == 0 and not gradient.any()


def test_nothing_costs_nothing():
    empty = jnp.zeros(0)
    assert losses.discriminator_loss(empty, empty) == 0
    assert losses.bradley_terry_loss(empty, empty) == 0
    assert losses.plackett_luce_loss(jnp.zeros((0, 3))) == 0
