"""A trunk that computes in bfloat16: its weights, head, scores, loss and gradients stay float32."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from reward_models.losses import bradley_terry_loss
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds
from reward_models.networks.products import matmul, matmul_transposed
from reward_models.types import TraceBatch

DECODER = DecoderConfig(
    vocab_size=32, num_layers=3, dim=32, num_heads=4, num_kv_heads=2, head_dim=8, hidden_dim=48, remat=True
)
HEADS = {
    "scalar": (LinearHead(), LastToken()),
    "steps": (MLPHead(labels=2), StepEnds()),
}
ROWS, TIME, STEPS = 6, 24, 4
# bfloat16 keeps 8 bits: each of some thirty roundings in three blocks moves a value by up to 2^-9 = 0.002 of its size.
# Step scores here are of size 1, and what is seen is 0.016.
TOLERANCE = 0.05


def network(name, dtype):
    head, read = HEADS[name]
    return HeadedDecoderConfig(decoder=dataclasses.replace(DECODER, dtype=dtype), head=head, read=read).make()


def random_params(network):
    """Drawn by numpy: quicker than compiling an initialisation."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        return 1 + 0.1 * noise if path[-1].key == "scale" else noise * leaf.shape[-2 if leaf.ndim > 1 else -1] ** -0.5

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(network.init, jax.random.key(0)))


def traces():
    rng = np.random.default_rng(0)
    position = np.tile(np.arange(TIME), (ROWS, 1))
    batch = TraceBatch(
        tokens=rng.integers(32, size=(ROWS, TIME)),
        segment=np.ones((ROWS, TIME), int),
        position=position,
        step_id=np.where(position < 4, -1, (position - 4) // 5),
        step_mask=np.ones((ROWS, STEPS), bool),
        prompt_id=np.zeros(ROWS, int),
    )
    return jax.tree.map(jnp.asarray, batch)


@pytest.mark.parametrize("name", HEADS)
def test_scores_are_those_of_float32_within_the_tolerance(name):
    wide, narrow = network(name, "float32"), network(name, "bfloat16")
    params = random_params(wide)
    expected, found = (jax.jit(n.apply)(params, traces()) for n in (wide, narrow))
    assert found.trace.dtype == found.step.dtype == found.token.dtype == jnp.float32
    assert np.std(expected.trace) > 10 * TOLERANCE
    np.testing.assert_allclose(found.step, expected.step, atol=TOLERANCE)
    assert np.abs(found.step - expected.step).max() > 1e-5, "it did compute in bfloat16"


def loss(params):
    chosen, rejected = jnp.split(network("scalar", "bfloat16").apply(params, traces()).trace, 2)
    return bradley_terry_loss(chosen, rejected)


def test_weights_moments_gradients_and_loss_are_float32():
    """An update far below what bfloat16 resolves is not lost."""
    params, optimiser = random_params(network("scalar", "bfloat16")), optax.adam(1e-6)

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, updates), state[0].mu, gradient, value

    found = jax.device_get(step(params, jax.jit(optimiser.init)(params)))
    assert {str(leaf.dtype) for leaf in jax.tree.leaves((params, found))} == {"float32"}
    assert jax.tree.all(jax.tree.map(lambda a, b: (a != b).any(), found[0], params))


def products(jaxpr):
    """Types of the factors and of the sums of every matrix product of a program, and of those inside it."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            types = tuple(str(v.aval.dtype) for v in equation.invars)
            yield types, str(equation.outvars[0].aval.dtype), equation.invars[1].aval.shape
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = value.jaxpr if hasattr(value, "jaxpr") else value
            if hasattr(inner, "eqns"):
                yield from products(inner)


def test_the_trunk_multiplies_in_bfloat16_and_the_head_in_float32():
    params = jax.eval_shape(network("scalar", "bfloat16").init, jax.random.key(0))
    found = list(products(jax.make_jaxpr(loss)(params).jaxpr))
    wide = [shape for types, _, shape in found if types == ("float32", "float32")]
    assert wide == [(32, 1), (ROWS, TIME, STEPS)], "the head, and token scores summed to step scores"
    narrow = [sums for types, sums, _ in found if types == ("bfloat16", "bfloat16")]
    assert len(narrow) == 9, "q, k, v, two of attention, output, gate, up, down"
    assert set(narrow) == {"float32"}
    assert len(found) == 11


def test_gradients_multiply_in_bfloat16_and_sum_in_float32():
    params = jax.eval_shape(network("scalar", "bfloat16").init, jax.random.key(0))
    found = list(products(jax.make_jaxpr(jax.grad(loss))(params).jaxpr))
    narrow = [sums for types, sums, _ in found if types == ("bfloat16", "bfloat16")]
    assert len(narrow) == 4 * 9, "forward, again for rematerialisation, and two products for the gradient of each"
    assert set(narrow) == {"float32"}
    assert all(len(set(types)) == 1 for types, _, _ in found), "a product of two types would be one in float32"
    assert len(found) - len(narrow) == 5, "three of the head, two of the sums of token scores"


@pytest.mark.parametrize(("product", "axis"), [(matmul, -2), (matmul_transposed, -1)])
def test_products_and_their_gradients_are_those_of_float32_of_the_rounded_factors(product, axis):
    rng = np.random.default_rng(3)
    a, b = (jnp.asarray(rng.standard_normal(shape), jnp.bfloat16) for shape in ((2, 5, 64), (2, 64, 7)))
    b = b if axis == -2 else b.mT
    weights = jnp.asarray(rng.standard_normal((2, 5, 7)), jnp.bfloat16).astype(jnp.float32)

    def total(a, b):
        return jnp.sum(product(a, b) * weights)

    wide = [x.astype(jnp.float32) for x in (a, b)]
    assert product(a, b).dtype == product(*wide).dtype == jnp.float32
    np.testing.assert_allclose(product(a, b), product(*wide), rtol=1e-5, atol=1e-5)
    found, expected = jax.grad(total, (0, 1))(a, b), jax.grad(total, (0, 1))(*wide)
    for ours, exact in zip(found, expected, strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(ours.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)
