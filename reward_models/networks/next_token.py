"""Per-token statistics of next-token predictions: log-probability, entropy, largest logit, divergence.

Each of them reduces the logits over the vocabulary to a few numbers per token. Small batches take one matrix product.
Where that would exceed `LOGITS_AT_ONCE`, the logits are computed and reduced in blocks of positions, and computed again
for the gradient, so no array of [rows, time, vocabulary] exists. Blocks divide time and not rows, so that rows stay on
their devices. Each row's response tokens come first, and blocks without any are skipped.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num

from reward_models.networks.decoder import Decoder
from reward_models.partition import by_rows
from reward_models.types import TraceBatch

LOGITS_AT_ONCE = 2**25
"""The most logits, rows x positions x vocabulary, of one matrix product: 128 MiB in float32. With more rows than that
allows, a block has one position of every row."""

Reduce = Callable[..., Any]
"""(tokens [batch, block], logits [batch, block, vocab] of each decoder) -> pytree of [batch, block]"""


def token_statistics(reduce: Reduce, traces: TraceBatch, *decoders: Decoder) -> Any:
    """`reduce` of the logits that predict each response token: a pytree of [batch, time], 0 at other tokens.

    Args:
        reduce: Must treat positions independently.
        traces: The batch.
        *decoders: Decoders of one vocabulary; each adds its logits to the arguments of `reduce`.
    """
    hidden = [decoder.hidden(traces) for decoder in decoders]
    (rows, time), vocabulary = traces.tokens.shape, decoders[0].config.vocab_size
    positions = max(LOGITS_AT_ONCE // (rows * vocabulary), 1)
    if time <= positions:
        logits = [decoder.logits(each)[:, :-1] for decoder, each in zip(decoders, hidden, strict=True)]
        values = reduce(traces.tokens[:, 1:], *logits)
    else:
        values = _in_blocks(reduce, traces, decoders, hidden, positions)

    def aligned(value):
        return jnp.where(traces.response, jnp.pad(value, ((0, 0), (1, 0))), jnp.zeros((), value.dtype))

    return jax.tree.map(aligned, values)


def token_log_prob(decoder: Decoder, traces: TraceBatch) -> Float[Array, "batch time"]:
    """log p(token_t | tokens before t) in nats at response tokens, 0 elsewhere."""
    return token_statistics(lambda tokens, logits: of_token(jax.nn.log_softmax(logits), tokens), traces, decoder)


def of_token(values: Num[Array, "batch time vocab"], tokens: Int[Array, "batch time"]) -> Num[Array, "batch time"]:
    """The entry of each position's token."""
    return jnp.take_along_axis(values, tokens[..., None], axis=-1)[..., 0]


def _in_blocks(reduce: Reduce, traces: TraceBatch, decoders: Sequence[Decoder], hidden: Sequence[Any], size: int):
    """[batch, time - 1]: predictions of the tokens after the first, at most `size` positions of each row at once."""
    tokens, where = jnp.asarray(traces.tokens)[:, 1:], jnp.asarray(traces.response)[:, 1:]
    rows, time = tokens.shape
    count = -(-time // size)
    size = -(-time // count)
    order = jnp.argsort(~where, axis=1, stable=True)

    def blocks(x):
        x = jax.vmap(lambda row, at: row[at])(x, order)
        x = jnp.pad(x, ((0, 0), (0, count * size - time), *[(0, 0)] * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(rows, count, size, *x.shape[2:]), 1, 0)

    def block(tokens, where, *hidden):
        def computed():
            return reduce(tokens, *[d.logits(by_rows(h)) for d, h in zip(decoders, hidden, strict=True)])

        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(computed))
        return jax.lax.cond(where.any(), computed, lambda: empty)

    block = jax.checkpoint(block, prevent_cse=False)  # the scan itself keeps the passes apart
    parts = (blocks(tokens), blocks(where), *[blocks(each[:, :-1]) for each in hidden])
    values = jax.lax.map(lambda part: block(*part), parts)
    place = jnp.argsort(order, axis=1)

    def whole(value):
        return jnp.take_along_axis(jnp.moveaxis(value, 0, 1).reshape(rows, -1), place, axis=1)

    return jax.tree.map(whole, values)
