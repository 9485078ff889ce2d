"""The lowest regret of a step: how much less likely than the likeliest is the worst of its tokens.

    regret_t = log p(token_t | before) - max_a log p(a | before) <= 0,    step score = min over the step's tokens t

In a soft Q-function (see soft_advantage.py) that is Q(s_t, a_t) - max_a Q(s_t, a). Learned from demonstrations alone,
it points at a step by its worst token, where a sum grows with the length of the step. `judged` are the token ids that
count, digits say; a step without any scores 0. The score of a step is booked on its last token.
"""

import jax
import jax.numpy as jnp

from reward_models.aggregation import aggregate_steps
from reward_models.networks.base import Functional, Network, Params, TokenId
from reward_models.networks.critic import step_ends
from reward_models.networks.decoder import DecoderConfig, DecoderNetwork
from reward_models.networks.next_token import of_token, token_statistics
from reward_models.records import record
from reward_models.types import Aggregate, Information, Scores, ScoreSpec, TraceBatch


@record
class RegretConfig(DecoderNetwork):
    """Parameters are those of the decoder."""

    decoder: DecoderConfig
    judged: tuple[TokenId, ...]
    aggregate: Aggregate = "min"
    information: Information = "demonstrations"

    def __post_init__(self):
        unknown = [token for token in self.judged if token >= self.decoder.vocab_size]
        if unknown or not self.judged:
            raise ValueError(f"judged: expected ids below {self.decoder.vocab_size}, at least one, got {self.judged}")

    def module(self) -> Functional:
        return self.decoder.make()

    def make(self) -> Network:
        module = self.module()

        def apply(params: Params, traces: TraceBatch) -> Scores:
            regret = token_statistics(_regret, traces, module.bind(params))
            counts = traces.response & jnp.isin(traces.tokens, jnp.array(self.judged))
            steps = traces.step_mask.shape[1]
            own = jnp.maximum(traces.step_id, 0)
            lowest = jax.vmap(lambda r, s: jax.ops.segment_min(r, s, num_segments=steps))
            step = jnp.minimum(lowest(jnp.where(counts, regret, 0.0), own), 0.0)
            step = jnp.where(traces.step_mask, step, 0.0)
            token = jnp.where(step_ends(traces.step_id), jnp.take_along_axis(step, own, axis=1), 0.0)
            return Scores(aggregate_steps(step, traces.step_mask, self.aggregate), step, token)

        return Network(module.init, apply, ScoreSpec("advantage", self.aggregate, self.information))

    def with_trunk(self, params: Params, trunk: Params) -> Params:
        """The parameters are the trunk."""
        return trunk


def _regret(tokens, logits):
    return of_token(logits, tokens) - logits.max(axis=-1)
