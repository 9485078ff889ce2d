"""Rankings against enumeration of all of them."""

from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.losses import bradley_terry_loss, plackett_luce_loss

SCORES = np.array([0.4, -1.0, 2.0, 0.9])
ORDERS = np.array(list(permutations(range(4))))


def chance(order, stages):
    """Probability of drawing `order` without replacement from an urn with weights exp(score)."""
    weight = np.exp(SCORES)
    left, p = weight.sum(), 1.0
    for item in order[:stages]:
        p *= weight[item] / left
        left -= weight[item]
    return p


@pytest.mark.parametrize("top_k", [None, 1, 2, 4])
def test_plackett_luce_is_drawing_without_replacement(top_k):
    losses = jax.jit(jax.vmap(lambda ranked: plackett_luce_loss(ranked, top_k=top_k)))(
        jnp.asarray(SCORES[ORDERS], jnp.float32)
    )
    stages = top_k or 4
    np.testing.assert_allclose(np.exp(-losses), [chance(order, stages) for order in ORDERS], rtol=1e-5)
    orders, first = np.unique(ORDERS[:, :stages], axis=0, return_index=True)
    assert len(orders) == {1: 4, 2: 12, 4: 24}[stages]
    np.testing.assert_allclose(np.exp(-losses)[first].sum(), 1, atol=1e-5)


def test_two_items_are_bradley_terry():
    ranked = jnp.array([[0.3, 1.1], [2.0, -1.0]])
    assert np.isclose(jax.jit(plackett_luce_loss)(ranked), bradley_terry_loss(ranked[:, 0], ranked[:, 1]), atol=1e-6)


def test_plackett_luce_by_hand():
    """Scores log 3, log 2, log 1: 3/6 times 2/3."""
    ranked = jnp.log(jnp.array([[3.0, 2.0, 1.0], [1.0, 1.0, 1.0]]))
    loss = jax.jit(plackett_luce_loss)(ranked, weights=jnp.array([1.0, 3.0]))
    assert np.isclose(loss, (np.log(3) + 3 * np.log(6)) / 4, atol=1e-6)


@pytest.mark.parametrize("top_k", [None, 2])
def test_absent_items_are_not_there(top_k):
    """Wherever they stand and whatever they hold; lists of one item or none do not count."""
    nan = np.nan
    ranked = jnp.array([[nan, 1.0, nan, 0.5, 2.0], [1.0, nan, nan, nan, nan], [nan] * 5])

    def loss(ranked):
        return plackett_luce_loss(ranked, top_k=top_k, mask=~jnp.isnan(ranked))

    value, slope = jax.jit(jax.value_and_grad(loss))(ranked)
    short, short_slope = jax.jit(jax.value_and_grad(lambda r: plackett_luce_loss(r, top_k=top_k)))(
        ranked[:1, jnp.array([1, 3, 4])]
    )
    assert np.isclose(value, short, atol=1e-6)
    np.testing.assert_allclose(slope[0, jnp.array([1, 3, 4])], short_slope[0], atol=1e-6)
    assert not slope[0, jnp.array([0, 2])].any() and not slope[1:].any()


def test_top_k_below_one():
    with pytest.raises(ValueError, match="top_k: expected at least 1, got 0"):
        plackett_luce_loss(jnp.zeros((1, 2)), top_k=0)
