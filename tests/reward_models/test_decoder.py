"""The decoder against independent forward passes, and what must not change its answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models import config_json
from reward_models.networks.attention import attend
from reward_models.networks.decoder import DecoderConfig, RopeScaling, causal_mask, frequencies
from reward_models.networks.next_token import token_log_prob
from reward_models.types import TraceBatch

CONFIG = DecoderConfig(vocab_size=19, num_layers=2, dim=16, num_heads=4, num_kv_heads=2, head_dim=8, hidden_dim=24)
VARIANTS = {
    "llama": CONFIG,
    "untied": dataclasses.replace(CONFIG, tie_embeddings=False),
    "qwen3": dataclasses.replace(CONFIG, qk_norm=True, num_kv_heads=1, rope_theta=100.0),
    "qwen2": dataclasses.replace(CONFIG, attention_bias=True, num_kv_heads=4),
    "mistral": dataclasses.replace(CONFIG, sliding_window=3, norm_eps=1e-2),
    "llama3": dataclasses.replace(
        CONFIG,
        rope_theta=100.0,
        rope_scaling=RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=40),
    ),
}
WIDTH = 16
# Values here are of size 1 to 3 and pass through tens of float32 operations (each 6e-8 of its size).
TOLERANCE = 1e-5


def row(tokens, prompt=2):
    """(tokens, step ids): `prompt` tokens, then a step for every three tokens."""
    return np.array(tokens), np.array([-1] * prompt + [i // 3 for i in range(len(tokens) - prompt)])


def batch(*rows, width=WIDTH, left=False):
    """Rows padded with garbage tokens on one side."""
    count = len(rows)
    out = TraceBatch(
        tokens=np.full((count, width), 7),
        segment=np.zeros((count, width), int),
        position=np.zeros((count, width), int),
        step_id=np.full((count, width), -1),
        step_mask=np.ones((count, 5), bool),
        prompt_id=np.arange(count),
    )
    for i, (tokens, step_id) in enumerate(rows):
        n = len(tokens)
        at = slice(width - n, width) if left else slice(0, n)
        out.tokens[i, at], out.step_id[i, at] = tokens, step_id
        out.segment[i, at], out.position[i, at] = 1, np.arange(n)
    return out


LONG = row([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
SHORT = row([2, 7, 1, 8, 2, 8])


def random_params(config, seed=0):
    """Parameters of the right shapes; scales and biases are not the ones and zeros they start as."""
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape).astype(np.float32)
        match path[-1].key:
            case "kernel":
                return noise * leaf.shape[-2] ** -0.5
            case "scale":
                return 1 + 0.3 * noise
            case _:
                return 0.3 * noise

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(config.make().init, jax.random.key(0)))


PARAMS = random_params(CONFIG)


@jax.jit
def hidden_and_log_prob(params, traces):
    decoder = CONFIG.make().bind(params)
    return decoder.hidden(traces), token_log_prob(decoder, traces)


# --- attention --------------------------------------------------------------------------------------------


def naive_attention(q, k, v, mask):
    """In float64 numpy, one head at a time."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros(q.shape)
    for head in range(q.shape[2]):
        shared = head * k.shape[2] // q.shape[2]
        logits = np.einsum("btd,bsd->bts", q[:, :, head], k[:, :, shared]) / np.sqrt(q.shape[-1])
        weights = np.where(mask, np.exp(logits), 0)
        out[:, :, head] = weights / weights.sum(-1, keepdims=True) @ v[:, :, shared]
    return out


@pytest.mark.parametrize("heads, kv_heads, time, keys", [(4, 2, 5, 7), (3, 1, 6, 6), (2, 2, 1, 4)])
def test_attention_and_its_gradients_equal_references(heads, kv_heads, time, keys):
    rng = np.random.default_rng(heads)
    q, cotangent = rng.standard_normal((2, 3, time, heads, 8)).astype(np.float32)
    k, v = rng.standard_normal((2, 3, keys, kv_heads, 8)).astype(np.float32)
    mask = rng.random((3, time, keys)) < 0.5
    mask[:, :, 0] = True

    def reference(q, k, v, mask):
        return jax.nn.dot_product_attention(q, k, v, mask=mask[:, None])

    @jax.jit
    def value_and_grads(q, k, v, mask):
        results = []
        for function in (attend, reference):
            out, pull = jax.vjp(lambda q, k, v, f=function: f(q, k, v, mask), q, k, v)
            results.append((out, pull(cotangent)))
        return results

    ours, theirs = value_and_grads(q, k, v, mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=TOLERANCE), ours, theirs)
    np.testing.assert_allclose(ours[0], naive_attention(q, k, v, mask), atol=TOLERANCE)


@pytest.mark.parametrize("time", [128, 150, 260])
def test_causal_attention_in_blocks_equals_the_whole(time):
    """No block, a short last block, and two whole ones and a bit."""
    rng = np.random.default_rng(time)
    q, cotangent = rng.standard_normal((2, 2, time, 4, 8)).astype(np.float32)
    k, v = rng.standard_normal((2, 2, time, 2, 8)).astype(np.float32)
    mask = np.tril(rng.random((2, time, time)) < 0.5) | np.eye(time, dtype=bool)

    @jax.jit
    def value_and_grads(q, k, v, mask):
        results = []
        for causal in (True, False):
            out, pull = jax.vjp(lambda q, k, v, c=causal: attend(q, k, v, mask, causal=c), q, k, v)
            results.append((out, pull(cotangent)))
        return results

    blocks, whole = value_and_grads(q, k, v, mask)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=TOLERANCE), blocks, whole)
    np.testing.assert_allclose(blocks[0], naive_attention(q, k, v, mask), atol=TOLERANCE)


def test_a_query_without_keys_stays_finite_and_leaves_the_others_alone():
    q, k, v = np.random.default_rng(0).standard_normal((3, 1, 4, 2, 8)).astype(np.float32)
    mask = np.tril(np.ones((1, 4, 4), bool))
    empty = mask & (np.arange(4) < 3)[:, None]

    @jax.jit
    def read_first_two(q, k, v, mask):
        def loss(q, k, v):
            return jnp.sum(attend(q, k, v, mask)[:, :2] ** 2)

        return attend(q, k, v, mask), jax.grad(loss, (0, 1, 2))(q, k, v)

    full, gradient = read_first_two(q, k, v, mask)
    holed, holed_gradient = read_first_two(q, k, v, empty)
    assert np.isfinite(holed).all()
    np.testing.assert_array_equal(holed[:, :3], full[:, :3])
    jax.tree.map(np.testing.assert_array_equal, holed_gradient, gradient)


# --- a forward pass in float64 numpy, one token at a time -------------------------------------------------


def numpy_rms(x, scale, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale


def numpy_frequency(c, pair):
    """Radians per token of a pair, by the three cases of Llama 3.1."""
    half = c.head_dim // 2
    frequency = c.rope_theta ** (-pair / half)
    if c.rope_scaling is None:
        return frequency
    s, wavelength = c.rope_scaling, 2 * np.pi / frequency
    if wavelength > s.original_length / s.low_freq_factor:
        return frequency / s.factor
    if wavelength < s.original_length / s.high_freq_factor:
        return frequency
    smooth = (s.original_length / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor)
    return (1 - smooth) * frequency / s.factor + smooth * frequency


def numpy_rotate(x, position, c):
    """x [heads, head_dim] as complex numbers: pair j is (x_j, x_{j + half})."""
    half = x.shape[-1] // 2
    angle = position * np.array([numpy_frequency(c, pair) for pair in range(half)])
    turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag], axis=-1)


def numpy_block(c, p, x):
    """x [time, dim] of one trace through one block with parameters p."""

    def linear(name, h):
        return h @ p[name]["kernel"] + p[name].get("bias", 0.0)

    def heads(name, norm, h, count, position):
        rows = linear(name, h).reshape(count, c.head_dim)
        if norm and c.qk_norm:
            rows = numpy_rms(rows, p[norm]["scale"], c.norm_eps)
        return numpy_rotate(rows, position, c) if norm else rows

    out, keys, values = [], [], []
    for t, row in enumerate(x):
        h = numpy_rms(row, p["input_norm"]["scale"], c.norm_eps)
        q = heads("query", "query_norm", h, c.num_heads, t)
        keys.append(heads("key", "key_norm", h, c.num_kv_heads, t))
        values.append(heads("value", None, h, c.num_kv_heads, t))
        attended = []
        for head in range(c.num_heads):
            source = head * c.num_kv_heads // c.num_heads
            seen = slice(-(c.sliding_window or len(keys)), None)
            weights = np.exp([q[head] @ k[source] / np.sqrt(c.head_dim) for k in keys[seen]])
            mixed = sum(w * v[source] for w, v in zip(weights, values[seen], strict=True)) / weights.sum()
            attended.append(mixed)
        row = row + linear("output", np.concatenate(attended))
        h = numpy_rms(row, p["post_norm"]["scale"], c.norm_eps)
        gate = linear("gate", h)
        out.append(row + linear("down", gate / (1 + np.exp(-gate)) * linear("up", h)))
    return np.stack(out)


def numpy_decoder(c, params, tokens):
    """(hidden states, log-probabilities of the next token) of one trace."""
    params = jax.tree.map(lambda x: np.asarray(x, np.float64), params)
    x = params["embedding"][tokens]
    for layer in range(c.num_layers):
        x = numpy_block(c, jax.tree.map(lambda leaf: leaf[layer], params["blocks"]), x)  # noqa: B023
    x = numpy_rms(x, params["final_norm"]["scale"], c.norm_eps)
    logits = x @ (params["embedding"].T if c.tie_embeddings else params["head"]["kernel"])
    return x, logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_decoder_equals_an_independent_forward_pass(name):
    config = VARIANTS[name]
    params = random_params(config)

    @jax.jit
    def ours(params, traces):
        decoder = config.make().bind(params)
        hidden = decoder.hidden(traces)
        return hidden, jax.nn.log_softmax(decoder.logits(hidden))

    hidden, log_prob = ours(params, batch(LONG, SHORT))
    for i, (tokens, _) in enumerate((LONG, SHORT)):
        n = len(tokens)
        expected_hidden, expected_log_prob = numpy_decoder(config, params, tokens)
        assert np.abs(expected_hidden).max() > 0.5
        np.testing.assert_allclose(hidden[i, :n], expected_hidden, atol=TOLERANCE)
        np.testing.assert_allclose(log_prob[i, :n], expected_log_prob, atol=TOLERANCE)


def test_llama_3_2_scales_17_of_its_32_frequencies():
    """The 1B model: head width 64, theta 500,000, a context of 8,192 stretched by 32."""
    stretch = RopeScaling(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192)
    plain, scaled = frequencies(64, 5e5, None), frequencies(64, 5e5, stretch)
    assert (np.abs(scaled / plain - 1) > 1e-6).sum() == 17
    np.testing.assert_allclose(scaled[-1], plain[-1] / 32, rtol=1e-6)


def test_a_window_counts_tokens_of_the_own_segment():
    mask = causal_mask(jnp.array([[1, 1, 1, 2, 2, 0]]), 2)
    seen = [[0], [0, 1], [1, 2], [3], [3, 4], []]
    assert [np.flatnonzero(row).tolist() for row in mask[0]] == seen


@pytest.mark.parametrize("window", [None, 150])
def test_long_rows_are_computed_block_by_block(monkeypatch, window):
    """Hidden states and gradients of several segments, in a number of tokens that no block divides."""
    config = dataclasses.replace(CONFIG, sliding_window=window)
    rng, time = np.random.default_rng(0), 300
    segment = np.repeat([[1, 2, 3, 0], [1, 1, 2, 2]], 75, axis=1)
    after = None if window else np.where(segment == 3, 1, 0)
    tokens = rng.integers(0, CONFIG.vocab_size, (2, time))
    position = np.tile(np.arange(75), 4)[None].repeat(2, axis=0)
    arrays = TraceBatch(tokens, segment, position, segment - 1, np.ones((2, 3), bool), np.zeros(2, int), after=after)
    traces, there = jax.tree.map(jnp.asarray, arrays), jnp.asarray(segment > 0)[..., None]

    def loss(params):
        hidden = jnp.where(there, config.make().bind(params).hidden(traces), 0)
        return jnp.sum(jnp.sin(hidden)), hidden

    computed = jax.jit(jax.value_and_grad(loss, has_aux=True))
    expected = computed(PARAMS)
    monkeypatch.setattr("reward_models.networks.decoder.LONG", 256)
    jax.clear_caches()
    found = computed(PARAMS)
    np.testing.assert_allclose(found[0][1], expected[0][1], atol=TOLERANCE)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), found[1], expected[1])


def test_token_log_prob_reads_the_next_token_at_response_tokens_only():
    _, log_prob = hidden_and_log_prob(PARAMS, batch(LONG, SHORT))
    for i, (tokens, step_id) in enumerate((LONG, SHORT)):
        table = numpy_decoder(CONFIG, PARAMS, tokens)[1]
        expected = np.zeros(WIDTH)
        for t in np.flatnonzero(step_id >= 0):
            expected[t] = table[t - 1, tokens[t]]
        np.testing.assert_allclose(log_prob[i], expected, atol=TOLERANCE)


# --- what must not matter ---------------------------------------------------------------------------------


@pytest.mark.parametrize("changed", [1, 4, 10])
def test_hidden_states_do_not_see_the_future(changed):
    tokens, step_id = LONG
    other = np.where(np.arange(len(tokens)) < changed, tokens, (tokens + 5) % 19)
    before, after = hidden_and_log_prob(PARAMS, batch(LONG, (other, step_id)))[0]
    np.testing.assert_allclose(before[:changed], after[:changed], atol=TOLERANCE)
    assert np.abs(before[changed] - after[changed]).max() > 1e-2


def test_padding_side_order_and_company_do_not_matter():
    n, m = len(LONG[0]), len(SHORT[0])
    hidden, log_prob = hidden_and_log_prob(PARAMS, batch(LONG, SHORT))
    assert np.abs(hidden[0, :m] - hidden[1, :m]).max() > 1e-2
    left_hidden, left_log_prob = hidden_and_log_prob(PARAMS, batch(LONG, SHORT, left=True))
    swapped_hidden, swapped_log_prob = hidden_and_log_prob(PARAMS, batch(SHORT, LONG))
    alone_hidden, alone_log_prob = hidden_and_log_prob(PARAMS, batch(SHORT, width=len(SHORT[0])))
    for ours, left, swapped, alone in (
        (hidden, left_hidden, swapped_hidden, alone_hidden),
        (log_prob, left_log_prob, swapped_log_prob, alone_log_prob),
    ):
        np.testing.assert_allclose(left[0, WIDTH - n :], ours[0, :n], atol=TOLERANCE)
        np.testing.assert_allclose(left[1, WIDTH - m :], ours[1, :m], atol=TOLERANCE)
        np.testing.assert_allclose(swapped[1, :n], ours[0, :n], atol=TOLERANCE)
        np.testing.assert_allclose(swapped[0, :m], ours[1, :m], atol=TOLERANCE)
        np.testing.assert_allclose(alone[0], ours[1, :m], atol=TOLERANCE)


def test_packed_traces_do_not_see_each_other():
    n, m = len(LONG[0]), len(SHORT[0])
    hidden, log_prob = hidden_and_log_prob(PARAMS, batch(LONG, SHORT))
    one, two = batch(LONG, width=n), batch(SHORT, width=m)
    packed = TraceBatch(
        tokens=np.hstack([one.tokens, two.tokens]),
        segment=np.hstack([one.segment, 2 * two.segment]),
        position=np.hstack([one.position, two.position]),
        step_id=np.hstack([one.step_id, np.where(two.step_id < 0, -1, two.step_id + 5)]),
        step_mask=np.ones((1, 10), bool),
        prompt_id=np.zeros(1, int),
    )
    packed_hidden, packed_log_prob = hidden_and_log_prob(PARAMS, packed)
    for ours, alone in ((packed_hidden, hidden), (packed_log_prob, log_prob)):
        np.testing.assert_allclose(ours[0, :n], alone[0, :n], atol=TOLERANCE)
        np.testing.assert_allclose(ours[0, n:], alone[1, :m], atol=TOLERANCE)


def test_what_responses_share_stands_once():
    """A prompt of 4, responses of 3 and 5 that both come after it, and another trace in the same row."""
    prompt, first, second, other = [3, 1, 4, 1], [5, 9, 2], [6, 5, 3, 5, 8], [2, 7, 1]
    shared = TraceBatch(
        tokens=np.array([[*prompt, *first, *second, *other]]),
        segment=np.array([[1] * 4 + [2] * 3 + [3] * 5 + [4] * 3]),
        position=np.array([[*range(4), *range(4, 7), *range(4, 9), *range(3)]]),
        step_id=np.zeros((1, 15), int),
        step_mask=np.ones((1, 5), bool),
        prompt_id=np.zeros(1, int),
        after=np.array([[0] * 4 + [1] * 8 + [0] * 3]),
    )
    apart = batch(row([*prompt, *first]), row([*prompt, *second]), row(other), width=15)
    hidden, _ = hidden_and_log_prob(PARAMS, shared)
    expected, _ = hidden_and_log_prob(PARAMS, apart)
    np.testing.assert_allclose(hidden[0, :7], expected[0, :7], atol=TOLERANCE)
    np.testing.assert_allclose(hidden[0, 7:12], expected[1, 4:9], atol=TOLERANCE)
    np.testing.assert_allclose(hidden[0, 12:], expected[2, :3], atol=TOLERANCE)
    windowed = VARIANTS["mistral"].make().bind(random_params(VARIANTS["mistral"]))
    with pytest.raises(ValueError, match="give whole rows"):
        windowed.hidden(jax.tree.map(jnp.asarray, shared))


def test_the_program_does_not_grow_with_depth():
    traces = batch(SHORT)

    def program(layers):
        config = dataclasses.replace(CONFIG, num_layers=layers)
        abstract = jax.eval_shape(config.make().init, jax.random.key(0))

        def loss(params, traces):
            return token_log_prob(config.make().bind(params), traces).sum()

        return str(jax.make_jaxpr(jax.grad(loss))(abstract, traces)).splitlines()

    shallow, deep = program(12), program(24)  # as many digits: lines are broken alike
    assert len(shallow) > 100
    assert len(deep) == len(shallow)


# --- rematerialisation --------------------------------------------------------------------------------------


def on_device(*rows, **options):
    return jax.tree.map(jnp.asarray, batch(*rows, **options))


def value_and_gradient(config, traces):
    def loss(params):
        return (config.make().bind(params).hidden(traces) ** 2).mean()

    return jax.value_and_grad(loss)


@pytest.mark.parametrize("prefix", [None, jnp.array([-1, 3, 1, 4])])
def test_rematerialised_scores_and_gradients_are_the_same(prefix):
    traces = on_device(LONG, SHORT)._replace(prefix=prefix)
    kept, again = (
        jax.jit(value_and_gradient(dataclasses.replace(CONFIG, remat=remat), traces))(PARAMS) for remat in (False, True)
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6), again, kept)


def bytes_kept(remat, layers, width=64):
    """What the forward pass leaves for the backward pass, parameters among it."""
    config = dataclasses.replace(CONFIG, remat=remat, num_layers=layers)
    traces = on_device(LONG, SHORT, width=width)

    def hidden(params):
        return config.make().bind(params).hidden(traces)

    abstract = jax.eval_shape(config.make().init, jax.random.key(0))
    left = jax.tree.leaves(jax.eval_shape(lambda params: jax.vjp(hidden, params)[1], abstract))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in left)


def test_a_rematerialised_block_keeps_nothing_but_its_input():
    c, rows, width = CONFIG, 2, 64
    attention = 2 * c.dim * c.num_heads * c.head_dim + 2 * c.dim * c.num_kv_heads * c.head_dim
    weights = attention + 3 * c.dim * c.hidden_dim + 2 * c.dim
    assert bytes_kept(True, 3) - bytes_kept(True, 2) == 4 * (weights + rows * width * c.dim)
    attention_weights = 4 * rows * c.num_heads * width * width
    assert bytes_kept(False, 3) - bytes_kept(False, 2) > 4 * weights + attention_weights


def test_rematerialisation_saves_memory():
    traces = on_device(LONG, SHORT, width=128)

    def temporary(remat):
        config = dataclasses.replace(CONFIG, remat=remat, num_layers=8)
        abstract = jax.eval_shape(config.make().init, jax.random.key(0))
        compiled = jax.jit(value_and_gradient(config, traces)).lower(abstract).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    assert temporary(True) < temporary(False) / 2


def test_a_config_saved_before_there_was_rematerialisation_is_read():
    classes, config = {"DecoderConfig": DecoderConfig}, dataclasses.replace(CONFIG, remat=True)
    saved = config_json.encode(config, "network")
    assert config_json.decode(saved, classes, "network") == config
    del saved["remat"]
    assert config_json.decode(saved, classes, "network") == CONFIG
