"""Readings by hand on given logits; every head on a decoder: what must not matter, and what must be equal."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import (
    HeadedDecoderConfig,
    LastToken,
    LinearHead,
    MLPHead,
    PrefixValue,
    StepEnds,
    VocabularyHead,
    from_critic,
)
from reward_models.records import InputError
from reward_models.types import ScoreSpec, TraceBatch

DECODER = DecoderConfig(vocab_size=13, num_layers=1, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12)
CONFIGS = {
    "scalar": HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken()),
    "mlp": HeadedDecoderConfig(decoder=DECODER, head=MLPHead(labels=2), read=StepEnds(aggregate="min")),
    "tokens": HeadedDecoderConfig(
        decoder=DECODER,
        head=LinearHead(labels=3, bias=True),
        read=StepEnds(label=2, scale="probability", aggregate="prod", marker=9),
    ),
    "words": HeadedDecoderConfig(decoder=DECODER, head=VocabularyHead(tokens=(4, 2)), read=StepEnds()),
    "value": HeadedDecoderConfig(decoder=DECODER, head=LinearHead(bias=True), read=PrefixValue()),
}
STEPS, WIDTH, PAD = 3, 10, 0
LONG = ([3, 1, 4, 9, 5, 9, 2, 9], [-1, -1, 0, 0, 1, 1, 2, 2])
SHORT = ([3, 1, 9, 7], [-1, 0, 0, 0])
TOLERANCE = 1e-5


def batch(*rows, width=WIDTH, left=False):
    """Rows of (tokens, step ids), padded on one side."""
    size = (len(rows), width)
    out = TraceBatch(
        tokens=np.full(size, PAD),
        segment=np.zeros(size, int),
        position=np.zeros(size, int),
        step_id=np.full(size, -1),
        step_mask=np.zeros((len(rows), STEPS), bool),
        prompt_id=np.arange(len(rows)),
    )
    for i, (tokens, step_id) in enumerate(rows):
        n = len(tokens)
        at = slice(width - n, width) if left else slice(0, n)
        out.tokens[i, at], out.step_id[i, at], out.segment[i, at], out.position[i, at] = (
            tokens,
            step_id,
            1,
            np.arange(n),
        )
        out.step_mask[i, : max(step_id) + 1] = True
    return jax.tree.map(jnp.asarray, out)


def packed():
    """LONG and SHORT in one row of 12 tokens."""
    one, two = batch(LONG, width=8), batch(SHORT, width=4)
    return TraceBatch(
        tokens=jnp.hstack([one.tokens, two.tokens]),
        segment=jnp.hstack([one.segment, 2 * two.segment]),
        position=jnp.hstack([one.position, two.position]),
        step_id=jnp.hstack([one.step_id, jnp.where(two.step_id < 0, -1, two.step_id + STEPS)]),
        step_mask=jnp.hstack([one.step_mask, two.step_mask]),
        prompt_id=jnp.zeros(1, int),
    )


def counting(traces, labels=1):
    """Logits that say where they stand: label k at token t is t + 100 k."""
    return (
        jnp.arange(float(traces.tokens.shape[1]))[:, None]
        + 100.0 * jnp.arange(labels)
        + jnp.zeros((len(traces.tokens), 1, 1))
    )


def nonzero(row):
    return {int(t): float(row[t]) for t in np.flatnonzero(row)}


# --- readings ---------------------------------------------------------------------------------------------


def test_the_last_token_is_that_of_the_segment():
    right, left, both = batch(LONG, SHORT), batch(LONG, SHORT, left=True), packed()
    scores = LastToken(label=1).token_scores(counting(right, 2), right)
    assert [nonzero(row) for row in scores] == [{7: 107.0}, {3: 103.0}]
    assert [nonzero(row) for row in LastToken().token_scores(counting(left), left)] == [{9: 9.0}, {9: 9.0}]
    assert nonzero(LastToken().token_scores(counting(both), both)[0]) == {7: 7.0, 11: 11.0}


def test_the_last_token_that_is_not_skipped_is_booked_on_the_last_step():
    """Read before the skipped end tokens, even in the prompt; a trace of nothing else scores 0."""
    ended = ([3, 1, 4, 7, 7], [-1, 0, 0, 0, 0])
    empty = ([3, 1, 7], [-1, -1, 0])
    nothing = ([7, 7], [-1, 0])
    traces = batch(ended, empty, nothing, SHORT, LONG)
    scores = LastToken(skip=7).token_scores(counting(traces), traces)
    assert [nonzero(row) for row in scores] == [{4: 2.0}, {2: 1.0}, {}, {3: 2.0}, {7: 7.0}]
    assert LastToken(skip=7).token_scores(counting(packed()), packed())[0, 11] == 10.0


def test_step_ends_and_markers():
    traces = batch(LONG, SHORT)
    logits = jnp.stack([jnp.zeros((2, WIDTH)), jnp.full((2, WIDTH), np.log(3.0))], axis=-1)
    read = StepEnds(scale="probability").token_scores(logits, traces)
    assert [list(nonzero(row)) for row in read] == [[3, 5, 7], [3]]
    np.testing.assert_allclose(read[0, jnp.array([3, 5, 7])], 0.75, rtol=1e-6)
    np.testing.assert_allclose(StepEnds(label=0).token_scores(logits, traces)[1, 3], np.log(0.25), rtol=1e-6)
    np.testing.assert_allclose(StepEnds().token_scores(logits[..., 1:], traces)[1, 3], np.log(0.75), rtol=1e-6)
    marked = StepEnds(marker=9).token_scores(logits, traces)
    assert [list(nonzero(row)) for row in marked] == [[3, 5, 7], [2]]
    assert list(nonzero(StepEnds(marker=1).token_scores(logits, traces)[0])) == []


def test_values_are_told_before_and_after_every_token():
    traces = packed()
    logits = jnp.array([[5.0, 1, 2, 4, 8, 7, 7, 9, 30, 20, 50, 40]])[..., None]
    token = PrefixValue().token_scores(logits, traces)
    np.testing.assert_allclose(token[0], [0, 0, 1, 2, 4, -1, 0, 2, 0, -10, 30, -10])
    all_response = traces._replace(step_id=jnp.maximum(traces.step_id, 0))
    assert PrefixValue().token_scores(logits, all_response)[0, jnp.array([0, 8])].tolist() == [5, 30]
    assert PrefixValue().prefix_value(logits, batch(LONG, width=12)).tolist()[0][-5:] == [9, 0, 0, 0, 0]


# --- on a decoder -----------------------------------------------------------------------------------------


def random_params(config):
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32),
        jax.eval_shape(config.make().init, jax.random.key(0)),
    )


def test_what_a_network_declares():
    assert {name for name, config in CONFIGS.items() if not config.make().sees_prefix} == {"value"}
    specs = {name: config.make().spec for name, config in CONFIGS.items()}
    assert specs["mlp"] == ScoreSpec("reward", "min", "preferences")
    assert specs["value"] == ScoreSpec("value", "sum", "preferences")
    assert "head" not in random_params(CONFIGS["words"])


def test_value_steps_are_differences_of_prefix_values():
    config = CONFIGS["value"]
    scores = config.make().apply(random_params(config), batch(LONG))
    value = scores.prefix_value[0]
    np.testing.assert_allclose(
        scores.step[0], [value[4] - value[2], value[6] - value[4], value[8] - value[6]], atol=1e-5
    )


def test_words_are_read_from_the_language_model():
    config = CONFIGS["words"]
    params = random_params(config)
    decoder = DECODER.make().bind(params["trunk"])
    logits = np.asarray(decoder.logits(decoder.hidden(batch(SHORT))))[0, 3, [4, 2]]
    scores = config.make().apply(params, batch(SHORT))
    np.testing.assert_allclose(scores.step[0, 0], -np.logaddexp(0, logits[0] - logits[1]), rtol=1e-5)


def test_the_inner_layer_of_an_mlp_is_rectified():
    config = CONFIGS["mlp"]
    params, traces = random_params(config), batch(SHORT)
    hidden = DECODER.make().bind(params["trunk"]).hidden(traces)
    inner, outer = params["head"]["inner"], params["head"]["outer"]
    expected = jnp.maximum(hidden @ inner["kernel"] + inner["bias"], 0) @ outer["kernel"] + outer["bias"]
    np.testing.assert_allclose(config.module().bind(params).logits(traces), expected, rtol=1e-4, atol=1e-4)


def test_a_step_critic_is_a_token_classifier():
    critic = CriticConfig(decoder=DECODER, aggregate="min", information="step labels")
    params = random_params(critic)
    config, moved = from_critic(critic, params)
    ours, theirs = critic.make().apply(params, batch(LONG, SHORT)), config.make().apply(moved, batch(LONG, SHORT))
    np.testing.assert_allclose(ours.trace, theirs.trace, atol=TOLERANCE)
    np.testing.assert_allclose(ours.token, theirs.token, atol=TOLERANCE)
    assert config.make().spec == critic.make().spec


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StepEnds(scale="odds"), "scale: expected 'log-probability' or 'probability', got 'odds'"),
        (lambda: StepEnds(aggregate="prod"), "'prod' multiplies probabilities"),
        (
            lambda: HeadedDecoderConfig(decoder=DECODER, head=LinearHead(labels=2), read=LastToken(label=2)),
            r"label: the head has 2 labels, 0 to 1; got 2",
        ),
        (lambda: dataclasses.replace(CONFIGS["tokens"], read=StepEnds(label=-1)), "label: expected at least 0, got -1"),
        (
            lambda: HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken(label=99)),
            "label: the head has 1 label, which is 0; got 99",
        ),
        (
            lambda: HeadedDecoderConfig(decoder=DECODER, head=VocabularyHead(tokens=(10**6,)), read=LastToken()),
            "head.tokens: expected ids below vocab_size",
        ),
        (lambda: VocabularyHead(tokens=()), "tokens"),
        (lambda: LinearHead(labels=0), "labels: expected at least 1, got 0"),
    ],
)
def test_configs_that_make_no_sense(make, message):
    with pytest.raises(InputError, match=message):
        make()
