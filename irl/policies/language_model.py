"""A decoder as a policy: sample many traces per prompt, and score the log-probability of given ones.

The sampler keeps `slots` rows busy per prompt. The prompt is prefilled once and shared by all its samples;
a row whose sample ended starts the prompt's next sample in the same step, and the loop stops when every
started sample ended. Each prompt starts exactly `n` samples, whatever their lengths, so short ones are not
favoured. Sample j of prompt p draws from `fold_in(key, p, j)`: the same samples come out for any number of slots.

Keys and values live in a ring of `max_new` columns that all rows write at the same column; a row sees the
columns younger than its own sample, so restarting a row moves no memory.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from irl.policies.base import GREEDY, Policy, Samples, Sampling
from reward_models.networks.base import Params
from reward_models.networks.decoder import Decoder, DecoderConfig
from reward_models.networks.next_token import of_token, token_log_prob, token_statistics
from reward_models.networks.products import matmul, matmul_transposed
from reward_models.records import record
from reward_models.types import TraceBatch

NOISE_AT_ONCE = 2**13
"""Tokens of the largest vocabulary for which every token gets its own noise: drawing that much noise takes time."""
BLOCK = 2**8
"""Tokens of a block of a larger vocabulary."""


class _Loop(NamedTuple):
    time: Int[Array, ""]
    token: Int[Array, "prompts slots"]
    age: Int[Array, "prompts slots"]
    job: Int[Array, "prompts slots"]  # n: the slot has nothing left to do
    next_job: Int[Array, " prompts"]
    keys: Float[Array, "layers rows kv_heads head_dim max_new"]
    values: Float[Array, "layers rows kv_heads max_new head_dim"]
    samples: Samples


@record
class LanguageModel(Policy):
    """A decoder as a policy."""

    network: DecoderConfig

    @partial(jax.jit, static_argnames=("self", "sampling"))
    def sample(
        self,
        params: Params,
        key: jax.Array,
        prompts: Int[ArrayLike, "prompts prompt_time"],
        prompt_length: Int[ArrayLike, " prompts"],
        sampling: Sampling,
        temperature: float | Float[Array, ""] = 1.0,
    ) -> Samples:
        """Draw samples for each right-padded prompt, with a cache that all slots of a prompt share.

        Memory: layers * prompts * slots * max_new * 2 * kv_heads * head_dim floats of cache.
        """
        config, (n, slots, max_new, stop, vocabulary, truncation) = self.network, sampling
        decoder = config.make().bind(params)
        prompts, prompt_length = jnp.asarray(prompts), jnp.asarray(prompt_length)
        count = prompts.shape[0]
        prompt_cache = prefill(decoder, prompts, prompt_length - 1)
        last = jnp.take_along_axis(prompts, prompt_length[:, None] - 1, axis=1)
        stops = jnp.zeros(config.vocab_size, bool).at[jnp.array(stop, jnp.int32)].set(True)
        known = None
        if vocabulary is not None and vocabulary < config.vocab_size:
            known = jnp.arange(config.vocab_size) < vocabulary
        row_keys = jax.vmap(lambda p: jax.random.fold_in(key, p))(jnp.arange(count))

        def one_token(loop: _Loop) -> _Loop:
            position = prompt_length[:, None] - 1 + loop.age
            logits, keys, values = _decode(decoder, loop, prompt_cache, prompt_length - 1, position)
            allowed = logits if known is None else jnp.where(known, logits, -jnp.inf)
            drawn = jax.lax.cond(
                temperature < GREEDY,
                lambda: jnp.argmax(allowed, axis=-1),
                lambda: _draw(row_keys, loop.job, loop.age, truncation(allowed / temperature)),
            ).astype(jnp.int32)
            log_prob = of_token(jax.nn.log_softmax(logits), drawn)
            stopped = stops[drawn]
            finished = stopped | (loop.age + 1 >= max_new)
            busy = loop.job < n
            samples = _record(loop, drawn, log_prob, stopped)
            restart = finished & busy
            order = jnp.cumsum(restart, axis=1) - 1
            job = jnp.where(restart, jnp.minimum(loop.next_job[:, None] + order, n), loop.job)
            return _Loop(
                time=loop.time + 1,
                token=jnp.where(restart, last, drawn),
                age=jnp.where(restart, 0, loop.age + 1),
                job=job,
                next_job=jnp.minimum(loop.next_job + restart.sum(1), n),
                keys=keys,
                values=values,
                samples=samples,
            )

        start = _start(config, count, last, n=n, slots=slots, max_new=max_new)
        samples = jax.lax.while_loop(lambda loop: jnp.any(loop.job < n), one_token, start).samples
        return jax.tree.map(lambda x: x[:, :n], samples)

    @partial(jax.jit, static_argnames="self")
    def log_prob(self, params: Params, traces: TraceBatch) -> Float[Array, "batch time"]:
        """log pi(token | before) in nats at response tokens, 0 elsewhere."""
        return token_log_prob(self.network.make().bind(params), traces)

    def log_prob_and_kl(
        self, params: Params, reference: Params, traces: TraceBatch
    ) -> tuple[Float[Array, "batch time"], Float[Array, "batch time"]]:
        """`log_prob`, and the exact KL(pi(. | before) || reference(. | before)) in nats, 0 outside the response."""
        functional = self.network.make()
        return token_statistics(_log_prob_and_kl, traces, functional.bind(params), functional.bind(reference))


def _log_prob_and_kl(tokens, logits, reference):
    log_prob, log_ref = jax.nn.log_softmax(logits), jax.nn.log_softmax(reference)
    return of_token(log_prob, tokens), jnp.sum(jnp.exp(log_prob) * (log_prob - log_ref), axis=-1)


def _start(config: DecoderConfig, count: int, last, *, n: int, slots: int, max_new: int) -> _Loop:
    slots = min(slots, n)
    rows = (config.num_layers, count * slots, config.num_kv_heads)
    shape = (count, n + 1, max_new)  # the extra sample catches the writes of idle slots
    empty = Samples(
        tokens=jnp.zeros(shape, jnp.int32),
        length=jnp.zeros(shape[:2], jnp.int32),
        ended=jnp.zeros(shape[:2], bool),
        log_prob=jnp.zeros(shape, jnp.float32),
    )
    return _Loop(
        time=jnp.zeros((), jnp.int32),
        token=jnp.broadcast_to(last, (count, slots)),
        age=jnp.zeros((count, slots), jnp.int32),
        job=jnp.broadcast_to(jnp.arange(slots, dtype=jnp.int32), (count, slots)),
        next_job=jnp.full(count, slots, jnp.int32),
        keys=jnp.zeros((*rows, config.head_dim, max_new), config.dtype),
        values=jnp.zeros((*rows, max_new, config.head_dim), config.dtype),
        samples=empty,
    )


def _record(loop: _Loop, drawn, log_prob, stopped) -> Samples:
    row = jnp.arange(drawn.shape[0])[:, None]
    at = (row, loop.job, loop.age)
    old = loop.samples
    return Samples(
        tokens=old.tokens.at[at].set(drawn, mode="drop"),
        length=old.length.at[at[:2]].set(loop.age + 1),
        ended=old.ended.at[at[:2]].set(stopped),
        log_prob=old.log_prob.at[at].set(log_prob, mode="drop"),
    )


def _draw(row_keys, job, age, logits):
    """A draw per slot."""

    def one(key, job, age, logits):
        return draw_token(jax.random.fold_in(jax.random.fold_in(key, job), age), logits)

    return jax.vmap(jax.vmap(one, (None, 0, 0, 0)))(row_keys, job, age, logits)


def draw_token(key: jax.Array, logits: Float[Array, " vocab"]) -> Int[Array, ""]:
    """A Gumbel-max draw; from a large vocabulary first of a block of tokens, then of a token in it."""
    if logits.size <= NOISE_AT_ONCE:
        return jnp.argmax(logits + jax.random.gumbel(key, logits.shape))
    blocks = jnp.pad(logits, (0, -logits.size % BLOCK), constant_values=-jnp.inf).reshape(-1, BLOCK)
    block_key, key = jax.random.split(key)
    block = draw_token(block_key, jax.nn.logsumexp(blocks, axis=1))
    return block * BLOCK + draw_token(key, blocks[block])


def prefill(decoder: Decoder, prompts, length):
    """Keys and values of prompts [prompts, time]: each [layers, prompts, kv_heads, time, head_dim]."""
    time = jnp.arange(prompts.shape[1])
    segment = (time < length[:, None]).astype(jnp.int32)
    position = jnp.broadcast_to(time, prompts.shape)
    mask, rotation = decoder.mask(segment), decoder.rotation(position)
    graph, stacked = decoder.layers()

    def body(x, layer):
        block = nnx.merge(graph, layer)
        _, k, v = block.project(x, rotation)
        return block(x, rotation, mask), (k.swapaxes(1, 2), v.swapaxes(1, 2))

    _, cache = jax.lax.scan(body, decoder.embed(prompts), stacked)
    return cache


def _decode(decoder: Decoder, loop: _Loop, prompt_cache, prompt_length, position):
    """One token for every slot: logits [prompts, slots, vocab] and the ring with the new column."""
    count, slots = loop.token.shape
    columns, window = loop.values.shape[3], decoder.config.sliding_window
    column = loop.time % columns
    distance, prompt_time = (loop.time - jnp.arange(columns)) % columns, jnp.arange(prompt_cache[0].shape[3])
    younger = distance <= loop.age.reshape(-1, 1)
    in_prompt = (prompt_time < prompt_length[:, None])[:, None]
    if window is not None:
        younger &= distance < window
        in_prompt &= prompt_time > position[..., None] - window
    rotation = decoder.rotation(position.reshape(-1, 1))
    graph, stacked = decoder.layers()

    def body(carry, layer_and_prompt):  # the cache is carried, so that XLA updates it in place
        x, all_keys, all_values, index = carry
        layer, prompt_keys, prompt_values = layer_and_prompt
        block = nnx.merge(graph, layer)
        q, k, v = block.project(x, rotation)
        all_keys = jax.lax.dynamic_update_slice(
            all_keys, k[:, 0, None, :, :, None].swapaxes(0, 1), (index, 0, 0, 0, column)
        )
        all_values = jax.lax.dynamic_update_slice(
            all_values, v[:, 0, None, :, None, :].swapaxes(0, 1), (index, 0, 0, column, 0)
        )
        ring = (all_keys[index], all_values[index], younger)
        attended = _attend_cache(q[:, 0], ring, (prompt_keys, prompt_values, in_prompt), count, slots)
        return (block.finish(x, attended[:, None]), all_keys, all_values, index + 1), None

    x = decoder.embed(loop.token.reshape(-1, 1))
    carry = (x, loop.keys, loop.values, jnp.zeros((), jnp.int32))
    (x, keys, values, _), _ = jax.lax.scan(body, carry, (stacked, *prompt_cache))
    logits = decoder.logits(decoder.final_norm(x[:, 0]))
    return logits.reshape(count, slots, -1), keys, values


def _attend_cache(q, ring, prompt, count: int, slots: int):
    """One query per row over its own ring and over the prompt it shares: [rows, heads, head_dim]."""
    keys, values, younger = ring
    prompt_keys, prompt_values, in_prompt = prompt
    rows, heads, head_dim = q.shape
    kv_heads = keys.shape[1]
    group = heads // kv_heads
    q = q.reshape(rows, kv_heads, group, head_dim) * head_dim**-0.5
    own = jnp.where(younger[:, None, None], matmul(q, keys), -1e30)
    # The slots of a prompt are rows of one matrix product with the prompt's keys.
    by_prompt = q.reshape(count, slots, kv_heads, group, head_dim).transpose(0, 2, 1, 3, 4)
    by_prompt = by_prompt.reshape(count, kv_heads, slots * group, head_dim)
    shared = matmul_transposed(by_prompt, prompt_keys)
    shared = jnp.where(in_prompt[:, None, :, None], shared.reshape(count, kv_heads, slots, group, -1), -1e30)
    shared = shared.transpose(0, 2, 1, 3, 4).reshape(rows, kv_heads, group, -1)
    weights = jax.nn.softmax(jnp.concatenate([shared, own], axis=-1).astype(jnp.float32), axis=-1)
    weights = weights.astype(values.dtype)
    width = shared.shape[-1]
    out = matmul(weights[..., width:], values)
    mix = weights[..., :width].reshape(count, slots, kv_heads, group, width).transpose(0, 2, 1, 3, 4)
    mix = matmul(mix.reshape(count, kv_heads, slots * group, width), prompt_values)
    mix = mix.reshape(count, kv_heads, slots, group, head_dim).transpose(0, 2, 1, 3, 4)
    return (out + mix.reshape(out.shape)).reshape(rows, heads, head_dim).astype(values.dtype)
