"""Advantages: log-probabilities centred in every state."""

import jax
import jax.numpy as jnp
import numpy as np

from reward_models.networks.advantage import AdvantageConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch

WORDS, PROMPT, TIME = 5, 2, 6
DECODER = DecoderConfig(
    vocab_size=WORDS,
    num_layers=1,
    dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    hidden_dim=16,
    tie_embeddings=False,
)
NETWORK = AdvantageConfig(decoder=DECODER).make()
PARAMS = jax.tree.map(lambda leaf: 4 * leaf, NETWORK.init(jax.random.key(0)))


def rows(tokens):
    """Traces without padding: a prompt of two tokens, a step of one token and a step of all others."""
    count, time = tokens.shape
    steps = np.array([-1] * PROMPT + [0] + [1] * (time - PROMPT - 1))
    every = (count, time)
    return TraceBatch(
        tokens,
        np.ones(every, int),
        np.broadcast_to(np.arange(time), every),
        np.broadcast_to(steps, every),
        np.ones((count, 2), bool),
        np.zeros(count, int),
    )


def score(tokens, params=PARAMS):
    """Scores and log-probabilities of all next tokens."""
    traces = jax.tree.map(jnp.asarray, rows(tokens))
    decoder = DECODER.make().bind(params)
    logits = np.asarray(decoder.logits(decoder.hidden(traces)), np.float64)
    log_prob = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return jax.device_get(NETWORK.apply(params, traces)), log_prob


def test_a_token_scores_its_log_probability_plus_the_entropy():
    tokens = np.random.default_rng(0).integers(WORDS, size=(4, TIME))
    scores, log_prob = score(tokens)
    entropy = -(np.exp(log_prob) * log_prob).sum(-1)
    for time in range(PROMPT, TIME):
        taken = log_prob[np.arange(4), time - 1, tokens[:, time]]
        np.testing.assert_allclose(scores.token[:, time], taken + entropy[:, time - 1], atol=1e-5)
    assert (scores.token[:, :PROMPT] == 0).all()
    np.testing.assert_allclose(scores.step[:, 1], scores.token[:, PROMPT + 1 :].sum(1), atol=1e-5)
    np.testing.assert_allclose(scores.trace, scores.step.sum(1), atol=1e-5)


def test_the_score_of_all_continuations_has_expectation_zero():
    """Exact expectation over every continuation of three tokens, for a peaked model."""
    ends = np.stack(np.meshgrid(*[np.arange(WORDS)] * 3, indexing="ij"), -1).reshape(-1, 3)
    tokens = np.concatenate([np.tile([[1, 3]], (len(ends), 1)), ends], axis=1)
    scores, log_prob = score(tokens)
    taken = sum(log_prob[np.arange(len(ends)), t - 1, tokens[:, t]] for t in range(2, 5))
    assert np.exp(taken).sum().round(6) == 1 and scores.trace.std() > 1
    np.testing.assert_allclose((np.exp(taken) * scores.trace).sum(), 0, atol=1e-5)


def test_a_constant_per_state_changes_no_score():
    shift = 20 * np.random.default_rng(1).standard_normal((DECODER.dim, 1)).astype(np.float32)
    shifted = {**PARAMS, "head": {"kernel": PARAMS["head"]["kernel"] + shift}}
    tokens = np.random.default_rng(2).integers(WORDS, size=(3, TIME))
    before, log_prob = score(tokens)
    after, _ = score(tokens, shifted)
    # logits of size 100 in float32 have a spacing of 8e-6, and a token adds several of them
    np.testing.assert_allclose(after.token, before.token, atol=2e-4)
    assert np.abs(log_prob).max() > 1
