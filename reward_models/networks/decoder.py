"""Llama-family decoder: the trunk of policies and of reward models.

One block (RMSNorm, rotary embeddings, grouped-query attention, SwiGLU), stacked by `vmap` and run by
`lax.scan`, so compile time does not grow with depth. Touvron et al. 2023 (arXiv 2302.13971), grouped-query
attention: Ainslie et al. 2023 (arXiv 2305.13245), rotary embeddings: Su et al. 2021 (arXiv 2104.09864),
sliding windows: Jiang et al. 2023 (arXiv 2310.06825). The fields of `DecoderConfig` span Llama, Mistral, Qwen2 and
Qwen3; `reward_models.folders.hugging_face` reads and writes their checkpoints.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, cast

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from reward_models.networks.adapters import LowRank
from reward_models.networks.attention import LONG, attend, attend_after, attend_long
from reward_models.networks.base import (
    Functional,
    Layers,
    Length,
    NetworkConfig,
    Params,
    Vocabulary,
    Width,
    functional,
)
from reward_models.networks.products import matmul, matmul_transposed
from reward_models.partition import by_rows
from reward_models.records import record
from reward_models.types import TraceBatch

RopeTheta = Annotated[float, Gt(1.0), Le(1e12)]
"""The slowest wave has about 2 pi rope_theta tokens; at 1 all waves would be equal."""
NormEps = Annotated[float, Ge(1e-12), Le(1e-2)]
"""Keeps norms from dividing by zero: too small to do so below the range, a change of the scores above it."""


@record
class RopeScaling:
    """Llama 3.1's stretching of rotary embeddings: waves longer than the training context become `factor` longer."""

    factor: Annotated[float, Ge(1.0), Le(1e6)]
    low_freq_factor: Annotated[float, Gt(0.0), Le(1e6)]
    high_freq_factor: Annotated[float, Gt(0.0), Le(1e6)]
    original_length: Length
    """Tokens of the context before stretching."""

    def __post_init__(self):
        if self.high_freq_factor <= self.low_freq_factor:
            limits = f"more than low_freq_factor ({self.low_freq_factor})"
            raise ValueError(f"high_freq_factor: expected {limits}, got {self.high_freq_factor}")


@record
class DecoderConfig:
    """Shape of a decoder. Defaults make a small Llama.

    `attention_bias` (of queries, keys and values) makes Qwen2, `qk_norm` Qwen3, `sliding_window` Mistral.
    """

    vocab_size: Vocabulary
    num_layers: Layers = 3
    dim: Width = 96
    num_heads: Width = 4
    num_kv_heads: Width = 2
    """Divides num_heads."""
    head_dim: Width = 24
    """Even: rotary embeddings turn pairs."""
    hidden_dim: Width = 256
    rope_theta: RopeTheta = 10_000.0
    norm_eps: NormEps = 1e-6
    qk_norm: bool = False
    attention_bias: bool = False
    tie_embeddings: bool = True
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Compute type of the trunk; parameters, logits and losses stay float32."""
    rope_scaling: RopeScaling | None = None
    sliding_window: Length | None = None
    """A token sees itself and the `sliding_window - 1` before it; None: all before it."""
    context_length: Length | None = None
    """Tokens of the longest trace the weights were made for; None: not stated. Nothing is cut here."""
    remat: bool = False
    """Keep nothing of a block but its input, and compute the rest again for gradients: less memory, a third more work
    in training. Scores and gradients are the same."""
    adapters: LowRank | None = None
    """Low-rank adapters, which are trained in the place of the decoder's own weights (networks/adapters.py)."""

    def __post_init__(self):
        if self.num_heads % self.num_kv_heads:
            expected = f"a divisor of num_heads ({self.num_heads})"
            raise ValueError(f"num_kv_heads: expected {expected}, got {self.num_kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim: expected an even number, got {self.head_dim}")

    def make(self) -> Functional:
        plain = functional(lambda rngs: Decoder(self, rngs=rngs))
        return plain if self.adapters is None else self.adapters.on(plain)

    @property
    def sees_prefix(self) -> bool:
        """Whether rows may share a prefix: not with a window, which ends somewhere in it."""
        return self.sliding_window is None


N = TypeVar("N", bound="DecoderNetwork")


class DecoderNetwork(NetworkConfig):
    """The config class of a network on a decoder."""

    decoder: DecoderConfig

    @property
    def vocabulary(self) -> int:
        return self.decoder.vocab_size

    @property
    def has_head(self) -> bool:
        """Whether the params hold a head apart from the trunk, under "head"."""
        return False

    def with_adapters(self, plain: Functional) -> Functional:
        """A module with the part "trunk", with the adapters of the decoder where it has some."""
        return plain if self.decoder.adapters is None else self.decoder.adapters.on_trunk(plain)

    def with_trunk(self, params: Params, trunk: Params | None) -> Params:
        """Params whose trunk is that of a trained decoder of the same config."""
        return {**params, "trunk": trunk}

    def trunk_of(self, params: Params) -> Params:
        """The params of the decoder."""
        return params["trunk"]

    def init_on(self, key: jax.Array, trunk: Params | None) -> Params:
        """Random parameters on a given trunk. No random trunk is computed."""
        init = self.make().init
        return self.with_trunk(jax.jit(lambda key: self.with_trunk(init(key), None))(key), trunk)

    def adapted(self: N, adapters: LowRank | None) -> N:
        """The network with these adapters."""
        return replace(cast(Any, self), decoder=replace(self.decoder, adapters=adapters))

    def merged(self: N, params: Params) -> tuple[N, Params]:
        """The network without adapters, and params with the same scores, which cost no more than those of the base."""
        adapters = self.decoder.adapters
        if adapters is None:
            return self, params
        return self.adapted(None), self.with_trunk(params, adapters.merged(self.trunk_of(params)))


class RMSNorm(nnx.Module):
    def __init__(self, dim: int, eps: float):
        self.scale = nnx.Param(jnp.ones(dim))
        self.eps = eps

    def __call__(self, x):
        wide = x.astype(jnp.float32)
        square = jnp.mean(wide**2, axis=-1, keepdims=True)
        # Division by an infinite norm would give 0, and hide that the network overflows.
        wide = wide * jnp.where(jnp.isfinite(square), jax.lax.rsqrt(square + self.eps), jnp.nan)
        return (wide * self.scale[...]).astype(x.dtype)


class Linear(nnx.Module):
    """x @ kernel (+ bias), computed in the type of x."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = False, std: float | None = None, rngs: nnx.Rngs):
        std = inputs**-0.5 if std is None else std
        self.kernel = nnx.Param(std * jax.random.normal(rngs.params(), (inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs)) if bias else None

    def __call__(self, x):
        rows = x.reshape(-1, x.shape[-1])  # two dimensions: the weight gradient is one matrix product
        y = matmul(rows, self.kernel[...].astype(x.dtype)).astype(x.dtype).reshape(*x.shape[:-1], -1)
        return y if self.bias is None else y + self.bias[...].astype(x.dtype)


def frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> Float[Array, " half"]:
    """Radians per token of each pair of a head; `scaling` divides the slow ones by its factor, with a ramp between."""
    half = head_dim // 2
    frequency = theta ** (-jnp.arange(half, dtype=jnp.float32) / half)
    if scaling is None:
        return frequency
    turns = scaling.original_length * frequency / (2 * jnp.pi)  # within the original context
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = jnp.clip(kept, 0.0, 1.0)
    return frequency * (kept + (1 - kept) / scaling.factor)


class Rotation(NamedTuple):
    """Cosine and sine of the rotary angles; all layers and heads share them."""

    cos: Float[Array, "*batch time 1 half"]
    sin: Float[Array, "*batch time 1 half"]


def rotation_at(position: Int[Array, "*batch time"], frequency: Float[Array, " half"], dtype: Any) -> Rotation:
    """Rotation by position * frequency radians."""
    angle = position[..., None, None].astype(jnp.float32) * frequency
    return Rotation(jnp.cos(angle).astype(dtype), jnp.sin(angle).astype(dtype))


def rotate(
    x: Float[Array, "*batch time heads head_dim"], rotation: Rotation
) -> Float[Array, "*batch time heads head_dim"]:
    """Rotary embedding on half-split pairs (the convention of Hugging Face checkpoints)."""
    half = x.shape[-1] // 2
    cos, sin = rotation
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


class Block(nnx.Module):
    """Attention and feed-forward with residuals, in two halves so that decoding can bring its own cache."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        c, self.config = config, config
        query, key_value = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
        residual_std = (2 * c.num_layers) ** -0.5
        self.input_norm = RMSNorm(c.dim, c.norm_eps)
        self.query = Linear(c.dim, query, bias=c.attention_bias, rngs=rngs)
        self.key = Linear(c.dim, key_value, bias=c.attention_bias, rngs=rngs)
        self.value = Linear(c.dim, key_value, bias=c.attention_bias, rngs=rngs)
        self.output = Linear(query, c.dim, std=residual_std * query**-0.5, rngs=rngs)
        self.query_norm = RMSNorm(c.head_dim, c.norm_eps) if c.qk_norm else None
        self.key_norm = RMSNorm(c.head_dim, c.norm_eps) if c.qk_norm else None
        self.post_norm = RMSNorm(c.dim, c.norm_eps)
        self.gate = Linear(c.dim, c.hidden_dim, rngs=rngs)
        self.up = Linear(c.dim, c.hidden_dim, rngs=rngs)
        self.down = Linear(c.hidden_dim, c.dim, std=residual_std * c.hidden_dim**-0.5, rngs=rngs)

    def project(self, x, rotation: Rotation):
        """Queries [..., time, heads, head_dim], keys and values [..., time, kv_heads, head_dim], rotated."""
        c = self.config
        h = self.input_norm(x)
        q = self.query(h).reshape(*h.shape[:-1], c.num_heads, c.head_dim)
        k = self.key(h).reshape(*h.shape[:-1], c.num_kv_heads, c.head_dim)
        v = self.value(h).reshape(*h.shape[:-1], c.num_kv_heads, c.head_dim)
        if self.query_norm is not None and self.key_norm is not None:
            q, k = self.query_norm(q), self.key_norm(k)
        return rotate(q, rotation), rotate(k, rotation), v

    def finish(self, x, attended):
        """Add the attention output [..., time, heads, head_dim] and the feed-forward to the residual x."""
        x = x + self.output(attended.reshape(*x.shape[:-1], -1))
        h = self.post_norm(x)
        return x + self.down(nnx.silu(self.gate(h)) * self.up(h))

    def __call__(self, x, rotation: Rotation, mask):
        q, k, v = self.project(x, rotation)
        if callable(mask):
            return self.finish(x, attend_long(q, k, v, mask))
        return self.finish(x, attend(q, k, v, mask, causal=True))


class Decoder(nnx.Module):
    """Token ids to hidden states, and hidden states to logits."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.embedding = nnx.Param(0.02 * jax.random.normal(rngs.params(), (config.vocab_size, config.dim)))

        @nnx.split_rngs(splits=config.num_layers)
        @nnx.vmap(in_axes=(0,), out_axes=0)
        def stack(rngs: nnx.Rngs) -> Block:
            return Block(config, rngs=rngs)

        self.blocks = stack(rngs)
        self.final_norm = RMSNorm(config.dim, config.norm_eps)
        self.head = None if config.tie_embeddings else Linear(config.dim, config.vocab_size, rngs=rngs)

    def embed(self, tokens: Int[Array, "..."]) -> Float[Array, "... dim"]:
        return self.embedding[...][tokens].astype(self.config.dtype)

    def rotation(self, position: Int[Array, "*batch time"]) -> Rotation:
        """The rotation of queries and keys at these positions, computed once for all blocks."""
        c = self.config
        return rotation_at(position, frequencies(c.head_dim, c.rope_theta, c.rope_scaling), c.dtype)

    def layers(self):
        """(graph, stacked state): what `lax.scan` over blocks needs; merge one slice to get a Block."""
        return nnx.split(self.blocks)

    def hidden(self, traces: TraceBatch) -> Float[Array, "batch time dim"]:
        """Final hidden states; position t has seen the tokens up to and including t of its own segment."""
        if traces.prefix is not None:
            return self._hidden_after(traces, traces.prefix)
        if traces.after is not None and not self.config.sees_prefix:
            raise ValueError(
                "after: a decoder with a sliding window does not see what responses share; give whole rows"
            )
        mask, rotation = self.mask(traces.segment, traces.after), self.rotation(traces.position)

        def through(block, x):
            return by_rows(block(x, rotation, mask))

        return self.final_norm(self._run(through, by_rows(self.embed(traces.tokens))))

    def mask(self, segment: Int[Array, "batch time"], after: Int[Array, "batch time"] | None = None) -> Any:
        """What `Block` takes for a mask: `causal_mask`, or for long rows the function that computes it for queries."""
        mask = partial(causal_mask, segment, self.config.sliding_window, after)
        return mask() if segment.shape[1] <= LONG else mask

    def _run(self, through: Callable[[Block, Any], Any], x: Any) -> Any:
        """x after all blocks: x = through(block, x), one compiled step of a scan."""
        graph, stacked = self.layers()

        def body(x, layer):
            return through(nnx.merge(graph, layer), x), None

        if self.config.remat:
            body = jax.checkpoint(body, prevent_cse=False)  # the scan itself keeps the passes apart
        return jax.lax.scan(body, x, stacked)[0]

    def _hidden_after(self, traces: TraceBatch, prefix: Int[Array, " prefix"]) -> Float[Array, "batch time dim"]:
        """`hidden` of rows that follow one prefix, which goes through the layers once beside them."""
        if self.config.sliding_window is not None:
            raise ValueError("prefix: a decoder with a sliding window does not see a prefix whole; score whole rows")
        mask, real = causal_mask(traces.segment), prefix >= 0
        of_prefix, own = self.rotation((jnp.cumsum(real) - 1)[None]), self.rotation(traces.position)
        prefix_mask = causal_mask(real[None].astype(jnp.int32))

        def through(block, carry):
            x, before = carry
            q, k, v = block.project(before, of_prefix)
            own_q, own_k, own_v = block.project(x, own)
            x = block.finish(x, attend_after(own_q, own_k, own_v, mask, k[0], v[0], real))
            return by_rows(x), block.finish(before, attend(q, k, v, prefix_mask, causal=True))

        start = by_rows(self.embed(traces.tokens)), self.embed(jnp.maximum(prefix, 0)[None])
        return self.final_norm(self._run(through, start)[0])

    def logits(self, hidden: Float[Array, "... dim"]) -> Float[Array, "... vocab"]:
        """Next-token logits in float32."""
        return self._logits(hidden, self.embedding[...] if self.head is None else self.head.kernel[...].T)

    def logits_of(self, hidden: Float[Array, "... dim"], tokens: Int[Array, " chosen"]) -> Float[Array, "... chosen"]:
        """Next-token logits of a few tokens, without those of all others."""
        of_tokens = self.embedding[...][tokens] if self.head is None else self.head.kernel[...][:, tokens].T
        return self._logits(hidden, of_tokens)

    def _logits(self, hidden, of_tokens):
        """Float32 products of the hidden states with the vector of each token."""
        dtype = self.config.dtype
        rows = hidden.reshape(-1, hidden.shape[-1]).astype(dtype)
        return matmul_transposed(rows, of_tokens.astype(dtype)).reshape(*hidden.shape[:-1], -1)


def causal_mask(
    segment: Int[Array, "batch time"],
    window: int | None = None,
    after: Int[Array, "batch time"] | None = None,
    queries: Int[Array, " queries"] | None = None,
) -> Bool[Array, "batch queries time"]:
    """True where query t may look at key s: not later, same segment or the one it comes after, not padding, closer
    than `window`. `queries` are positions in the row; all of them by default."""
    keys = jnp.arange(segment.shape[1])
    queries = keys if queries is None else queries
    causal = keys <= queries[:, None]
    if window is not None:
        causal &= keys > queries[:, None] - window
    same = segment[:, queries, None] == segment[:, None, :]
    if after is not None:
        same |= after[:, queries, None] == segment[:, None, :]
    return causal & same & (segment > 0)[:, None, :]
