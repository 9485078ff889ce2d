"""Davidson's model of ties: by hand, summing to 1, symmetric, and finite at the ends."""

import jax
import jax.numpy as jnp
import numpy as np

from reward_models.losses import FIRST, SECOND, TIE, davidson_log_probabilities, davidson_loss

LOG2, LOG4 = np.log(2), np.log(4)
OUTCOMES = jnp.array([FIRST, SECOND, TIE])
LEADING, TRAILING = jnp.full(3, LOG4), jnp.zeros(3)


def test_davidson_by_hand():
    """exp(log 4 / 2) = 2 against 1/2 against nu = 1."""
    p = np.exp(davidson_log_probabilities(LEADING, TRAILING)[0])
    np.testing.assert_allclose(p, [4 / 7, 1 / 7, 2 / 7], rtol=1e-6)
    loss = davidson_loss(LEADING, TRAILING, OUTCOMES, weights=jnp.array([1.0, 1.0, 2.0]))
    assert np.isclose(loss, -(np.log(4 / 7) + np.log(1 / 7) + 2 * np.log(2 / 7)) / 4, atol=1e-6)


def test_outcomes_are_a_distribution_that_knows_no_sides():
    gap = jnp.linspace(-12, 12, 25)
    p = np.exp(np.asarray(davidson_log_probabilities(gap, jnp.zeros(25), log_tie=0.3), np.float64))
    np.testing.assert_allclose(p.sum(-1), 1, atol=2e-6)
    np.testing.assert_allclose(p[:, [SECOND, FIRST, TIE]], p[::-1], rtol=1e-5)
    assert p[:, TIE].argmax() == 12
    np.testing.assert_allclose(
        davidson_log_probabilities(gap + 3.0, jnp.full(25, 3.0), log_tie=0.3), np.log(p), atol=1e-5
    )


def test_parameter_of_ties_is_found():
    """Equal scores that tie half of the time: nu = 2 is the best, so the slope there is 0."""
    equal, outcome = jnp.zeros(4), jnp.array([FIRST, SECOND, TIE, TIE])
    slope = jax.jit(jax.grad(lambda nu: davidson_loss(equal, equal, outcome, log_tie=nu)))(jnp.asarray(LOG2))
    np.testing.assert_allclose(slope, 0, atol=1e-6)
