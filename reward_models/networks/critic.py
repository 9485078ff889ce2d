"""A decoder that judges reasoning steps: the reward model for traces.

A linear head reads the hidden state at the last token of each step, l_s = w . h_s + b, and

    step score  = log sigmoid(l_s)      "log-probability, in nats, that an expert would go on like this"
    trace score = sum over steps        log of the product of the steps' probabilities

Scores are at most 0 however long the trace is, so a trace cannot buy back a bad step with good ones. The score
of a step stands at its last token; all its other tokens score 0.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float, Int

from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.base import Functional, Network, Params, functional
from reward_models.networks.decoder import Decoder, DecoderConfig, DecoderNetwork, Linear
from reward_models.records import record
from reward_models.types import Aggregate, Information, Scores, ScoreSpec, TraceBatch


class StepCritic(nnx.Module):
    """Decoder trunk and scalar head."""

    def __init__(self, config: DecoderConfig, *, rngs: nnx.Rngs):
        self.trunk = Decoder(config, rngs=rngs)
        self.head = Linear(config.dim, 1, bias=True, std=config.dim**-0.5, rngs=rngs)

    def logits(self, traces: TraceBatch) -> Float[Array, "batch time"]:
        """The head at every token, in float32."""
        return self.head(self.trunk.hidden(traces).astype(jnp.float32))[..., 0]


@record
class CriticConfig(DecoderNetwork):
    """A step critic on a decoder; `aggregate` says how step scores become a trace score."""

    decoder: DecoderConfig
    aggregate: Aggregate = "sum"
    information: Information = "demonstrations"

    def module(self) -> Functional:
        """The nnx module as pure functions, for algorithms that need more than scores."""
        return self.with_adapters(functional(lambda rngs: StepCritic(self.decoder, rngs=rngs)))

    def make(self) -> Network:
        module = self.module()

        def apply(params: Params, traces: TraceBatch) -> Scores:
            logits = module.bind(params).logits(traces)
            token = jnp.where(step_ends(traces.step_id), jax.nn.log_sigmoid(logits), 0.0)
            step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
            return Scores(aggregate_steps(step, traces.step_mask, self.aggregate), step, token)

        return Network(
            module.init, apply, ScoreSpec("reward", self.aggregate, self.information), self.decoder.sees_prefix
        )

    @property
    def has_head(self) -> bool:
        return True


def step_ends(step_id: Int[Array, "batch time"]) -> Bool[Array, "batch time"]:
    """True at the last token of every step."""
    following = jnp.pad(step_id[:, 1:], ((0, 0), (0, 1)), constant_values=-1)
    return (step_id >= 0) & (following != step_id)
