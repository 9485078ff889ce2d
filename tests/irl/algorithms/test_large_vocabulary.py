"""Losses and scores over a large vocabulary: no array of [rows, time, vocabulary], and the same numbers in blocks."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.grpo import Grpo, GrpoBatch
from irl.algorithms.sft import next_token_loss
from irl.policies.language_model import LanguageModel
from irl.sharding import make_mesh, place, shard_batch
from reward_models.networks import next_token
from reward_models.networks.advantage import AdvantageConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.regret import RegretConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import TraceBatch

SMALL = DecoderConfig(vocab_size=40, num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=16)
ROWS, TIME, PROMPT = 4, 17, 6


def batch(rows=ROWS, time=TIME, vocab=SMALL.vocab_size):
    """Prompts of 6 tokens, then responses of various lengths; the first row has none, the last is packed."""
    rng = np.random.default_rng(0)
    length = np.linspace(PROMPT, time, rows).astype(int)
    segment = (np.arange(time) < length[:, None]).astype(np.int32)
    segment[-1, time // 2 :] = 2
    step_id = np.where((np.arange(time) >= PROMPT) & (segment > 0), np.arange(time) % 3, -1)
    return TraceBatch(
        rng.integers(vocab, size=(rows, time), dtype=np.int32),
        segment,
        np.arange(time, dtype=np.int32) * segment,
        step_id.astype(np.int32),
        np.ones((rows, 3), bool),
        np.zeros(rows, np.int32),
    )


def score(network):
    def of(config, params, traces):
        return network(config).make().apply(params, traces).token

    return of


def sft(config, params, traces):
    return jnp.stack(next_token_loss(config.make().bind(params), traces))


def log_prob(config, params, traces):
    return LanguageModel(network=config).log_prob(params, traces)


def kl(config, params, traces):
    """Log-probabilities, and the divergence from other parameters."""
    reference = jax.tree.map(lambda leaf: jax.lax.stop_gradient(1.3 * leaf), params)
    return jnp.stack(LanguageModel(network=config).log_prob_and_kl(params, reference, traces))


CASES = {
    "soft advantage": score(lambda c: SoftAdvantageConfig(decoder=c)),
    "advantage": score(lambda c: AdvantageConfig(decoder=c)),
    "regret": score(lambda c: RegretConfig(decoder=c, judged=(3, 5, 6, 7, 8, 9))),
    "sft": sft,
    "kl": kl,
}


def value_and_gradient(case, config):
    """(mean, values), gradient of the mean."""

    def loss(params, traces):
        values = case(config, params, traces)
        return values.mean(), values

    return jax.value_and_grad(loss, has_aux=True)


def sizes(jaxpr):
    """The number of entries of every float32 array of a program, and of the programs inside it."""
    for equation in jaxpr.eqns:
        yield from (v.aval.size for v in equation.outvars if v.aval.dtype == jnp.float32)
        for value in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            inner = value.jaxpr if hasattr(value, "jaxpr") else value
            if hasattr(inner, "eqns"):
                yield from sizes(inner)


def assert_in_blocks(function, *args):
    largest = max(sizes(jax.make_jaxpr(function)(*args).jaxpr))
    assert next_token.LOGITS_AT_ONCE / 2 < largest <= next_token.LOGITS_AT_ONCE


LARGE = replace(SMALL, vocab_size=49_152)
WIDE = batch(16, 256, LARGE.vocab_size)  # 200 million logits


@pytest.mark.parametrize("case", [*CASES.values(), log_prob])
def test_no_array_of_all_logits_exists(case):
    params = jax.eval_shape(LARGE.make().init, jax.random.key(0))
    assert_in_blocks(lambda *args: case(LARGE, *args), params, WIDE)
    assert_in_blocks(value_and_gradient(case, LARGE), params, WIDE)


def test_no_array_of_all_logits_exists_in_grpo():
    params = jax.eval_shape(LARGE.make().init, jax.random.key(0))
    wide = GrpoBatch(WIDE, np.zeros(16, np.float32), WIDE)

    def step(params, batch):
        algorithm = Grpo().make(LanguageModel(network=LARGE), params)
        return algorithm.step(algorithm.init(jax.random.key(0)), batch, jax.random.key(0))

    assert_in_blocks(step, params, wide)


def parameters(config):
    return jax.tree.map(lambda leaf: 2 * leaf, config.make().init(jax.random.key(1)))


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, expected)


@pytest.fixture
def limit(monkeypatch):
    """Call it to take three positions of each row at once: six blocks, of which the last has no response."""
    return lambda: monkeypatch.setattr(next_token, "LOGITS_AT_ONCE", 3 * ROWS * SMALL.vocab_size)


@pytest.mark.parametrize("name, tied", [*zip(CASES, [True, False, True, False, True], strict=True)])
def test_blocks_change_no_value_and_no_gradient(name, tied, limit):
    config = replace(SMALL, tie_embeddings=tied)
    case, params, traces = CASES[name], parameters(config), batch()
    expected = jax.device_get(jax.jit(value_and_gradient(case, config))(params, traces))
    limit()
    found = jax.jit(value_and_gradient(case, config))(params, traces)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[1])) > 0.01
    assert_close(found, expected)
    assert max(sizes(jax.make_jaxpr(lambda *args: case(config, *args))(params, traces).jaxpr)) < traces.tokens.size * 40


def test_a_batch_without_responses_scores_0(limit):
    limit()
    traces = batch()._replace(step_id=np.full((ROWS, TIME), -1, np.int32))
    found = jax.jit(value_and_gradient(CASES["advantage"], SMALL))(parameters(SMALL), traces)
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(found))


def test_blocks_on_a_mesh(limit):
    limit()
    mesh, params = make_mesh(2, 1, 2), parameters(SMALL)
    expected = jax.device_get(jax.jit(value_and_gradient(kl, SMALL))(params, batch()))
    with jax.set_mesh(mesh):
        found = jax.jit(value_and_gradient(kl, SMALL))(place(mesh, params), shard_batch(mesh, batch()))
    assert_close(jax.device_get(found), expected)
