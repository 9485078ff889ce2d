"""Lowest regret: against a loop over tokens, and what a judge of digits must not look at."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.regret import RegretConfig
from reward_models.records import InputError
from reward_models.types import TraceBatch

DECODER = DecoderConfig(vocab_size=12, num_layers=2, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32)
JUDGED = (3, 4, 5)


def traces(rng, rows=3, time=14, steps=4):
    tokens = rng.integers(0, 12, (rows, time)).astype(np.int32)
    step_id = np.tile(np.array([-1, -1, 0, 0, 0, 1, 1, 2, 2, 2, 2, 3, -1, -1], np.int32), (rows, 1))
    segment = np.tile(np.array([1] * 12 + [0] * 2, np.int32), (rows, 1))
    position = np.arange(time, dtype=np.int32) * segment
    return TraceBatch(tokens, segment, position, step_id, np.ones((rows, steps), bool), np.zeros(rows, np.int32))


def test_scores_are_those_of_a_loop_over_tokens():
    batch, network = traces(np.random.default_rng(0)), RegretConfig(decoder=DECODER, judged=JUDGED).make()
    params = network.init(jax.random.key(0))
    scores = jax.jit(network.apply)(params, batch)
    decoder = DECODER.make().bind(params)
    logits = np.asarray(jax.nn.log_softmax(decoder.logits(decoder.hidden(jax.tree.map(jnp.asarray, batch)))))
    expected = np.zeros((3, 4))
    for row in range(3):
        for t in range(1, 14):
            step, token = batch.step_id[row, t], batch.tokens[row, t]
            if step >= 0 and token in JUDGED:
                regret = logits[row, t - 1, token] - logits[row, t - 1].max()
                expected[row, step] = min(expected[row, step], regret)
    assert (expected < -0.1).any()
    np.testing.assert_allclose(scores.step, expected, atol=1e-5)
    np.testing.assert_allclose(scores.trace, expected.min(axis=1), atol=1e-5)
    by_step = [[scores.token[r][batch.step_id[r] == s].sum() for s in range(4)] for r in range(3)]
    np.testing.assert_allclose(by_step, expected, atol=1e-5)


def test_only_judged_tokens_count():
    """A step without them scores 0, and the likeliest token everywhere has no regret."""
    batch = traces(np.random.default_rng(1))
    network = RegretConfig(decoder=DECODER, judged=(11,)).make()
    params = network.init(jax.random.key(1))
    without = batch._replace(tokens=np.where(batch.tokens == 11, 10, batch.tokens))
    np.testing.assert_array_equal(jax.jit(network.apply)(params, without).step, 0)
    every = jax.jit(RegretConfig(decoder=DECODER, judged=tuple(range(12))).make().apply)(params, batch).step
    assert (every <= 0).all() and (every < 0).any()


@pytest.mark.parametrize(
    "judged, message",
    [
        ((), "judged: expected ids below 12, at least one"),
        ((12,), "judged: expected ids below 12, at least one"),
        ((-1,), "judged.0: expected at least 0, got -1"),
    ],
)
def test_tokens_that_are_none_are_refused(judged, message):
    with pytest.raises(InputError, match=message):
        RegretConfig(decoder=DECODER, judged=judged)
