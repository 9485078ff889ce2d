"""A decoder's logits as soft Q-values: the reward of a token is its advantage over the policy that they define.

    r_t = Q(s_t, a_t) - sum_a pi(a | s_t) Q(s_t, a) = log pi(a_t | s_t) + H(pi(. | s_t)),    pi(a | s) ~ exp Q(s, a)

The expectation of r_t under pi is 0 in every state, whatever the number of plausible actions. A sum over a trace is
therefore a martingale for traces of pi: neither long nor short ones gain by their length, and stopping where pi would
continue costs the whole surprise of the end token. The soft advantage (soft_advantage.py) lacks the entropy: it is
negative for every token, so that its sum prefers short traces. Both are invariant to a shift c(s) of Q per state.
Divided by its standard deviation, the sum is the criterion of Fast-DetectGPT (Bao et al. 2024, arXiv 2310.05130).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.base import Functional, Network, Params
from reward_models.networks.decoder import Decoder, DecoderConfig, DecoderNetwork
from reward_models.records import record
from reward_models.types import Aggregate, Information, Scores, ScoreSpec, TraceBatch


@record
class AdvantageConfig(DecoderNetwork):
    """Parameters are those of the decoder."""

    decoder: DecoderConfig
    aggregate: Aggregate = "sum"
    information: Information = "demonstrations"

    def module(self) -> Functional:
        return self.decoder.make()

    def make(self) -> Network:
        module = self.module()

        def apply(params: Params, traces: TraceBatch) -> Scores:
            token = token_advantage(module.bind(params), traces)
            step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
            return Scores(aggregate_steps(step, traces.step_mask, self.aggregate), step, token)

        return Network(
            module.init, apply, ScoreSpec("advantage", self.aggregate, self.information), self.decoder.sees_prefix
        )

    def with_trunk(self, params: Params, trunk: Params) -> Params:
        """The parameters are the trunk."""
        return trunk


def token_advantage(decoder: Decoder, traces: TraceBatch) -> Float[Array, "batch time"]:
    """log p(token_t | tokens before t) plus the entropy of p, in nats, at response tokens, 0 elsewhere."""
    log_prob = jax.nn.log_softmax(decoder.logits(decoder.hidden(traces))[:, :-1])
    taken = jnp.take_along_axis(log_prob, traces.tokens[:, 1:, None], axis=-1)[..., 0]
    expected = jnp.sum(jnp.exp(log_prob) * log_prob, axis=-1)
    return jnp.where(traces.response, jnp.pad(taken - expected, ((0, 0), (1, 0))), 0.0)
