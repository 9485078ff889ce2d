"""The decoder against independent forward passes, and what must not change its answers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.networks.attention import attend
from reward_models.networks.decoder import Decoder, DecoderConfig, token_log_prob
from reward_models.types import TraceBatch

CONFIG = DecoderConfig(
    vocab_size=19, num_layers=2, dim=16, num_heads=4, num_kv_heads=2, head_dim=8, hidden_dim=24
)
VARIANTS = {
    "llama": CONFIG,
    "untied": dataclasses.replace(CONFIG, tie_embeddings=False),
    "qwen3": dataclasses.replace(CONFIG, qk_norm=True, num_kv_heads=1, rope_theta=100.0),
    "qwen2": dataclasses.replace(CONFIG, attention_bias=True, num_kv_heads=4),
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
    return jax.tree.map(jnp.asarray, out)


LONG = row([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])
SHORT = row([2, 7, 1, 8, 2, 8])


def random_params(config, seed=0):
    """Parameters whose scales and biases are not the ones and zeros they start as."""
    params = config.make().init(jax.random.key(seed))
    leaves, tree = jax.tree_util.tree_flatten_with_path(params)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    noise = [0.3 * ("kernel" not in str(path)) for path, _ in leaves]
    moved = [
        leaf + s * jax.random.normal(k, leaf.shape) for (_, leaf), s, k in zip(leaves, noise, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


PARAMS = random_params(CONFIG)


@jax.jit
def hidden_and_log_prob(params, traces):
    decoder = CONFIG.make().bind(params)
    return decoder.hidden(traces), token_log_prob(decoder, traces)


# --- attention --------------------------------------------------------------------------------------------


def naive_attention(q, k, v, mask):
    group = q.shape[2] // k.shape[2]
    k, v = jnp.repeat(k, group, axis=2), jnp.repeat(v, group, axis=2)
    logits = jnp.einsum("bthd,bshd->bhts", q, k) / np.sqrt(q.shape[-1])
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(jnp.where(mask[:, None], logits, -jnp.inf)), v)


def reference_attention(q, k, v, mask):
    return jax.nn.dot_product_attention(q, k, v, mask=mask[:, None])


@pytest.mark.parametrize("reference", [naive_attention, reference_attention])
@pytest.mark.parametrize("heads, kv_heads, time, keys", [(4, 2, 5, 7), (3, 1, 6, 6), (2, 2, 1, 4)])
def test_attention_and_its_gradients_equal_a_reference(heads, kv_heads, time, keys, reference):
    key_q, key_k, key_v, key_mask, key_grad = jax.random.split(jax.random.key(heads), 5)
    q = jax.random.normal(key_q, (3, time, heads, 8))
    k, v = (jax.random.normal(key, (3, keys, kv_heads, 8)) for key in (key_k, key_v))
    mask = jax.random.bernoulli(key_mask, 0.5, (3, time, keys)).at[:, :, 0].set(True)
    cotangent = jax.random.normal(key_grad, q.shape)

    @jax.jit
    def value_and_grads(q, k, v):
        results = []
        for function in (attend, reference):
            out, pull = jax.vjp(lambda q, k, v, f=function: f(q, k, v, mask), q, k, v)
            results.append((out, pull(cotangent)))
        return results

    ours, theirs = value_and_grads(q, k, v)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=TOLERANCE), ours, theirs)


def test_a_query_without_keys_stays_finite_and_leaves_the_others_alone():
    q, k, v = (jax.random.normal(jax.random.key(i), (1, 4, 2, 8)) for i in range(3))
    mask = jnp.tril(jnp.ones((1, 4, 4), bool))

    @jax.jit
    def read_first_two(mask):
        def loss(q, k, v):
            return jnp.sum(attend(q, k, v, mask)[:, :2] ** 2)

        return attend(q, k, v, mask), jax.grad(loss, (0, 1, 2))(q, k, v)

    full, gradient = read_first_two(mask)
    holed, holed_gradient = read_first_two(mask.at[:, 3].set(False))
    assert np.isfinite(holed).all()
    np.testing.assert_array_equal(holed[:, :3], full[:, :3])
    jax.tree.map(np.testing.assert_array_equal, holed_gradient, gradient)


# --- a forward pass in float64 numpy, one token at a time -------------------------------------------------


def numpy_rms(x, scale, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * scale


def numpy_rotate(x, position, theta):
    """x [heads, head_dim] as complex numbers: pair j is (x_j, x_{j + half})."""
    half = x.shape[-1] // 2
    turned = (x[:, :half] + 1j * x[:, half:]) * np.exp(1j * position * theta ** (-np.arange(half) / half))
    return np.concatenate([turned.real, turned.imag], axis=-1)


def numpy_block(c, p, x):
    """x [time, dim] of one trace through one block with parameters p."""

    def linear(name, h):
        return h @ p[name]["kernel"] + p[name].get("bias", 0.0)

    def heads(name, norm, h, count, position):
        rows = linear(name, h).reshape(count, c.head_dim)
        if norm and c.qk_norm:
            rows = numpy_rms(rows, p[norm]["scale"], c.norm_eps)
        return numpy_rotate(rows, position, c.rope_theta) if norm else rows

    out, keys, values = [], [], []
    for t, row in enumerate(x):
        h = numpy_rms(row, p["input_norm"]["scale"], c.norm_eps)
        q = heads("query", "query_norm", h, c.num_heads, t)
        keys.append(heads("key", "key_norm", h, c.num_kv_heads, t))
        values.append(heads("value", None, h, c.num_kv_heads, t))
        attended = []
        for head in range(c.num_heads):
            source = head * c.num_kv_heads // c.num_heads
            weights = np.exp([q[head] @ k[source] / np.sqrt(c.head_dim) for k in keys])
            mixed = sum(w * v[source] for w, v in zip(weights, values, strict=True)) / weights.sum()
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
    traces = batch(LONG, SHORT)

    @jax.jit
    def ours(params):
        decoder = config.make().bind(params)
        hidden = decoder.hidden(traces)
        return hidden, jax.nn.log_softmax(decoder.logits(hidden))

    hidden, log_prob = ours(params)
    for i, (tokens, _) in enumerate((LONG, SHORT)):
        n = len(tokens)
        expected_hidden, expected_log_prob = numpy_decoder(config, params, tokens)
        assert np.abs(expected_hidden).max() > 0.5
        np.testing.assert_allclose(hidden[i, :n], expected_hidden, atol=TOLERANCE)
        np.testing.assert_allclose(log_prob[i, :n], expected_log_prob, atol=TOLERANCE)


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
        tokens=jnp.hstack([one.tokens, two.tokens]),
        segment=jnp.hstack([one.segment, 2 * two.segment]),
        position=jnp.hstack([one.position, two.position]),
        step_id=jnp.hstack([one.step_id, jnp.where(two.step_id < 0, -1, two.step_id + 5)]),
        step_mask=jnp.ones((1, 10), bool),
        prompt_id=jnp.zeros(1, int),
    )
    packed_hidden, packed_log_prob = hidden_and_log_prob(PARAMS, packed)
    for ours, alone in ((packed_hidden, hidden), (packed_log_prob, log_prob)):
        np.testing.assert_allclose(ours[0, :n], alone[0, :n], atol=TOLERANCE)
        np.testing.assert_allclose(ours[0, n:], alone[1, :m], atol=TOLERANCE)


def test_the_program_does_not_grow_with_depth():
    traces = batch(SHORT)

    def program(layers):
        config = dataclasses.replace(CONFIG, num_layers=layers)
        abstract = jax.eval_shape(config.make().init, jax.random.key(0))

        def loss(params):
            return token_log_prob(config.make().bind(params), traces).sum()

        return str(jax.make_jaxpr(jax.grad(loss))(abstract)).splitlines()

    shallow, deep = program(2), program(12)
    assert len(shallow) > 100
    assert len(deep) == len(shallow)


def test_parameters_are_stacked_by_layer():
    params = jax.eval_shape(CONFIG.make().init, jax.random.key(0))
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params["blocks"])} == {CONFIG.num_layers}
    layers = CONFIG.make().init(jax.random.key(0))["blocks"]["query"]["kernel"]
    assert np.abs(layers[0] - layers[1]).max() > 1e-2, "every layer draws its own parameters"
    assert isinstance(CONFIG.make().bind(PARAMS), Decoder)
