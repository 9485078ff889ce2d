"""Ensembles against numpy over their members, and under the contract of every reward model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.folders.tensor_file import flatten
from reward_models.frozen import without_frozen
from reward_models.networks.adapters import LowRank
from reward_models.networks.base import Network
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import REDUCTIONS, EnsembleConfig, stack_members
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, PrefixValue, VocabularyHead
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.records import InputError
from reward_models.scoring import make_score_fn
from reward_models.types import Scores, ScoreSpec, TraceBatch
from tests.saved_networks import assert_saved_and_loaded

DECODER = DecoderConfig(vocab_size=23, num_layers=1, dim=8, num_heads=1, num_kv_heads=1, head_dim=8, hidden_dim=8)
MEMBERS = {"advantage": SoftAdvantageConfig(decoder=DECODER), "critic": CriticConfig(decoder=DECODER, aggregate="min")}
COUNT, STEPS, PENALTY, TOLERANCE = 3, 4, 0.7, 1e-5
FAMILIES = pytest.mark.parametrize("family", MEMBERS)
EVERY = pytest.mark.parametrize("reduction", REDUCTIONS)


def traces():
    """Two traces of four steps and of two; the third row is padding."""
    tokens = np.array([[3, 1, 4, 1, 5, 9, 2, 6, 5, 2], [3, 1, 8, 2, 8, 1, 2, 0, 0, 0], [0] * 10])
    step_id = np.array([[-1, -1, 0, 0, 1, 1, 2, 3, 3, 3], [-1, -1, 0, 0, 1, 1, 1, -1, -1, -1], [-1] * 10])
    segment = np.array([[1] * 10, [1] * 7 + [0] * 3, [0] * 10])
    mask = np.arange(STEPS) <= step_id.max(axis=1, keepdims=True)
    return jax.tree.map(jnp.asarray, TraceBatch(tokens, segment, np.arange(10) * segment, step_id, mask, np.arange(3)))


TRACES = traces()


class Family:
    """One kind of member: its parameters, and jitted functions that give the scores of every reduction at once."""

    def __init__(self, member):
        self.member = member
        configs = {
            how: EnsembleConfig(member=member, members=COUNT, reduction=how, penalty=PENALTY) for how in REDUCTIONS
        }
        self.networks = {how: config.make() for how, config in configs.items()}
        rng = np.random.default_rng(0)
        shapes = jax.eval_shape(member.make().init, jax.random.key(0))
        self.params = [
            jax.tree.map(lambda leaf: 0.7 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)
            for _ in range(COUNT)
        ]
        single = jax.jit(member.make().apply)
        self.apply = jax.jit(lambda params, batch: {how: n.apply(params, batch) for how, n in self.networks.items()})
        self.single = [jax.device_get(single(params, TRACES)) for params in self.params]
        self.scores = self(TRACES)

    def __call__(self, batch, params=None):
        return jax.device_get(self.apply(stack_members(self.params) if params is None else params, batch))


@pytest.fixture(scope="module")
def family_of():
    families: dict[str, Family] = {}

    def get(name):
        if name not in families:
            families[name] = Family(MEMBERS[name])
        return families[name]

    return get


def reduced_by_hand(values, reduction):
    values = np.stack(values).astype(np.float64)
    mean = values.sum(axis=0) / COUNT
    match reduction:
        case "mean":
            return mean
        case "min":
            return np.sort(values, axis=0)[0]
        case "pessimistic":
            return mean - PENALTY * ((values - mean) ** 2).sum(axis=0) / COUNT


@FAMILIES
@EVERY
def test_step_scores_are_reduced_over_members_and_then_aggregated(family, reduction, family_of):
    them = family_of(family)
    scores = them.scores[reduction]
    step = reduced_by_hand([s.step for s in them.single], reduction)
    np.testing.assert_allclose(scores.step, step, atol=TOLERANCE, rtol=1e-5)
    aggregate = {"advantage": np.sum, "critic": np.min}[family]
    expected = [aggregate(step[0]), aggregate(step[1, :2]), 0]
    np.testing.assert_allclose(scores.trace, expected, atol=TOLERANCE, rtol=1e-5)
    others = [them.scores[how].trace[0] for how in REDUCTIONS]
    assert min(abs(a - b) for i, a in enumerate(others) for b in others[:i]) > 1e-3, "reductions can be told apart"


def test_numbers_by_hand():
    config = EnsembleConfig(member=MEMBERS["critic"], members=3, reduction="pessimistic", penalty=0.5)
    scores = jnp.array([[1.0, 0.0], [2.0, 0.0], [6.0, 0.0]])  # mean 3, variance (4 + 1 + 9) / 3
    np.testing.assert_allclose(config.reduce(scores), [3 - 0.5 * 14 / 3, 0], atol=1e-6)


@FAMILIES
def test_equal_members_are_one_member(family, family_of):
    them = family_of(family)
    scores = them(TRACES, stack_members([them.params[1]] * COUNT))
    for reduction in REDUCTIONS:
        np.testing.assert_allclose(scores[reduction].step, them.single[1].step, atol=TOLERANCE)
        np.testing.assert_allclose(scores[reduction].trace, them.single[1].trace, atol=TOLERANCE)
    np.testing.assert_allclose(scores["mean"].token, them.single[1].token, atol=TOLERANCE)


@FAMILIES
@EVERY
def test_tokens_of_a_step_sum_to_its_score_and_nothing_stands_elsewhere(family, reduction, family_of):
    scores = family_of(family).scores[reduction]
    for step in range(STEPS):
        own = np.where(TRACES.step_id == step, scores.token, 0).sum(axis=1)
        np.testing.assert_allclose(own, scores.step[:, step], atol=TOLERANCE)
    assert (scores.token[TRACES.step_id < 0] == 0).all()
    assert (scores.step[~TRACES.step_mask] == 0).all()
    assert scores.trace[2] == 0


@FAMILIES
@EVERY
def test_later_tokens_company_and_order_do_not_matter(family, reduction, family_of):
    them = family_of(family)
    scores = them.scores[reduction]
    turned = them(jax.tree.map(lambda x: x[::-1], TRACES))[reduction]
    np.testing.assert_allclose(turned.step[::-1], scores.step, atol=TOLERANCE)
    np.testing.assert_allclose(turned.trace[::-1], scores.trace, atol=TOLERANCE)
    for time in range(2, 9):
        later = np.arange(10) > time
        changed = TRACES._replace(tokens=np.where(later, (TRACES.tokens + 5) % 23, TRACES.tokens))
        other = them(changed)[reduction].token
        np.testing.assert_allclose(other[:2, : time + 1], scores.token[:2, : time + 1], atol=TOLERANCE)
        assert np.abs(other[0] - scores.token[0]).max() > 1e-3


class TableConfig(CriticConfig):
    """A member that compiles in no time: every response token scores what its parameters say."""

    def make(self):
        def apply(params, batch):
            token = jnp.where(batch.response, params["table"][batch.tokens], 0.0)
            step = sum_by_step(token, batch.step_id, STEPS)
            return Scores(aggregate_steps(step, batch.step_mask, "min"), step, token)

        return Network(lambda key: {"table": jax.random.normal(key, (23,))}, apply, ScoreSpec("reward", "min"))


def test_init_makes_members_that_differ_and_stacked_members_have_the_same_form():
    network = EnsembleConfig(member=TableConfig(decoder=DECODER), members=COUNT).make()
    table = network.init(jax.random.key(0))["table"]
    assert table.shape == (COUNT, 23) and len({float(row[0]) for row in table}) == COUNT
    again = stack_members([{"table": row} for row in table])
    np.testing.assert_array_equal(again["table"], table)


@EVERY
def test_spec_is_that_of_the_member(reduction, family_of):
    for name, config in MEMBERS.items():
        assert family_of(name).networks[reduction].spec == config.make().spec


@EVERY
def test_gradients_are_finite_and_reach_the_members(reduction):
    """With the minimum over steps, which has an infinity inside, and a row of padding."""
    network = EnsembleConfig(member=TableConfig(decoder=DECODER), members=COUNT, reduction=reduction).make()

    def loss(params):
        scores = network.apply(params, TRACES)
        return jnp.sum(scores.trace) + jnp.sum(scores.token**2)

    gradient = jax.jit(jax.grad(loss))(network.init(jax.random.key(0)))["table"]
    assert np.isfinite(gradient).all()
    reached = (np.abs(gradient) > 1e-6).any(axis=1)
    assert reached.all() if reduction != "min" else reached.any()


# --- heads on one trunk, adapters on one base --------------------------------------------------------------

VALUE = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(bias=True), read=PrefixValue())
ADAPTERS = MEMBERS["critic"].adapted(LowRank(rank=2, targets=("query", "down")))
SHARED = {
    "heads": EnsembleConfig(member=VALUE, members=COUNT, shared="trunk"),
    "adapters": EnsembleConfig(member=ADAPTERS, members=COUNT, shared="base", reduction="min"),
}
TOGETHER = pytest.mark.parametrize("name", SHARED)


@pytest.fixture(scope="module")
def params_of():
    rng = np.random.default_rng(0)
    shapes = {name: jax.eval_shape(config.make().init, jax.random.key(0)) for name, config in SHARED.items()}
    return jax.tree.map(lambda leaf: jnp.asarray(0.7 * rng.standard_normal(leaf.shape), jnp.float32), shapes)


@TOGETHER
def test_members_that_share_score_as_each_would_alone(name, params_of):
    config, params = SHARED[name], params_of[name]
    single = jax.jit(config.member.make().apply)
    each = [jax.device_get(single(own, TRACES)) for own in config.member_params(params)]
    found = jax.device_get(jax.jit(config.member_scores)(params, TRACES))
    for number, scores in enumerate(each):
        np.testing.assert_allclose(found.step[number], scores.step, atol=TOLERANCE)
        np.testing.assert_allclose(found.trace[number], scores.trace, atol=TOLERANCE)
    scores = jax.jit(config.make().apply)(params, TRACES)
    step = reduced_by_hand([one.step for one in each], config.reduction)
    np.testing.assert_allclose(scores.step, step, atol=TOLERANCE)
    assert np.ptp(found.trace[:, 0]) > 1e-2


def test_what_is_shared_is_held_once_and_members_start_apart():
    params = jax.jit(SHARED["heads"].make().init)(jax.random.key(0))
    one = flatten(jax.eval_shape(VALUE.make().init, jax.random.key(0)))
    for path, leaf in flatten(params).items():
        assert leaf.shape == ((COUNT,) if path.startswith("head.") else ()) + one[path].shape, path
    kernels = np.asarray(params["head"]["kernel"])
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-2


def test_a_trunk_is_computed_once_for_all_heads():
    """Floating-point operations of three heads are close to those of one; three trunks need thrice as many."""

    def cost(config):
        shapes = jax.eval_shape(config.make().init, jax.random.key(0))
        return jax.jit(config.make().apply).lower(shapes, TRACES).cost_analysis()["flops"]

    one = cost(VALUE)
    assert cost(SHARED["heads"]) < 1.5 * one


def test_spread_by_hand_and_over_many_traces(params_of):
    """The deviation over members of trace, step and token; through `make_score_fn` as from one batch."""
    config, params = SHARED["heads"], params_of["heads"]
    scores = jax.device_get(jax.jit(config.member_scores)(params, TRACES))
    spread = jax.device_get(jax.jit(config.spread)(params, TRACES))
    for values, deviation in zip(scores, spread, strict=True):
        mean = values.sum(axis=0) / COUNT
        expected = np.sqrt(((values - mean) ** 2).sum(axis=0) / COUNT)
        np.testing.assert_allclose(deviation, expected, atol=TOLERANCE)
    assert (spread.step[~np.asarray(TRACES.step_mask)] == 0).all() and spread.trace[0] > 1e-2
    many = make_score_fn(config.make()._replace(apply=config.spread))(params, jax.tree.map(np.asarray, TRACES))
    np.testing.assert_allclose(many.trace, spread.trace, atol=TOLERANCE)
    np.testing.assert_allclose(many.step, spread.step, atol=TOLERANCE)


@EVERY
def test_a_mean_of_values_is_a_value_and_no_other_reduction_is(reduction, params_of):
    """Value kind: the score of a step is the value after it minus the value before it."""
    config = EnsembleConfig(member=VALUE, members=COUNT, shared="trunk", reduction=reduction)
    scores = jax.jit(config.make().apply)(params_of["heads"], TRACES)
    if reduction != "mean":
        assert config.make().spec.kind == "reward" and scores.prefix_value is None
        return
    assert config.make().spec.kind == "value"
    step_of_tokens_4_and_5 = scores.prefix_value[0, 6] - scores.prefix_value[0, 4]
    np.testing.assert_allclose(scores.step[0, 1], step_of_tokens_4_and_5, atol=TOLERANCE)


@TOGETHER
def test_trained_apart_stacked_saved_and_loaded(name, params_of, tmp_path):
    config, params = SHARED[name], params_of[name]
    stacked = stack_members(config.member_params(params), config.shared)
    assert_saved_and_loaded(tmp_path / "m", config, stacked)
    for path, leaf in flatten(without_frozen(params)).items():
        np.testing.assert_array_equal(flatten(without_frozen(stacked))[path], leaf, err_msg=path)


def test_members_with_different_trunks_do_not_share_one(params_of):
    first, second, _ = SHARED["heads"].member_params(params_of["heads"])
    moved = jax.tree.map(lambda leaf: leaf + 1, second["trunk"]["final_norm"])
    second = {**second, "trunk": {**second["trunk"], "final_norm": moved}}
    with pytest.raises(ValueError, match=r"member 1: tensor 'trunk.final_norm.scale' is not that of member 0"):
        stack_members([first, second], "trunk")


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"reduction": "median"}, "reduction: expected 'mean', 'min' or 'pessimistic', got 'median'"),
        ({"shared": "head"}, "shared: expected 'trunk' or 'base', got 'head'"),
        ({"members": 0}, "members: expected at least 1, got 0"),
        ({"members": 10**12}, "members: expected at most 4096"),
        ({"penalty": float("nan")}, "penalty: expected a finite number"),
        ({"shared": "base"}, "'base', but the members have no adapters, so they have no frozen base"),
        ({"shared": "trunk", "member": SHARED["heads"]}, "'trunk' is part of a decoder, not of a EnsembleConfig"),
        ({"shared": "trunk", "member": MEMBERS["advantage"]}, "no head of their own, so all would be equal"),
        (
            {
                "shared": "trunk",
                "member": HeadedDecoderConfig(decoder=DECODER, head=VocabularyHead(tokens=(1,)), read=LastToken()),
            },
            "no head of their own",
        ),
    ],
)
def test_bad_configs_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        EnsembleConfig(**({"member": MEMBERS["critic"], "members": 2} | fields))
