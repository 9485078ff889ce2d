"""Adapters against numbers by hand and the plain network with merged weights; what is trained and what is not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.folders.tensor_file import flatten
from reward_models.frozen import join, split, without_frozen
from reward_models.networks.adapters import TARGETS, LowRank, SummedKernel, merge
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import TraceBatch
from tests.saved_networks import assert_saved_and_loaded

DECODER = DecoderConfig(vocab_size=13, num_layers=2, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12)
SCORE = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken())
RANK, STEPS, WIDTH = 3, 3, 7
CONFIGS = {
    "critic": CriticConfig(decoder=DECODER).adapted(LowRank(rank=RANK)),
    "advantage": SoftAdvantageConfig(decoder=DECODER).adapted(LowRank(rank=RANK)),
    "score": SCORE.adapted(LowRank(rank=RANK, targets=("query", "down"))),
    "mlp": HeadedDecoderConfig(decoder=DECODER, head=MLPHead(labels=2), read=StepEnds()).adapted(
        LowRank(rank=RANK, targets=("gate",))
    ),
}
EVERY = pytest.mark.parametrize("name", CONFIGS)


def traces():
    """A trace of three steps and one of a single step."""
    tokens = np.array([[3, 1, 4, 9, 5, 9, 2], [3, 1, 9, 7, 0, 0, 0]])
    step_id = np.array([[-1, -1, 0, 0, 1, 2, 2], [-1, -1, 0, 0, -1, -1, -1]])
    segment = (tokens > 0).astype(int)
    mask = np.arange(STEPS) <= step_id.max(axis=1, keepdims=True)
    batch = TraceBatch(tokens, segment, np.arange(WIDTH) * segment, step_id, mask, np.arange(2))
    return jax.tree.map(jnp.asarray, batch)


TRACES = traces()


class Case:
    """A base, adapters on it as they start and as they might end, and the two ways to score with them."""

    def __init__(self, config):
        rng = np.random.default_rng(0)

        def noise(leaf):
            return jnp.asarray(0.4 * rng.standard_normal(leaf.shape), jnp.float32)

        self.config, plain = config, config.adapted(None)
        self.plain = plain.make()
        self.base = jax.tree.map(noise, jax.eval_shape(self.plain.init, jax.random.key(0)))
        trunk = config.decoder.adapters.fresh(jax.random.key(0), config.trunk_of(self.base))
        self.fresh = config.with_trunk(self.base, trunk)
        trained, frozen = split(self.fresh)
        self.trained = join(jax.tree.map(lambda leaf: leaf + noise(leaf), trained), frozen)
        self.adapted = jax.jit(config.make().apply)
        self.merged = jax.jit(lambda params: self.plain.apply(config.merged(params)[1], TRACES))


@pytest.fixture(scope="module")
def case():
    cases: dict[str, Case] = {}
    return lambda name: cases.setdefault(name, cases.get(name) or Case(CONFIGS[name]))


def test_a_sum_by_hand():
    """Rank 1, two layers; the product is the same whether the sum is formed or not."""
    kernel = np.arange(12.0, dtype=np.float32).reshape(2, 2, 3)
    a = np.array([[[1.0], [2.0]], [[0.0], [1.0]]], np.float32)
    b = np.array([[[1.0, 0.0, -1.0]], [[2.0, 2.0, 0.0]]], np.float32)
    params = {"up": {"kernel": kernel, "bias": np.ones(3)}, "norm": {"scale": np.ones(2)}}
    merged = merge(params, {"up": {"a": a, "b": b}}, 0.5)
    expected = kernel + 0.5 * np.array([[[1, 0, -1], [2, 0, -2]], [[0, 0, 0], [2, 2, 0]]])
    np.testing.assert_allclose(merged["up"]["kernel"], expected)
    assert merged["up"]["bias"] is params["up"]["bias"] and merged["norm"] is params["norm"]
    x = jnp.array([[1.0, -1.0], [2.0, 0.5]])
    np.testing.assert_allclose(x @ SummedKernel(kernel[0], a[0], b[0], 0.5), x @ expected[0])


def test_the_scale():
    assert LowRank(rank=4, alpha=10.0).scale == 2.5
    assert LowRank(rank=4, alpha=10.0, rank_stabilised=True).scale == 5.0


@EVERY
def test_a_fresh_adapter_changes_nothing(name, case):
    it = case(name)
    np.testing.assert_allclose(it.adapted(it.fresh, TRACES).step, it.merged(it.fresh).step, atol=1e-5)
    network, params = it.config.merged(it.fresh)
    assert network == it.config.adapted(None) and it.config.make().spec == it.plain.spec
    for path, leaf in flatten(params).items():
        np.testing.assert_array_equal(leaf, flatten(it.base)[path], err_msg=path)


@EVERY
def test_scores_are_those_of_the_merged_network(name, case):
    it = case(name)
    scores, expected = it.adapted(it.trained, TRACES), it.merged(it.trained)
    np.testing.assert_allclose(scores.step, expected.step, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(scores.trace, expected.trace, atol=1e-5, rtol=1e-4)
    assert np.abs(expected.trace - it.merged(it.fresh).trace).max() > 1e-2


def test_gradients_are_those_of_the_merged_network(case):
    """The gradient of a merged kernel, contracted by the chain rule, is what never forming it must give."""
    it = case("critic")

    own, frozen = split(it.trained)

    def adapted(trained):
        return it.config.make().apply(join(trained, frozen), TRACES).trace.sum()

    def merged(trained):
        return it.plain.apply(it.config.merged(join(trained, frozen))[1], TRACES).trace.sum()

    gradient = jax.jit(jax.grad(adapted))(own)
    gradient, other = (
        flatten({**tree, "trunk": tree["trunk"]["adapters"]}) for tree in (gradient, jax.jit(jax.grad(merged))(own))
    )
    for path, expected in other.items():
        np.testing.assert_allclose(gradient[path], expected, atol=1e-5, rtol=1e-3, err_msg=path)
        assert np.abs(expected).max() > 1e-4, path


def shapes(config):
    params = without_frozen(jax.eval_shape(config.make().init, jax.random.key(0)))
    return {path: leaf.shape for path, leaf in flatten(params).items()}


def test_what_is_trained():
    assert shapes(CONFIGS["score"]) == {
        "trunk.adapters.blocks.query.a": (2, 8, RANK),
        "trunk.adapters.blocks.query.b": (2, RANK, 8),
        "trunk.adapters.blocks.down.a": (2, 12, RANK),
        "trunk.adapters.blocks.down.b": (2, RANK, 8),
        "head.kernel": (8, 1),
    }
    critic = shapes(CONFIGS["critic"])
    assert {path.split(".")[-2] for path in critic if "adapters" in path} == set(TARGETS)
    assert {path for path in critic if "head" in path} == {"head.kernel", "head.bias"}
    assert all(path.startswith("adapters.blocks.") for path in shapes(CONFIGS["advantage"]))


def test_the_output_matrix_of_a_language_model_is_no_head():
    """Untied, it lies under "head" in the trunk, and stays as it is."""
    untied = dataclasses.replace(DECODER, tie_embeddings=False, adapters=LowRank())
    params = jax.eval_shape(SoftAdvantageConfig(decoder=untied).make().init, jax.random.key(0))
    assert "head" in params["base"].tree and set(params["adapters"]) == {"blocks"}


def test_adapters_start_random_and_zero(case):
    blocks = case("critic").fresh["trunk"]["adapters"]["blocks"]
    assert not blocks["query"]["b"].any() and abs(float(jnp.std(blocks["query"]["a"])) - 8**-0.5) < 0.1
    assert not np.array_equal(blocks["query"]["a"], blocks["key"]["a"])


def products(jaxpr):
    """Shapes of all matrix products of a program, inner ones included."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.outvars[0].aval.shape
        for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda p: hasattr(p, "eqns")):
            inner = getattr(inner, "jaxpr", inner)
            if hasattr(inner, "eqns"):
                yield from products(inner)


def test_no_gradient_of_a_weight_is_ever_computed(case):
    """No product has the shape of a kernel; where the base is trained, there is one for every kernel."""
    it = case("critic")
    kernels = {leaf.shape[-2:] for path, leaf in flatten(it.base["trunk"]).items() if path.endswith("kernel")}
    own, frozen = split(it.trained)
    network = it.config.make()
    adapted = jax.make_jaxpr(jax.grad(lambda own: network.apply(join(own, frozen), TRACES).trace.sum()))(own)
    full = jax.make_jaxpr(jax.grad(lambda p: it.plain.apply(p, TRACES).trace.sum()))(it.base)
    either_way = {tuple(sorted(shape)) for shape in kernels}
    assert either_way <= {tuple(sorted(shape)) for shape in products(full.jaxpr)}
    assert not either_way & {tuple(sorted(shape)) for shape in products(adapted.jaxpr)}


def kinds(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def test_a_base_in_bfloat16_stays_so_and_its_adapters_are_float32(case):
    it = case("critic")
    base = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), it.base["trunk"])
    adapters = it.config.decoder.adapters
    fresh = adapters.fresh(jax.random.key(0), base)
    assert kinds(adapters.merged(fresh)) == {"bfloat16"} and kinds(fresh["adapters"]) == {"float32"}
    up, adapter = base["blocks"]["up"]["kernel"][0], it.trained["trunk"]["adapters"]["blocks"]["up"]
    kernel = SummedKernel(up, adapter["a"][0], adapter["b"][0], adapters.scale)
    x = jnp.ones((1, 8), jnp.bfloat16)
    assert (x @ kernel[...].astype(x.dtype)).dtype == jnp.float32, "the type of the sums"


@EVERY
def test_saved_and_loaded_without_the_base(name, case, tmp_path):
    assert_saved_and_loaded(tmp_path / "m", CONFIGS[name], case(name).trained)


def test_a_part_of_an_adapted_kernel_cannot_be_read():
    with pytest.raises(TypeError, match=r"read whole, \[...\], not \[0\]; use merge"):
        SummedKernel(jnp.ones((2, 2)), jnp.ones((2, 1)), jnp.ones((1, 2)), 1.0)[0]
