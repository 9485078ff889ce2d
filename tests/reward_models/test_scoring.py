"""Bucketed scoring gives what one direct `apply` gives, with at most two compilations per bucket."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.scoring import make_score_fn
from reward_models.types import TraceBatch
from tests.linear_reward import LinearConfig

DECODER = DecoderConfig(vocab_size=17, num_layers=2, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=16)
NETWORKS = {"critic": CriticConfig(decoder=DECODER), "linear": LinearConfig(num_positions=6, vocab=17)}
BUCKETS, WIDTH, STEPS = (6, 10, 16), 21, 7


def traces_of(lengths):
    """Right-padded rows of two prompt tokens and steps of three tokens, with random garbage in the padding."""
    rng = np.random.default_rng(0)
    length = np.array(lengths)[:, None]
    time = np.arange(WIDTH)[None]
    inside = time < length
    step_id = np.where(inside & (time >= 2), (time - 2) // 3, -1)
    return TraceBatch(
        tokens=rng.integers(17, size=inside.shape),
        segment=inside.astype(np.int32),
        position=np.where(inside, time, 0),
        step_id=step_id,
        step_mask=np.arange(STEPS) <= step_id.max(1, keepdims=True),
        prompt_id=np.arange(len(lengths)),
    )


class Counted:
    """A network that counts how often its `apply` is traced and remembers with which shapes."""

    def __init__(self, name):
        network = NETWORKS[name].make()
        rng = np.random.default_rng(1)
        self.params = jax.tree.map(
            lambda leaf: 0.5 * rng.standard_normal(leaf.shape).astype(np.float32),
            jax.eval_shape(network.init, jax.random.key(0)),
        )
        self.direct = jax.jit(network.apply)
        self.shapes = []

        def apply(params, traces):
            self.shapes.append(traces.tokens.shape)
            return network.apply(params, traces)

        self.network = network._replace(apply=apply)


@pytest.mark.parametrize(
    "name, lengths, used",
    [
        # 20 and 21 tokens are over the last bucket and go to its next multiple, wider than the arrays.
        ("linear", (21, 3, 6, 7, 10, 4, 11, 16, 5, 9, 20, 3, 6), {6, 10, 16, 32}),
        ("critic", (16, 3, 6, 4, 14, 5, 3, 6, 11), {6, 16}),
    ],
)
def test_ragged_lengths_in_any_order_score_as_in_one_direct_batch(name, lengths, used):
    counted, traces = Counted(name), traces_of(lengths)
    score = make_score_fn(counted.network, tokens_per_batch=48, buckets=BUCKETS)
    expected = jax.device_get(counted.direct(counted.params, traces))
    assert np.abs(expected.trace).min() > 1e-3 and np.abs(expected.token).max() > 0.1
    for order in (np.arange(len(lengths)), np.random.default_rng(2).permutation(len(lengths))):
        scores = score(counted.params, jax.tree.map(lambda x: x[order], traces))  # noqa: B023
        for field in ("trace", "step", "token"):
            # float32; widths differ, so sums are taken in another order
            ours, direct = getattr(scores, field), getattr(expected, field)[order]
            np.testing.assert_allclose(ours, direct, atol=1e-5, err_msg=field)
    assert len(counted.shapes) == len(set(counted.shapes)), "no shape is compiled twice, whatever the order"
    assert {bucket for _, bucket in counted.shapes} == used
    for size, bucket in counted.shapes:
        full = max(48 // bucket, 1)
        assert size in (full, max(full // 8, 1)), "batches are full, or an eighth for the last few rows"


def test_any_number_of_traces_uses_the_same_programs():
    counted = Counted("linear")
    score = make_score_fn(counted.network, tokens_per_batch=48, buckets=BUCKETS)
    traces = traces_of([5] * 20)
    expected = np.asarray(counted.direct(counted.params, traces).trace)
    for count in (1, 5, 8, 9, 20):  # a batch of the bucket 6 has 8 rows
        scores = score(counted.params, jax.tree.map(lambda x: x[:count], traces))  # noqa: B023
        np.testing.assert_allclose(scores.trace, expected[:count], atol=1e-5)
    assert sorted(counted.shapes) == [(1, 6), (8, 6)]


def test_new_parameters_give_new_scores_without_compiling():
    counted = Counted("linear")
    score = make_score_fn(counted.network, tokens_per_batch=48, buckets=BUCKETS)
    traces = traces_of([5, 3, 6])
    first = score(counted.params, traces).trace
    compiled = len(counted.shapes)
    second = score(jax.tree.map(lambda x: 2 * x, counted.params), traces).trace
    np.testing.assert_allclose(second, 2 * first, atol=1e-5)
    assert len(counted.shapes) == compiled


def test_rows_of_padding_and_no_rows_at_all():
    counted = Counted("linear")
    score = make_score_fn(counted.network, tokens_per_batch=48, buckets=BUCKETS)
    scores = score(counted.params, traces_of([0, 5, 0]))
    assert scores.trace[0] == scores.trace[2] == 0 and scores.trace[1] != 0
    nothing = score(counted.params, traces_of([]))
    assert nothing.trace.shape == (0,) and nothing.token.shape == (0, WIDTH)


def prompted(prompts, responses):
    """Rows of the given prompts (token lists) and random responses of so many tokens, two steps each."""
    rng = np.random.default_rng(3)
    width = max(map(len, prompts)) + max(responses)
    tokens, step_id = np.zeros((len(prompts), width), np.int32), np.full((len(prompts), width), -1, np.int32)
    for row, (prompt, count) in enumerate(zip(prompts, responses, strict=True)):
        tokens[row, : len(prompt) + count] = [*prompt, *rng.integers(17, size=count)]
        step_id[row, len(prompt) : len(prompt) + count] = np.arange(count) >= count // 2
    length = np.array([len(p) + n for p, n in zip(prompts, responses, strict=True)])[:, None]
    inside = np.arange(width) < length
    return TraceBatch(
        tokens=tokens,
        segment=inside.astype(np.int32),
        position=np.where(inside, np.arange(width), 0).astype(np.int32),
        step_id=step_id,
        step_mask=np.ones((len(prompts), 2), bool),
        prompt_id=np.zeros(len(prompts), np.int32),
    )


def test_a_prompt_of_many_rows_is_computed_once():
    """Same scores as whole rows; nine of the twelve rows go through the network without their 45 prompt tokens."""
    rng = np.random.default_rng(4)
    long, other, brief = (rng.integers(17, size=n).tolist() for n in (45, 45, 12))
    prompts = [long, other, brief, long, long, long, brief, long, other, brief, long, long]
    traces = prompted(prompts, [3, 6, 5, 4, 2, 7, 3, 3, 4, 5, 6, 2])
    counted = Counted("critic")
    assert counted.network.sees_prefix
    score = make_score_fn(counted.network, tokens_per_batch=64)
    expected, found = jax.device_get(counted.direct(counted.params, traces)), score(counted.params, traces)
    for field in ("trace", "step", "token"):
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), atol=1e-5, err_msg=field)
    assert np.abs(expected.trace).min() > 1e-3
    assert min(width for _, width in counted.shapes) == 32 < max(width for _, width in counted.shapes)


def test_other_prompts_of_like_length_compile_nothing_new():
    rng, counted = np.random.default_rng(5), Counted("critic")
    score = make_score_fn(counted.network, tokens_per_batch=64)
    for length in (41, 40, 46):
        score(counted.params, prompted([rng.integers(17, size=length).tolist()] * 5, [3, 4, 5, 6, 7]))
    assert len(counted.shapes) == len(set(counted.shapes))


def test_a_window_leaves_prompts_where_they_are():
    windowed = CriticConfig(decoder=replace(DECODER, sliding_window=4)).make()
    params = windowed.init(jax.random.key(0))
    assert not windowed.sees_prefix
    traces = prompted([[1, 2, 3] * 14] * 5, [3, 4, 5, 6, 7])
    found, expected = make_score_fn(windowed)(params, traces), jax.jit(windowed.apply)(params, traces)
    np.testing.assert_allclose(found.trace, expected.trace, atol=1e-5)
    with pytest.raises(ValueError, match="score whole rows"):
        windowed.apply(params, traces._replace(prefix=jnp.zeros(4, int)))
