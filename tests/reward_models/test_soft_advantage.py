"""Soft advantages: log-softmax of the logits of the decoder, invariant to what a state is worth."""

import jax
import numpy as np

from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import TraceBatch

DECODER = DecoderConfig(
    vocab_size=23,
    num_layers=2,
    dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    hidden_dim=16,
    tie_embeddings=False,
)
CONFIG = SoftAdvantageConfig(decoder=DECODER)
NETWORK = CONFIG.make()
WIDTH, STEPS, END = 20, 8, 2
TOLERANCE = 1e-5  # float32, token scores of 1 to 10 nats


def row(tokens, steps, prompt=2):
    """(tokens, step ids) of a prompt, then steps of the given lengths; the last one ends with the end token."""
    ids = [-1] * prompt + [s for s, n in enumerate(steps) for _ in range(n)]
    assert len(tokens) == len(ids)
    return np.array(tokens), np.array(ids)


LONG = row([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, END], [3, 1, 4, 2])
SHORT = row([3, 1, 8, 2, 8, 1, END], [2, 3])
ONE_STEP = row([3, 1, 8, END], [2])
ROWS = (LONG, SHORT, ONE_STEP)
EMPTY = (np.array([], int), np.array([-1]))


def batch(*rows, width=WIDTH, left=False):
    count = len(rows)
    out = TraceBatch(
        tokens=np.full((count, width), 7),
        segment=np.zeros((count, width), int),
        position=np.zeros((count, width), int),
        step_id=np.full((count, width), -1),
        step_mask=np.zeros((count, STEPS), bool),
        prompt_id=np.arange(count),
    )
    for i, (tokens, step_id) in enumerate(rows):
        at = slice(width - len(tokens), width) if left else slice(0, len(tokens))
        if len(tokens):
            out.tokens[i, at], out.step_id[i, at] = tokens, step_id
            out.segment[i, at], out.position[i, at] = 1, np.arange(len(tokens))
        out.step_mask[i, : max(step_id) + 1] = True
    return out


def parameters(seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(NETWORK.init, jax.random.key(0))
    return jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)


PARAMS = parameters(0)
traced = []


@jax.jit
def apply(params, traces):
    traced.append(traces.tokens.shape)
    decoder = CONFIG.module().bind(params)
    return NETWORK.apply(params, traces), decoder.logits(decoder.hidden(traces))


def scores_of(*rows, params=PARAMS, **layout):
    return jax.device_get(apply(params, batch(*rows, **layout))[0])


def log_softmax(logits):
    logits = np.asarray(logits, np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def test_scores_are_the_log_softmax_of_the_decoders_logits_summed_by_step():
    scores, logits = jax.device_get(apply(PARAMS, batch(*ROWS)))
    log_prob = log_softmax(logits)
    for i, (tokens, step_id) in enumerate(ROWS):
        for t, step in enumerate(step_id):
            expected = log_prob[i, t - 1, tokens[t]] if step >= 0 else 0
            np.testing.assert_allclose(scores.token[i, t], expected, atol=TOLERANCE)
        for step in range(max(step_id) + 1):
            own = [log_prob[i, t - 1, tokens[t]] for t in np.flatnonzero(step_id == step)]
            np.testing.assert_allclose(scores.step[i, step], sum(own), atol=TOLERANCE)
        whole = sum(log_prob[i, t - 1, tokens[t]] for t in np.flatnonzero(step_id >= 0))
        np.testing.assert_allclose(scores.trace[i], whole, atol=4 * TOLERANCE)
    assert scores.token[0, :12].min() < -3, "some tokens are unlikely, or nothing was compared"


def test_a_constant_per_state_changes_no_score():
    """Soft Q shifted by c(s), which is all that potential shaping does to it: c(s) is linear in the hidden state."""
    shift = 20 * np.random.default_rng(1).standard_normal((DECODER.dim, 1)).astype(np.float32)
    shifted = {**PARAMS, "head": {"kernel": PARAMS["head"]["kernel"] + shift}}
    scores, logits = jax.device_get(apply(PARAMS, batch(*ROWS)))
    other, moved = jax.device_get(apply(shifted, batch(*ROWS)))
    constant = (moved - logits)[0, : len(LONG[0])]
    np.testing.assert_allclose(constant.std(axis=-1), 0, atol=1e-4)
    assert np.ptp(constant[:, 0]) > 5, "the constant differs from state to state"
    for name in ("trace", "step", "token"):
        np.testing.assert_allclose(getattr(other, name), getattr(scores, name), atol=TOLERANCE, rtol=1e-5)


def test_a_constant_per_action_is_no_shift_and_changes_scores():
    bias = np.zeros((DECODER.dim, 23), np.float32)
    bias[:, 5] = 1
    tilted = {**PARAMS, "head": {"kernel": PARAMS["head"]["kernel"] + bias}}
    difference = scores_of(*ROWS, params=tilted).token - scores_of(*ROWS).token
    assert np.abs(difference).max() > 0.1


def test_the_end_token_is_counted_once():
    tokens, step_id = SHORT
    whole, without = scores_of(*ROWS), scores_of(LONG, (tokens[:-1], step_id[:-1]), ONE_STEP)
    end = whole.token[1, len(tokens) - 1]
    assert end < -1e-3
    np.testing.assert_allclose(whole.trace[1] - without.trace[1], end, atol=TOLERANCE)
    np.testing.assert_allclose(whole.step[1, 1] - without.step[1, 1], end, atol=TOLERANCE)
    behind = batch(*ROWS)
    behind.tokens[1, len(tokens) :] = END
    np.testing.assert_array_equal(jax.device_get(apply(PARAMS, behind)[0]).token, whole.token)
