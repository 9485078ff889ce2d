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

from reward_models.networks.decoder import Decoder, DecoderConfig
from reward_models.networks.next_token import of_token, token_statistics
from reward_models.networks.soft_advantage import TokenReward
from reward_models.records import record
from reward_models.types import Aggregate, Information, TraceBatch


@record
class AdvantageConfig(TokenReward):
    """The log-probability of each token plus the entropy of its prediction."""

    decoder: DecoderConfig
    aggregate: Aggregate = "sum"
    information: Information = "demonstrations"

    def token_scores(self, decoder: Decoder, traces: TraceBatch) -> Float[Array, "batch time"]:
        return token_statistics(_advantage, traces, decoder)


def _advantage(tokens, logits):
    log_prob = jax.nn.log_softmax(logits)
    return of_token(log_prob, tokens) - jnp.sum(jnp.exp(log_prob) * log_prob, axis=-1)
