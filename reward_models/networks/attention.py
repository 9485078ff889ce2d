"""Masked softmax attention with grouped key/value heads, laid out as plain batched matrix products.

Queries are taken in blocks, so that causal attention computes nothing for the keys after a block, and the backward pass
computes the weights of a block again from the logarithm of their sum (Dao et al. 2022, arXiv 2205.14135, section 3.1):
no array of [time, time] is kept between the two. The backward pass is written out: what XLA derives by itself on CPU
transposes those arrays and is 2 to 5 times slower at head widths below 64 (see LOG.md).
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from reward_models.networks.products import matmul, matmul_transposed

BLOCK = 128
"""Queries of a block; of 64, 128 and 256 the fastest at 512 and at 768 tokens on a CPU."""

LONG = 4096
"""Tokens of the longest row for which a mask of [time, time] is computed; longer rows use `attend_long`."""

Spans = tuple[tuple[int, int, int], ...]
"""Blocks of queries: from, to, and how many keys they may see."""


def attend(
    q: Float[Array, "batch time heads head_dim"],
    k: Float[Array, "batch keys kv_heads head_dim"],
    v: Float[Array, "batch keys kv_heads head_dim"],
    mask: Bool[Array, "batch time keys"],
    *,
    causal: bool = False,
) -> Float[Array, "batch time heads head_dim"]:
    """softmax(q k^T / sqrt(head_dim)) v over the keys that `mask` allows; heads share key/value heads in groups.

    `causal` promises that the mask allows query t no key after t. Every query must be allowed at least one key, or its
    output is a plain mean that the caller must ignore.
    """
    batch, time, heads, head_dim = q.shape
    kv_heads = k.shape[2]
    group = heads // kv_heads
    rows = q.reshape(batch, time, kv_heads, group, head_dim).transpose(0, 2, 3, 1, 4)
    rows = rows.reshape(batch * kv_heads, group, time, head_dim) * head_dim**-0.5
    attended = _attend_folded(_spans(time, k.shape[1], causal), rows, _fold(k), _fold(v), mask)
    attended = attended.reshape(batch, kv_heads, group, time, head_dim)
    return attended.transpose(0, 3, 1, 2, 4).reshape(batch, time, heads, head_dim)


def attend_long(
    q: Float[Array, "batch time heads head_dim"],
    k: Float[Array, "batch time kv_heads head_dim"],
    v: Float[Array, "batch time kv_heads head_dim"],
    mask_of: Callable[[Int[Array, " block"]], Bool[Array, "batch block time"]],
) -> Float[Array, "batch time heads head_dim"]:
    """As `attend`, in memory linear in the number of tokens; `mask_of` computes the mask of some queries.

    The blocks of queries are computed one after another, each with all keys. Gradients compute each block again.
    """
    time = q.shape[1]
    starts = jnp.arange(0, time, BLOCK)
    padded = jnp.pad(q, ((0, 0), (0, -time % BLOCK), (0, 0), (0, 0)))

    @jax.checkpoint
    def block(start):
        own = jax.lax.dynamic_slice_in_dim(padded, start, BLOCK, axis=1)
        return attend(own, k, v, mask_of(jnp.minimum(start + jnp.arange(BLOCK), time - 1)))

    out = jax.lax.map(block, starts).swapaxes(0, 1)
    return out.reshape(q.shape[0], -1, *q.shape[2:])[:, :time]


def attend_after(
    q: Float[Array, "batch time heads head_dim"],
    k: Float[Array, "batch time kv_heads head_dim"],
    v: Float[Array, "batch time kv_heads head_dim"],
    mask: Bool[Array, "batch time time"],
    prefix_k: Float[Array, "prefix kv_heads head_dim"],
    prefix_v: Float[Array, "prefix kv_heads head_dim"],
    prefix_mask: Bool[Array, " prefix"],
) -> Float[Array, "batch time heads head_dim"]:
    """As `attend`, with the keys and values of a prefix that every row sees; those are never copied per row."""
    batch, time, heads, head_dim = q.shape
    kv_heads = k.shape[2]
    group = heads // kv_heads
    rows = q.reshape(batch, time, kv_heads, group, head_dim) * head_dim**-0.5
    of_all = rows.transpose(2, 0, 3, 1, 4).reshape(kv_heads, -1, head_dim)  # one product per kv head for all rows
    before = matmul_transposed(of_all, prefix_k.transpose(1, 0, 2)) + jnp.where(prefix_mask, 0.0, -1e30)
    by_row = rows.transpose(2, 0, 3, 1, 4).reshape(kv_heads, batch, group * time, head_dim)
    own = matmul_transposed(by_row, k.transpose(2, 0, 1, 3)).reshape(kv_heads, batch, group, time, time)
    own = own + jnp.where(mask, 0.0, -1e30)[:, None]
    own = own.reshape(kv_heads, -1, time)
    most = jax.lax.stop_gradient(jnp.maximum(before.max(-1, keepdims=True), own.max(-1, keepdims=True)))
    before, own = jnp.exp(before - most), jnp.exp(own - most)
    total = before.sum(-1, keepdims=True) + own.sum(-1, keepdims=True)
    seen = matmul(before.astype(v.dtype), prefix_v.transpose(1, 0, 2)).reshape(by_row.shape)
    own = own.astype(v.dtype).reshape(kv_heads, batch, group * time, time)
    seen = (seen + matmul(own, v.transpose(2, 0, 1, 3))) / total.reshape(kv_heads, batch, group * time, 1)
    seen = seen.astype(v.dtype).reshape(kv_heads, batch, group, time, head_dim)
    return seen.transpose(1, 3, 0, 2, 4).reshape(batch, time, heads, head_dim)


def _fold(x):
    """[batch, keys, kv_heads, head_dim] to [batch * kv_heads, keys, head_dim]."""
    return x.transpose(0, 2, 1, 3).reshape(-1, x.shape[1], x.shape[3])


def _spans(time: int, keys: int, causal: bool) -> Spans:
    if not causal:
        return ((0, time, keys),)
    ends = [*range(BLOCK, time, BLOCK), time]
    return tuple((start, end, end) for start, end in zip([0, *ends], ends, strict=False))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend_folded(spans, q, k, v, mask):
    return _forward(spans, q, k, v, mask)[0]


def _forward(spans, q, k, v, mask):
    """Queries are [folded, group, time, head_dim], keys and values [folded, keys, head_dim]."""
    outs, sums = [], []
    for span in spans:
        logits = _logits(span, q, k, mask)
        most = logits.max(-1, keepdims=True)
        weights = jnp.exp(logits - most)
        total = weights.sum(-1, keepdims=True)
        out = matmul(weights.astype(v.dtype), v[:, : span[2]]) / total
        outs.append(_unfolded(out.astype(v.dtype), q))
        sums.append(_unfolded(most + jnp.log(total), q))
    out, log_sum = jnp.concatenate(outs, axis=2), jnp.concatenate(sums, axis=2)
    return out, (q, k, v, mask, out, log_sum)


def _backward(spans, saved, grad):
    q, k, v, mask, out, log_sum = saved
    inner = jnp.sum(grad.astype(jnp.float32) * out, axis=-1, keepdims=True)
    grads_q, grad_k, grad_v = [], jnp.zeros(k.shape, jnp.float32), jnp.zeros(v.shape, jnp.float32)
    for span in spans:
        keys = span[2]
        own_q, own_grad, own_inner, own_sum = (_folded(span, x) for x in (q, grad, inner, log_sum))
        weights = jnp.exp(_logits(span, q, k, mask) - own_sum)
        grad_weights = matmul_transposed(own_grad, v[:, :keys])
        grad_logits = (weights * (grad_weights - own_inner)).astype(q.dtype)
        grads_q.append(_unfolded(matmul(grad_logits, k[:, :keys]).astype(q.dtype), q))
        grad_k = grad_k.at[:, :keys].add(matmul(grad_logits.swapaxes(1, 2), own_q))
        grad_v = grad_v.at[:, :keys].add(matmul(weights.astype(v.dtype).swapaxes(1, 2), own_grad))
    return jnp.concatenate(grads_q, axis=2), grad_k.astype(k.dtype), grad_v.astype(v.dtype), None


_attend_folded.defvjp(_forward, _backward)


def _logits(span, q, k, mask):
    """Float32 [folded, group * block, keys]."""
    start, end, keys = span
    logits = matmul_transposed(_folded(span, q), k[:, :keys]).astype(jnp.float32)
    by_row = logits.reshape(mask.shape[0], -1, end - start, keys)
    return jnp.where(mask[:, None, start:end, :keys], by_row, -1e30).reshape(logits.shape)


def _folded(span, x):
    """[folded, group, time, width] to [folded, group * block, width] of a block."""
    return x[:, :, span[0] : span[1]].reshape(x.shape[0], -1, x.shape[3])


def _unfolded(x, like):
    return x.reshape(x.shape[0], like.shape[1], -1, x.shape[-1])
