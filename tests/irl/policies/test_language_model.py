"""The sampler draws from the decoder's distribution, exactly, however its slots are filled."""

import itertools
from dataclasses import replace
from functools import lru_cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.domains.countdown.countdown import Countdown, demonstrations
from irl.policies import language_model
from irl.policies.base import Samples, Sampling
from irl.policies.language_model import LanguageModel, draw_token
from irl.policies.rollouts import token_mask, traces_of_samples
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch

CONFIG = DecoderConfig(
    vocab_size=5, num_layers=2, dim=16, num_heads=4, num_kv_heads=2, head_dim=8, hidden_dim=16, qk_norm=True
)
POLICY = LanguageModel(network=CONFIG)
STOPS = (2, 4)
# Three prompts of 4, 1 and 3 tokens; the fours behind them are padding that nobody may read.
PROMPTS = np.array([[1, 3, 0, 2], [1, 4, 4, 4], [1, 0, 3, 4]], np.int32)
LENGTHS = np.array([4, 1, 3], np.int32)


@lru_cache
def params():
    """Random parameters of a policy that is far from uniform."""
    rng = np.random.default_rng(3)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        match path[-1].key:
            case "kernel":
                return noise * leaf.shape[-2] ** -0.5
            case "embedding":
                return 0.2 * noise
            case _:
                return 1 + 0.3 * noise

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(CONFIG.make().init, jax.random.key(0)))


def draw(seed=0, prompts=PROMPTS, lengths=LENGTHS, *, n=20, slots=20, max_new=6, temperature=1.0) -> Samples:
    """Each choice of `n`, `slots`, `max_new` and of shapes compiles anew (seconds): few are used here."""
    sampling = Sampling(n, slots, max_new, STOPS)
    return jax.device_get(POLICY.sample(params(), jax.random.key(seed), prompts, lengths, sampling, temperature))


def teacher_forced(prompt, responses) -> np.ndarray:
    """log p(token) [responses, time] of up to 128 responses of equal length, by one plain forward pass."""
    responses = np.asarray(responses, np.int32)
    start, (count, new) = len(prompt), responses.shape
    shape = (128, 10)  # one shape for all: one compilation
    traces = TraceBatch(
        tokens=np.zeros(shape, np.int32),
        segment=np.ones(shape, np.int32),
        position=np.tile(np.arange(shape[1]), (shape[0], 1)),
        step_id=np.where(np.arange(shape[1]) < start, -1, 0) + np.zeros(shape, np.int32),
        step_mask=np.ones((shape[0], 1), bool),
        prompt_id=np.zeros(shape[0], int),
    )
    traces.tokens[:count, :start], traces.tokens[:count, start : start + new] = prompt, responses
    return np.asarray(POLICY.log_prob(params(), traces))[:count, start : start + new]


def prompt_of(p):
    return PROMPTS[p, : LENGTHS[p]]


# --- log-probabilities and shapes -------------------------------------------------------------------------


@pytest.mark.parametrize("slots", [1, 3, 20])
def test_every_prompt_gets_exactly_n_samples_that_end_where_they_say(slots):
    samples = draw(slots=slots)
    assert samples.tokens.shape == samples.log_prob.shape == (3, 20, 6)
    assert samples.length.shape == samples.ended.shape == (3, 20)
    assert (samples.length >= 1).all(), "a sample that was never drawn has no length"
    for tokens, length, ended in zip(
        samples.tokens.reshape(-1, 6), samples.length.ravel(), samples.ended.ravel(), strict=True
    ):
        assert not np.isin(tokens[: length - 1], STOPS).any()
        assert ended == (tokens[length - 1] in STOPS)
        assert ended or length == 6, "only the limit may cut a sample that did not stop"
        assert (tokens[length:] == 0).all()
    assert 0 < samples.ended.sum() < samples.ended.size
    assert set(STOPS) <= set(samples.tokens.ravel().tolist())


# --- who sees whom ----------------------------------------------------------------------------------------


def assert_same_samples(first: Samples, second: Samples):
    np.testing.assert_array_equal(first.tokens, second.tokens)
    np.testing.assert_array_equal(first.length, second.length)
    np.testing.assert_array_equal(first.ended, second.ended)
    np.testing.assert_allclose(first.log_prob, second.log_prob, atol=1e-5)  # float32 sums in another order


@pytest.mark.parametrize("slots", [1, 3])
def test_the_number_of_slots_does_not_change_the_samples(slots):
    assert_same_samples(draw(slots=slots), draw(slots=20))


def test_samples_of_a_prompt_depend_on_its_row_and_not_on_its_neighbours_or_padding():
    """Sample j of row p draws from fold_in(key, p, j): the same row number means the same stream.

    So row 0 of a ragged batch samples as it does alone in a wider array, and row 2 as it does behind other
    prompts; the same prompt at two rows of a batch gives different samples.
    """
    together = draw()
    wide = np.pad(PROMPTS[:1], ((0, 0), (0, 2)), constant_values=3)
    assert_same_samples(draw(prompts=wide, lengths=LENGTHS[:1]), jax.tree.map(lambda x: x[:1], together))
    others = np.array([[1, 0, 0, 0], [1, 3, 3, 0], [1, 0, 3, 2]], np.int32)
    behind_others = draw(prompts=others, lengths=np.array([2, 4, 3], np.int32))
    assert_same_samples(*(jax.tree.map(lambda x: x[2:], s) for s in (behind_others, together)))
    assert (behind_others.tokens[:2] != together.tokens[:2]).any(axis=(1, 2)).all()
    twice = draw(prompts=PROMPTS[[0, 0, 0]], lengths=LENGTHS[[0, 0, 0]])
    assert (twice.tokens[0] != twice.tokens[1]).any()


# --- the distribution -------------------------------------------------------------------------------------


def every_response(max_new):
    """All token sequences that a sampler with this limit can return."""
    for length in range(1, max_new + 1):
        for tokens in itertools.product(range(CONFIG.vocab_size), repeat=length):
            stops = [t for t, token in enumerate(tokens) if token in STOPS]
            if stops == [length - 1] or (not stops and length == max_new):
                yield tokens


def exact_distribution(p, max_new, temperature=1.0):
    """Probability of every possible response, from plain forward passes over all continuations."""
    prompt = prompt_of(p)
    tables = {}
    for length in range(max_new):
        prefixes = np.array(list(itertools.product(range(CONFIG.vocab_size), repeat=length + 1)), np.int32)
        last = teacher_forced(prompt, prefixes)[:, -1].astype(np.float64) / temperature
        table = last.reshape(-1, CONFIG.vocab_size)
        tables[length] = table - np.logaddexp.reduce(table, axis=1, keepdims=True)
    out = {}
    for tokens in every_response(max_new):
        index, total = 0, 0.0
        for t, token in enumerate(tokens):
            total += tables[t][index, token]
            index = index * CONFIG.vocab_size + token
        out[tokens] = np.exp(total)
    assert np.isclose(sum(out.values()), 1)
    return out


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_frequencies_are_the_exact_probabilities(temperature):
    """4,000 samples a prompt through 37 slots that are refilled: each response within 4 standard errors.

    Of 53 responses x 3 prompts a fair sampler has one outside with probability 1 %, and the seed is fixed.
    """
    n, max_new = 4000, 3
    samples = draw(7, n=n, slots=37, max_new=max_new, temperature=temperature)
    for p in range(len(PROMPTS)):
        exact = exact_distribution(p, max_new, temperature)
        counts = dict.fromkeys(exact, 0)
        for tokens, length in zip(samples.tokens[p].tolist(), samples.length[p], strict=True):
            counts[tuple(tokens[:length])] += 1
        probability = np.array(list(exact.values()))
        frequency = np.array(list(counts.values())) / n
        error = np.sqrt(probability * (1 - probability) / n)
        # Where fewer than 5 are expected, a count is not normal: allow one more or less.
        rare = (probability * n < 5) / n
        assert (np.abs(frequency - probability) <= 4 * error + rare).all()
        stopped = sum(q for tokens, q in exact.items() if len(tokens) < max_new)
        measured = (samples.length[p] < max_new).mean()
        assert 0.05 < stopped < 0.95
        assert abs(measured - stopped) <= 4 * np.sqrt(stopped * (1 - stopped) / n)


def test_a_low_temperature_is_greedy_and_keeps_log_probabilities_at_temperature_1():
    samples = draw(slots=3, temperature=1e-4)
    assert (samples.tokens == samples.tokens[:, :1]).all()
    for p in range(len(PROMPTS)):
        length, greedy = samples.length[p, 0], []
        for _ in range(length):
            choices = [[*greedy, token] for token in range(CONFIG.vocab_size)]
            greedy = choices[int(teacher_forced(prompt_of(p), choices)[:, -1].argmax())]
        assert samples.tokens[p, 0, :length].tolist() == greedy
        expected = teacher_forced(prompt_of(p), [greedy])[0]
        np.testing.assert_allclose(samples.log_prob[p, 0, :length], expected, atol=1e-4)


def test_draws_from_blocks_have_the_same_probabilities(monkeypatch):
    """Blocks of 3 of 11 tokens, and blocks of those, against the closed form; a token of probability 0 never comes."""
    monkeypatch.setattr(language_model, "NOISE_AT_ONCE", 3)
    monkeypatch.setattr(language_model, "BLOCK", 3)
    logits = jnp.array([0.0, 1.0, -1.0, 2.0, -jnp.inf, 0.5, -jnp.inf, -jnp.inf, -jnp.inf, 1.5, -2.0])
    n, p = 20_000, np.asarray(jax.nn.softmax(logits), np.float64)
    drawn = jax.vmap(draw_token, (0, None))(jax.random.split(jax.random.key(0), n), logits)
    found = np.bincount(drawn, minlength=11) / n
    assert (np.abs(found - p) <= 4 * np.sqrt(p * (1 - p) / n)).all()


# --- samples as traces ------------------------------------------------------------------------------------

ENCODER = Encoder(number_tokenizer(), 120, 8)


def samples_of(rows, max_new):
    """The rows of an encoder as if a policy had written their responses: prompts, lengths and samples."""
    heads = [row.step_id.index(0) for row in rows]
    prompts = np.zeros((len(rows), max(heads) + 3), np.int32)
    tokens = np.zeros((len(rows), 1, max_new), np.int32)
    length = np.zeros((len(rows), 1), np.int32)
    ended = np.zeros((len(rows), 1), bool)
    for i, (row, head) in enumerate(zip(rows, heads, strict=True)):
        response = row.tokens[head:]
        length[i] = min(len(response), max_new)
        tokens[i, 0, : length[i, 0]] = response[:max_new]
        prompts[i, :head], ended[i] = row.tokens[:head], len(response) <= max_new
    samples = Samples(tokens, length, ended, np.zeros(tokens.shape, np.float32))
    return jax.tree.map(jax.numpy.asarray, (prompts, np.array(heads, np.int32), samples))


@pytest.mark.parametrize("max_new", [90, 25])
def test_traces_of_samples_are_what_the_encoder_writes(max_new):
    """The same tokens, steps and positions as for the text; a sample that was cut is a prefix of it."""
    environment = Countdown()
    traces = list(demonstrations(environment, environment.problems("test"), 4, seed=0))
    traces += [environment.free_play(np.random.default_rng(1), size=2)]
    rows = ENCODER.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])
    prompts, lengths, samples = samples_of(rows, max_new)
    newline = token_mask(ENCODER.vocab_size, ENCODER.step_ends)
    ours = jax.jit(traces_of_samples, static_argnames="max_steps")(prompts, lengths, samples, newline, max_steps=8)
    cut = [
        type(row)(row.tokens[: h + max_new], row.step_id[: h + max_new]) for row, h in zip(rows, lengths, strict=True)
    ]
    assert any(len(a.tokens) < len(b.tokens) for a, b in zip(cut, rows, strict=True)) == (max_new == 25)
    theirs = ENCODER.batch(cut, range(len(rows)), length=prompts.shape[1] + max_new)
    for name in TraceBatch._fields:
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), err_msg=name)


def test_samples_of_one_prompt_stand_together_and_late_steps_share_the_last_id():
    end = 2
    newline = token_mask(5, (3,))
    assert newline.tolist() == [False, False, False, True, False]
    tokens = np.array([[[3, 4, 3, 0, 3, end], [4, end, 0, 0, 0, 0]], [[4, 4, 4, 4, 4, 4], [end, 0, 0, 0, 0, 0]]])
    samples = Samples(tokens, np.array([[6, 2], [6, 1]]), tokens[..., 0] > 0, np.zeros(tokens.shape, np.float32))
    prompts, lengths = np.array([[1, 3], [1, 0]]), np.array([2, 1])
    traces = traces_of_samples(*jax.tree.map(jax.numpy.asarray, (prompts, lengths, samples)), newline, max_steps=3)
    assert traces.step_id.tolist() == [
        [-1, -1, 0, 1, 1, 2, 2, 2],
        [-1, -1, 0, 0, -1, -1, -1, -1],
        [-1, 0, 0, 0, 0, 0, 0, -1],
        [-1, 0, -1, -1, -1, -1, -1, -1],
    ]
    assert traces.step_mask.tolist() == [[True] * 3] + [[True, False, False]] * 3
    assert traces.prompt_id.tolist() == [0, 0, 1, 1]
    assert traces.tokens[3].tolist() == [1, end, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("window", [2, 5])
def test_a_sliding_window_shorter_than_the_text(window):
    """The sampler's log-probabilities are those of one forward pass; greedy samples take its most likely tokens."""
    policy, size = LanguageModel(network=replace(CONFIG, sliding_window=window)), Sampling(30, 7, 9, (2,))
    for temperature in (1.0, 0.0):
        samples = policy.sample(params(), jax.random.key(2), PROMPTS, LENGTHS, size, temperature)
        traces = traces_of_samples(PROMPTS, LENGTHS, samples, token_mask(5, (2,)), max_steps=2)
        inside = np.arange(9) < np.asarray(samples.length)[..., None]
        log_prob, whole = (np.asarray(each.log_prob(params(), traces)) for each in (policy, POLICY))
        drawn = np.asarray(samples.log_prob)[inside]
        np.testing.assert_allclose(log_prob[np.asarray(traces.response)], drawn, atol=1e-4)
        assert np.abs(whole[np.asarray(traces.response)] - drawn).max() > 0.1
    assert (samples.tokens == samples.tokens[:, :1]).all()
    for token in range(5):  # at every position no other token is more likely
        other = traces._replace(tokens=jnp.where(jnp.arange(13) == LENGTHS[0], token, traces.tokens))
        first = np.asarray(policy.log_prob(params(), other))[0, LENGTHS[0]]
        assert first <= samples.log_prob[0, 0, 0] + 1e-4


def test_bfloat16_samples_have_the_log_probabilities_of_one_forward_pass():
    """Both round at other places: within the tolerance of tests/reward_models/test_bfloat16.py, here of logits."""
    policy, size = LanguageModel(network=replace(CONFIG, dtype="bfloat16")), Sampling(30, 7, 9, (2,))
    samples = policy.sample(params(), jax.random.key(2), PROMPTS, LENGTHS, size)
    traces = traces_of_samples(PROMPTS, LENGTHS, samples, token_mask(5, (2,)), max_steps=2)
    inside = np.arange(9) < np.asarray(samples.length)[..., None]
    narrow, wide = (np.asarray(each.log_prob(params(), traces)) for each in (policy, POLICY))
    response, drawn = np.asarray(traces.response), np.asarray(samples.log_prob)[inside]
    np.testing.assert_allclose(narrow[response], drawn, atol=0.05)
    assert np.abs(wide[response] - drawn).max() > 1e-3, "the sampler did compute in bfloat16"


def test_long_prompts_are_read_in_blocks(monkeypatch):
    """The window, beyond every text, makes this a program of its own."""
    expected = draw(slots=3)
    monkeypatch.setattr("reward_models.networks.decoder.LONG", 2)
    policy = LanguageModel(network=replace(CONFIG, sliding_window=100))
    found = policy.sample(params(), jax.random.key(0), PROMPTS, LENGTHS, Sampling(20, 3, 6, STOPS))
    assert_same_samples(jax.device_get(found), expected)


def test_ids_beyond_the_vocabulary_are_never_drawn():
    """A decoder may have more token ids than its tokenizer; the log-probability is over all of them."""
    size, key = Sampling(n=40, slots=40, max_new=6, stop=(2,)), jax.random.key(1)
    every = POLICY.sample(params(), key, PROMPTS, LENGTHS, size)
    some = POLICY.sample(params(), key, PROMPTS, LENGTHS, size._replace(vocabulary=3))
    assert every.tokens.max() == 4 and some.tokens.max() == 2
    same = np.asarray(every.tokens[..., 0] < 3)
    np.testing.assert_array_equal(every.tokens[..., 0][same], some.tokens[..., 0][same])
    np.testing.assert_array_equal(every.log_prob[..., 0][same], some.log_prob[..., 0][same])
