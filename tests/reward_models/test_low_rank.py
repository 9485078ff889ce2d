"""Adapters against numbers by hand and the plain network with merged weights; what is trained and what is not."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.folders.manifest import Provenance
from reward_models.folders.native import load_folder, save_folder
from reward_models.folders.tensor_file import flatten
from reward_models.networks.adapters import TARGETS, SummedKernel, merge
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds, VocabularyHead
from reward_models.networks.low_rank import LowRankConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.records import InputError
from reward_models.types import TraceBatch

DECODER = DecoderConfig(vocab_size=13, num_layers=2, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12)
SCORE = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken())
RANK, STEPS, WIDTH = 3, 3, 7
CONFIGS = {
    "critic": LowRankConfig(network=CriticConfig(decoder=DECODER), rank=RANK),
    "advantage": LowRankConfig(network=SoftAdvantageConfig(decoder=DECODER), rank=RANK, head="frozen"),
    "score": LowRankConfig(network=SCORE, rank=RANK, targets=("query", "down"), head="low_rank"),
    "mlp": LowRankConfig(
        network=HeadedDecoderConfig(decoder=DECODER, head=MLPHead(labels=2), read=StepEnds()),
        rank=RANK,
        targets=("gate",),
        head="low_rank",
    ),
    "head alone": LowRankConfig(network=SCORE, targets=()),
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


def own(params):
    return {name: part for name, part in params.items() if name != "base"}


class Case:
    """A base, adapters on it as they start and as they might end, and the two ways to score with them."""

    def __init__(self, config):
        rng = np.random.default_rng(0)

        def noise(leaf):
            return jnp.asarray(0.4 * rng.standard_normal(leaf.shape), jnp.float32)

        self.config, self.plain = config, config.network.make()
        self.base = jax.tree.map(noise, jax.eval_shape(self.plain.init, jax.random.key(0)))
        self.fresh = {"base": self.base, **config.on(self.base).init(jax.random.key(0))}
        ended = jax.tree.map(lambda leaf: leaf + noise(leaf), own(self.fresh))
        self.trained = {"base": self.base, **ended}
        self.adapted = jax.jit(config.make().apply)
        self.merged = jax.jit(lambda params: self.plain.apply(config.merged(params), TRACES))


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
    assert LowRankConfig(network=SCORE, rank=4, alpha=10.0).scale == 2.5
    assert LowRankConfig(network=SCORE, rank=4, alpha=10.0, rank_stabilised=True).scale == 5.0


@EVERY
def test_a_fresh_adapter_changes_nothing(name, case):
    it = case(name)
    nothing = {"base": it.base} | ({"head": it.base["head"]} if "head" in it.fresh else {})
    adapted, plain = it.adapted(it.fresh, TRACES), it.merged(it.fresh)
    np.testing.assert_allclose(adapted.step, plain.step, atol=1e-5)
    for path, leaf in flatten(it.config.merged(it.fresh)).items():
        np.testing.assert_array_equal(leaf, flatten(it.config.merged(nothing))[path], err_msg=path)
        np.testing.assert_array_equal(leaf, flatten(it.base)[path], err_msg=path)
    assert it.config.make().spec == it.plain.spec


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

    def adapted(trained):
        return it.config.on(it.base).apply(trained, TRACES).trace.sum()

    def merged(trained):
        return it.plain.apply(it.config.merged({"base": it.base, **trained}), TRACES).trace.sum()

    gradient = jax.jit(jax.grad(adapted))(own(it.trained))
    for path, expected in flatten(jax.jit(jax.grad(merged))(own(it.trained))).items():
        np.testing.assert_allclose(flatten(gradient)[path], expected, atol=1e-5, rtol=1e-3, err_msg=path)
        assert np.abs(expected).max() > 1e-4, path


def shapes(name):
    params = own(jax.eval_shape(CONFIGS[name].make().init, jax.random.key(0)))
    return {path: leaf.shape for path, leaf in flatten(params).items()}


def test_what_is_trained():
    assert shapes("score") == {
        "adapters.trunk.blocks.query.a": (2, 8, RANK),
        "adapters.trunk.blocks.query.b": (2, RANK, 8),
        "adapters.trunk.blocks.down.a": (2, 12, RANK),
        "adapters.trunk.blocks.down.b": (2, RANK, 8),
        "adapters.head.a": (8, RANK),
        "adapters.head.b": (RANK, 1),
    }
    inner_and_outer = {
        "adapters.head.inner.a",
        "adapters.head.inner.b",
        "adapters.head.outer.a",
        "adapters.head.outer.b",
    }
    assert {path for path in shapes("mlp") if ".head." in path} == inner_and_outer
    assert shapes("head alone") == {"head.kernel": (8, 1)}
    critic = shapes("critic")
    assert {path.split(".")[-2] for path in critic if path.startswith("adapters")} == set(TARGETS)
    assert {path for path in critic if "head" in path} == {"head.kernel", "head.bias"}
    assert not any("head" in path for path in shapes("advantage"))


def test_the_output_matrix_of_a_language_model_is_no_head():
    """Untied, it lies under "head" in the trunk, and stays as it is."""
    untied = dataclasses.replace(DECODER, tie_embeddings=False)
    advantage = dataclasses.replace(CONFIGS["advantage"], network=SoftAdvantageConfig(decoder=untied))
    params = jax.eval_shape(advantage.make().init, jax.random.key(0))
    assert "head" in params["base"] and "head" not in params["adapters"] and "head" not in params
    score = dataclasses.replace(CONFIGS["score"], network=dataclasses.replace(SCORE, decoder=untied))
    adapters = jax.eval_shape(score.make().init, jax.random.key(0))["adapters"]
    assert adapters["head"]["a"].shape == (8, RANK) and set(adapters["trunk"]) == {"blocks"}


def test_adapters_start_random_and_zero_and_the_head_as_a_copy_of_the_bases(case):
    base, params = case("critic").base, case("critic").fresh
    query = params["adapters"]["trunk"]["blocks"]["query"]
    assert not query["b"].any() and abs(float(jnp.std(query["a"])) - 8**-0.5) < 0.1
    assert not np.array_equal(query["a"], params["adapters"]["trunk"]["blocks"]["key"]["a"])
    head, of_base = params["head"]["kernel"], base["head"]["kernel"]
    np.testing.assert_array_equal(head, of_base)
    assert head.unsafe_buffer_pointer() != of_base.unsafe_buffer_pointer(), "a step that donates both would fail"


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
    network = it.config.on(it.base)
    adapted = jax.make_jaxpr(jax.grad(lambda p: network.apply(p, TRACES).trace.sum()))(own(it.trained))
    full = jax.make_jaxpr(jax.grad(lambda p: it.plain.apply(p, TRACES).trace.sum()))(it.base)
    either_way = {tuple(sorted(shape)) for shape in kernels}
    assert either_way <= {tuple(sorted(shape)) for shape in products(full.jaxpr)}
    assert not either_way & {tuple(sorted(shape)) for shape in products(adapted.jaxpr)}


def test_whole_params_have_no_gradient_of_the_base(case):
    it = case("head alone")
    gradient = jax.jit(jax.grad(lambda p: it.config.make().apply(p, TRACES).trace.sum()))(it.trained)
    assert not any(leaf.any() for leaf in jax.tree.leaves(gradient["base"]))
    assert all(leaf.any() for leaf in jax.tree.leaves(own(gradient)))


def kinds(tree):
    return {str(leaf.dtype) for leaf in jax.tree.leaves(tree)}


def test_a_base_in_bfloat16_stays_so_and_its_adapters_are_float32(case):
    it = case("critic")
    trunk = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.bfloat16), it.base["trunk"])
    base = {**it.base, "trunk": trunk}
    assert kinds(it.config.merged({**it.trained, "base": base})["trunk"]) == {"bfloat16"}
    assert kinds(it.config.on(base).init(jax.random.key(0))) == {"float32"}
    up, adapter = trunk["blocks"]["up"]["kernel"][0], it.trained["adapters"]["trunk"]["blocks"]["up"]
    kernel = SummedKernel(up, adapter["a"][0], adapter["b"][0], it.config.scale)
    x = jnp.ones((1, 8), jnp.bfloat16)
    assert (x @ kernel[...].astype(x.dtype)).dtype == jnp.bfloat16


@EVERY
def test_saved_and_loaded_with_the_head(name, case, tmp_path):
    config, params = CONFIGS[name], case(name).trained
    save_folder(
        tmp_path / "m",
        params=params,
        network=config,
        spec=config.make().spec,
        tokenizer_json="{}",
        manifest=Provenance(),
    )
    networks = (LowRankConfig, CriticConfig, SoftAdvantageConfig, HeadedDecoderConfig, DecoderConfig)
    classes = {c.__name__: c for c in (*networks, LinearHead, MLPHead, LastToken, StepEnds)}
    expected = jax.eval_shape(config.make().init, jax.random.key(0))
    model = load_folder(tmp_path / "m", classes=classes, expected=expected)
    assert model.network == config
    for path, leaf in flatten(params).items():
        np.testing.assert_array_equal(flatten(model.params)[path], leaf, err_msg=path)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"targets": ("query", "q_proj")}, "targets.1: expected 'query', .*, got 'q_proj'"),
        ({"rank": 0}, "rank: expected at least 1, got 0"),
        ({"head": "whole"}, "head: expected 'full', 'low_rank' or 'frozen', got 'whole'"),
        ({"targets": (), "head": "frozen"}, "nothing is trained"),
        ({"network": SoftAdvantageConfig(decoder=DECODER)}, "no head of its own; say head='frozen'"),
        (
            {"network": dataclasses.replace(SCORE, head=VocabularyHead(tokens=(1,))), "head": "low_rank"},
            "no head of its own; say head='frozen'",
        ),
    ],
)
def test_bad_configs_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        LowRankConfig(**({"network": SCORE} | fields))


def test_a_part_of_an_adapted_kernel_cannot_be_read():
    with pytest.raises(TypeError, match=r"read whole, \[...\], not \[0\]; use merge"):
        SummedKernel(jnp.ones((2, 2)), jnp.ones((2, 1)), jnp.ones((1, 2)), 1.0)[0]
