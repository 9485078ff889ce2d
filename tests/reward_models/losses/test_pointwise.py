"""Classification against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from reward_models.losses import outcome_loss

LOG3 = np.log(3)


def test_outcome_by_hand():
    logits, labels = jnp.array([LOG3, LOG3]), jnp.array([1.0, 0.0])
    right, wrong = -np.log(0.75), -np.log(0.25)
    assert np.isclose(outcome_loss(logits, labels), (right + wrong) / 2, atol=1e-6)
    assert np.isclose(outcome_loss(logits, labels, positive_weight=3.0), (3 * right + wrong) / 2, atol=1e-6)
    soft = outcome_loss(logits, jnp.array([0.5, 0.5]), label_smoothing=0.1)
    assert np.isclose(soft, (right + wrong) / 2, atol=1e-6)
    smooth = outcome_loss(logits[:1], labels[:1], label_smoothing=0.1)
    assert np.isclose(smooth, 0.9 * right + 0.1 * wrong, atol=1e-6)


def test_outcome_of_two_logits_is_their_softmax():
    logits = jnp.array([[0.3, -1.2], [2.0, 0.5]])
    loss = outcome_loss(logits[:, 1] - logits[:, 0], jnp.array([1.0, 0.0]))
    log_p = jax.nn.log_softmax(logits)
    assert np.isclose(loss, -(log_p[0, 1] + log_p[1, 0]) / 2, atol=1e-6)
