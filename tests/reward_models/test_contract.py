"""The contract of every registered network, in one program for each: what may not matter, and what must hold.

A class that is not in `VARIANTS` is built from the types of its required fields.
"""

import dataclasses
from typing import get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.folders.manifest import Provenance
from reward_models.folders.native import load_folder, save_folder
from reward_models.networks.base import NetworkConfig
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, DecoderNetwork
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.networks.heads import (
    HeadedDecoderConfig,
    LastToken,
    LinearHead,
    MLPHead,
    PrefixValue,
    StepEnds,
    VocabularyHead,
)
from reward_models.registry import classes, import_all
from reward_models.types import INFORMATION_LEVELS, TraceBatch

DECODER = DecoderConfig(vocab_size=13, num_layers=1, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12)
CRITIC = CriticConfig(decoder=DECODER)
HEADS = {
    "scalar": {"head": LinearHead(), "read": LastToken()},
    "tokens": {
        "head": LinearHead(labels=3, bias=True),
        "read": StepEnds(label=2, scale="probability", aggregate="prod", marker=9),
    },
    "words": {"head": VocabularyHead(tokens=(4, 2)), "read": StepEnds(aggregate="mean")},
    "value": {"head": MLPHead(), "read": PrefixValue()},
}
VARIANTS = {
    CriticConfig: {how: dataclasses.replace(CRITIC, aggregate=how) for how in ("min", "last", "prod")},
    HeadedDecoderConfig: {name: HeadedDecoderConfig(decoder=DECODER, **parts) for name, parts in HEADS.items()},
    EnsembleConfig: {"trunk": EnsembleConfig(member=CRITIC, members=2, reduction="min", shared="trunk")},
}
EXAMPLES = {DecoderConfig: DECODER, NetworkConfig: CRITIC, DecoderNetwork: CRITIC, int: 3, tuple: (2, 3, 4, 5, 9)}
WIDTH, STEPS = 16, 6
LONG = ([3, 1, 4, 9, 5, 9, 2, 9], [-1, -1, 0, 0, 1, 1, 2, 2])
SHORT = ([3, 1, 9, 7, 9], [-1, 0, 0, 1, 1])
EMPTY: tuple[list[int], list[int]] = ([], [])
TOLERANCE = 1e-5  # float32, scores of size 1 to 10


def example(kind):
    """An instance whose required fields have the values of `EXAMPLES`, by their types."""
    hints = get_type_hints(kind)
    required = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory is dataclasses.MISSING]
    return kind(**{name: EXAMPLES[getattr(hints[name], "__origin__", hints[name])] for name in required})


def networks():
    import_all("reward_models.networks")
    for kind in classes():
        if issubclass(kind, NetworkConfig) and kind.__module__.startswith("reward_models."):
            for name, config in VARIANTS[kind].items() if kind in VARIANTS else [("", example(kind))]:
                yield pytest.param(config, id=f"{kind.__name__}-{name}".rstrip("-"))


def batch(*rows, left=False):
    """Three rows of (tokens, step ids), padded on one side with a token that nobody may read."""
    rows = (*rows, EMPTY, EMPTY)[:3]
    out = TraceBatch(
        tokens=np.full((3, WIDTH), 7),
        segment=np.zeros((3, WIDTH), int),
        position=np.zeros((3, WIDTH), int),
        step_id=np.full((3, WIDTH), -1),
        step_mask=np.zeros((3, STEPS), bool),
        prompt_id=np.arange(3),
    )
    for i, (tokens, step_id) in enumerate(rows):
        n = len(tokens)
        at = slice(WIDTH - n, WIDTH) if left else slice(0, n)
        out.tokens[i, at], out.step_id[i, at] = tokens, step_id
        out.segment[i, at], out.position[i, at] = 1, np.arange(n)
        out.step_mask[i, : max(step_id, default=-1) + 1] = True
    return out


def packed():
    """LONG and SHORT in one row, as segments."""
    long, short = len(LONG[0]), len(SHORT[0])
    after = [step + 3 if step >= 0 else -1 for step in SHORT[1]]
    traces = batch((LONG[0] + SHORT[0], LONG[1] + after))
    traces.segment[0, long : long + short] = 2
    traces.position[0, long : long + short] = np.arange(short)
    return traces


class Model:
    """A network with random parameters, and one program of scores and gradients that counts how often it is traced."""

    def __init__(self, config):
        self.config, self.network, self.traced = config, config.make(), 0
        self.params = self.random(0)

        def loss(params, traces):
            scores = self.network.apply(params, traces)
            return jnp.sum(scores.trace**2) + jnp.sum(scores.token**2), scores

        def program(params, traces):
            self.traced += 1
            return jax.grad(loss, has_aux=True)(params, traces)

        self.program = jax.jit(program)

    def random(self, seed):
        rng = np.random.default_rng(seed)
        shapes = jax.eval_shape(self.network.init, jax.random.key(0))
        return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)

    def __call__(self, traces, params=None):
        return jax.device_get(self.program(self.params if params is None else params, traces)[1])


@pytest.fixture(scope="module", params=networks())
def model(request):
    return Model(request.param)


def assert_same(left, right):
    for name in ("trace", "step", "token"):
        np.testing.assert_allclose(getattr(left, name), getattr(right, name), atol=TOLERANCE, err_msg=name)


def test_scores_of_steps_are_aggregated_and_tokens_add_up_to_steps(model):
    traces = batch(LONG, SHORT)
    scores, how = model(traces), model.network.spec.aggregate
    by_hand = {"sum": np.sum, "min": np.min, "mean": np.mean, "prod": np.prod, "last": lambda steps: steps[-1]}[how]
    for i, count in enumerate((3, 2)):
        np.testing.assert_allclose(scores.trace[i], by_hand(scores.step[i, :count]), rtol=1e-5, atol=TOLERANCE)
    for step in range(STEPS):
        own = np.where(traces.step_id == step, scores.token, 0).sum(axis=1)
        np.testing.assert_allclose(own, scores.step[:, step], atol=TOLERANCE)
    assert not scores.token[traces.step_id < 0].any() and not scores.step[~traces.step_mask].any()
    assert scores.trace[2] == (how == "prod") and np.abs(scores.trace[:2]).min() > 1e-6
    assert model.network.spec.information in INFORMATION_LEVELS


def test_company_order_padding_and_packing_do_not_matter(model):
    scores = model(batch(LONG, SHORT))
    behind = batch(LONG, SHORT)
    behind.tokens[behind.segment == 0] = 2
    turned = model(batch(SHORT, LONG))
    alone, left, both = model(batch(LONG)), model(batch(LONG, SHORT, left=True)), model(packed())
    assert_same(model(behind), scores)
    assert_same(jax.tree.map(lambda x: x[1::-1], turned), jax.tree.map(lambda x: x[:2], scores))
    assert_same(jax.tree.map(lambda x: x[:1], alone), jax.tree.map(lambda x: x[:1], scores))
    np.testing.assert_allclose(left.trace, scores.trace, atol=TOLERANCE)
    np.testing.assert_allclose(left.step, scores.step, atol=TOLERANCE)
    np.testing.assert_allclose(both.step[0, :5], [*scores.step[0, :3], *scores.step[1, :2]], atol=TOLERANCE)


@pytest.mark.parametrize("step", [0, 1])
def test_the_score_of_a_step_does_not_see_later_steps(model, step):
    tokens, step_id = map(np.array, LONG)
    changed = np.where(step_id > step, (tokens + 4) % 13, tokens)
    whole, other = model(batch(LONG)), model(batch((changed, step_id)))
    np.testing.assert_allclose(whole.step[0, : step + 1], other.step[0, : step + 1], atol=TOLERANCE)
    assert (whole.step[0] != other.step[0]).any()


def test_gradients_are_finite_also_with_rows_of_padding(model):
    filled, nothing = (jax.device_get(model.program(model.params, rows)[0]) for rows in (batch(LONG, SHORT), batch()))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((filled, nothing)))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(filled)) > 1e-3
    assert not any(leaf.any() for leaf in jax.tree.leaves(nothing))


def test_a_folder_keeps_everything(model, tmp_path):
    config, network = model.config, model.network
    about = {"spec": network.spec, "tokenizer_json": "{}", "manifest": Provenance(seed=0)}
    save_folder(tmp_path / "model", params=model.params, network=config, **about)
    folder = load_folder(tmp_path / "model")
    assert folder.network == config and folder.network.make().spec == network.spec
    np.testing.assert_array_equal(model(batch(LONG, SHORT)).trace, model(batch(LONG, SHORT), folder.params).trace)


def test_one_program_serves_all_rows_and_parameters(model):
    model(batch(SHORT)), model(batch(LONG, LONG), model.random(1))
    assert model.traced == 1
