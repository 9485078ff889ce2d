"""Heads on a decoder: what is computed from hidden states, and where in a trace it is read.

A head turns the hidden state h_t into logits z_t in R^labels, in float32:

    LinearHead       z = W h (+ b)                     sequence and token classification
    MLPHead          z = W_2 relu(W_1 h + b_1) + b_2   Qwen2.5-Math-RM and -PRM (Zhang et al. 2025, arXiv 2501.07301)
    VocabularyHead   z = next-token logits of a few tokens, such as "-" and "+" (Wang et al. 2024, arXiv 2312.08935)

and a reading turns logits into scores:

    LastToken    trace score = z[label] at the last token of a trace
    StepEnds     step score  = softmax(z)[label] or its log at the end of each step (one label: sigmoid)
    PrefixValue  step score  = V(prefix with the step) - V(prefix without it), V = z[0], V of nothing = 0

Rows may be packed: every segment is read for itself, and the row's trace score puts all its steps together.
"""

from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le, MinLen
from flax import nnx
from jaxtyping import Bool, Float, Int

from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.base import Functional, Network, Params, TokenId, Width, functional
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import Decoder, DecoderConfig, DecoderNetwork, Linear
from reward_models.records import record
from reward_models.types import Aggregate, Array, Information, Kind, Scores, ScoreSpec, TraceBatch

Label = Annotated[int, Ge(0), Le(2**20 - 1)]
"""A logit of a head."""


@record
class LinearHead:
    """One matrix; starts with standard deviation dim^-0.5 (or `std`)."""

    labels: Width = 1
    bias: bool = False
    std: Annotated[float, Ge(0.0), Le(1e6)] | None = None

    def module(self, dim: int, rngs: nnx.Rngs) -> nnx.Module:
        return Linear(dim, self.labels, bias=self.bias, std=self.std, rngs=rngs)


@record
class MLPHead:
    """Two matrices with biases and a ReLU between; the inner width is that of the decoder."""

    labels: Width = 1

    def module(self, dim: int, rngs: nnx.Rngs) -> nnx.Module:
        return MLP(dim, self.labels, rngs=rngs)


@record
class VocabularyHead:
    """The language model's own logits of `tokens`: no parameters besides the decoder's."""

    tokens: Annotated[tuple[TokenId, ...], MinLen(1)]

    @property
    def labels(self) -> int:
        return len(self.tokens)

    def module(self, dim: int, rngs: nnx.Rngs) -> None:
        return None


class MLP(nnx.Module):
    def __init__(self, dim: int, labels: int, *, rngs: nnx.Rngs):
        self.inner = Linear(dim, dim, bias=True, rngs=rngs)
        self.outer = Linear(dim, labels, bias=True, rngs=rngs)

    def __call__(self, x):
        return self.outer(nnx.relu(self.inner(x)))


@record
class LastToken:
    """The score of a trace is the logit `label` at its last token whose id is not `skip`.

    `skip` is for models that were made with Hugging Face's rule, "rightmost token other than the padding token":
    where padding and end-of-text share an id, the score stands one token before the end. The score is booked on
    the last token of the response, so the last step has it and the other steps have 0.
    """

    label: Label = 0
    skip: TokenId | None = None

    @property
    def spec(self) -> tuple[Kind, Aggregate]:
        return "reward", "sum"

    def token_scores(self, logits: Float[Array, "batch time labels"], traces: TraceBatch) -> Float[Array, "batch time"]:
        there = traces.segment > 0
        source = last_of_segment(there if self.skip is None else there & (traces.tokens != self.skip), traces.segment)
        read = jnp.take_along_axis(logits[..., self.label], jnp.maximum(source, 0), axis=1)
        time = jnp.arange(traces.segment.shape[1])
        booked = traces.response & (last_of_segment(traces.response, traces.segment) == time) & (source >= 0)
        return jnp.where(booked, read, 0.0)


@record
class StepEnds:
    """The score of a step is read at its last token, or at its last `marker` token where the model wants one.

    `scale` is "log-probability" or "probability" of `label`; with a single logit, of its sigmoid.
    """

    label: Label = 1
    scale: Literal["log-probability", "probability"] = "log-probability"
    aggregate: Aggregate = "sum"
    marker: TokenId | None = None

    def __post_init__(self):
        if self.aggregate == "prod" and self.scale != "probability":
            raise ValueError("aggregate: 'prod' multiplies probabilities; set scale='probability' or aggregate='sum'")

    @property
    def spec(self) -> tuple[Kind, Aggregate]:
        return "reward", self.aggregate

    def token_scores(self, logits: Float[Array, "batch time labels"], traces: TraceBatch) -> Float[Array, "batch time"]:
        if logits.shape[-1] == 1:
            log_prob = jax.nn.log_sigmoid(logits[..., 0])
        else:
            log_prob = jax.nn.log_softmax(logits)[..., self.label]
        read = traces.response if self.marker is None else traces.response & (traces.tokens == self.marker)
        ends = last_of_step(read, traces)
        return jnp.where(ends, log_prob if self.scale == "log-probability" else jnp.exp(log_prob), 0.0)


@record
class PrefixValue:
    """The logit is the value of the prefix that ends with its token; tokens earn what they add to it."""

    @property
    def spec(self) -> tuple[Kind, Aggregate]:
        return "value", "sum"

    def prefix_value(self, logits: Float[Array, "batch time labels"], traces: TraceBatch):
        """Float[batch time+1]: entry t is the value before token t, entry t + 1 after it."""
        value = jnp.where(traces.segment > 0, logits[..., 0], 0.0)
        return jnp.pad(value, ((0, 0), (1, 0)))

    def token_scores(self, logits: Float[Array, "batch time labels"], traces: TraceBatch) -> Float[Array, "batch time"]:
        value = self.prefix_value(logits, traces)
        goes_on = jnp.pad(traces.segment[:, :-1], ((0, 0), (1, 0))) == traces.segment
        before = jnp.where(goes_on, value[:, :-1], 0.0)
        return jnp.where(traces.response, value[:, 1:] - before, 0.0)


class HeadedDecoder(nnx.Module):
    """Decoder trunk and head."""

    def __init__(self, config: "HeadedDecoderConfig", *, rngs: nnx.Rngs):
        self.config = config
        self.trunk = Decoder(config.decoder, rngs=rngs)
        self.head = config.head.module(config.decoder.dim, rngs)

    def logits(self, traces: TraceBatch) -> Float[Array, "batch time labels"]:
        """The head at every token, in float32."""
        hidden = self.trunk.hidden(traces).astype(jnp.float32)
        if isinstance(self.config.head, VocabularyHead):
            return self.trunk.logits_of(hidden, jnp.array(self.config.head.tokens))
        assert self.head is not None
        return self.head(hidden)


@record
class HeadedDecoderConfig(DecoderNetwork):
    """A decoder with a head and the way it is read. Parameters: {"trunk": decoder's, "head": head's}."""

    decoder: DecoderConfig
    head: LinearHead | MLPHead | VocabularyHead
    read: LastToken | StepEnds | PrefixValue
    information: Information = "preferences"

    def __post_init__(self):
        if not isinstance(self.read, PrefixValue):
            sigmoid = isinstance(self.read, StepEnds) and self.head.labels == 1
            check_label(self.read.label, 2 if sigmoid else self.head.labels)
        if isinstance(self.head, VocabularyHead) and max(self.head.tokens) >= self.decoder.vocab_size:
            limit = f"ids below vocab_size ({self.decoder.vocab_size})"
            raise ValueError(f"head.tokens: expected {limit}, got {self.head.tokens}")

    @property
    def label(self) -> int:
        """Which logit is read: the only one of a head of one, or that of a value."""
        return 0 if self.head.labels == 1 or isinstance(self.read, PrefixValue) else self.read.label

    def module(self) -> Functional:
        """The nnx module as pure functions, for losses on logits."""
        return self.with_adapters(functional(lambda rngs: HeadedDecoder(self, rngs=rngs)))

    def make(self) -> Network:
        module = self.module()
        kind, aggregate = self.read.spec

        def apply(params: Params, traces: TraceBatch) -> Scores:
            logits = module.bind(params).logits(traces)
            token = self.read.token_scores(logits, traces)
            step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
            trace = aggregate_steps(step, traces.step_mask, aggregate)
            value = self.read.prefix_value(logits, traces) if isinstance(self.read, PrefixValue) else None
            return Scores(trace, step, token, value)

        # The value of a shared prefix, which the first token of a response is compared with, is not computed.
        sees_prefix = self.decoder.sees_prefix and not isinstance(self.read, PrefixValue)
        return Network(module.init, apply, ScoreSpec(kind, aggregate, self.information), sees_prefix)

    @property
    def has_head(self) -> bool:
        return not isinstance(self.head, VocabularyHead)


def check_label(label: int, labels: int) -> None:
    """ValueError for a label that a head does not have."""
    if not 0 <= label < labels:
        has = "1 label, which is 0" if labels == 1 else f"{labels} labels, 0 to {labels - 1}"
        raise ValueError(f"label: the head has {has}; got {label}")


def from_critic(config: CriticConfig, params: Params) -> tuple[HeadedDecoderConfig, Params]:
    """A step critic as a token classifier of two labels with the same scores: softmax(0, l) = sigmoid(l)."""
    network = HeadedDecoderConfig(
        decoder=config.decoder,
        head=LinearHead(labels=2, bias=True),
        read=StepEnds(aggregate=config.aggregate),
        information=config.information,
    )
    head = jax.tree.map(lambda leaf: jnp.concatenate([jnp.zeros_like(leaf), leaf], axis=-1), params["head"])
    return network, {**params, "head": head}


def last_of_segment(where: Bool[Array, "batch time"], segment: Int[Array, "batch time"]) -> Int[Array, "batch time"]:
    """At every token, the index of the last token of its segment where `where` is True, -1 if there is none."""
    time = segment.shape[1]
    index = jnp.where(where, jnp.arange(time), -1)
    by_segment = jax.vmap(lambda i, s: jax.ops.segment_max(i, s, num_segments=time + 1))(index, segment)
    return jnp.maximum(jnp.take_along_axis(by_segment, segment, axis=1), -1)


def last_of_step(where: Bool[Array, "batch time"], traces: TraceBatch) -> Bool[Array, "batch time"]:
    """True at the last token of every step where `where` is True."""
    time, steps = traces.step_id.shape[1], traces.step_mask.shape[1]
    index = jnp.where(where, jnp.arange(time), -1)
    step = jnp.maximum(traces.step_id, 0)
    by_step = jax.vmap(lambda i, s: jax.ops.segment_max(i, s, num_segments=steps))(index, step)
    return where & (jnp.take_along_axis(by_step, step, axis=1) == jnp.arange(time))
