"""A decoder's logits as soft Q-values: the reward of a token is its soft advantage.

    r_t = Q(s_t, a_t) - V(s_t),    V(s) = log sum_a exp Q(s, a)

With logits for Q this is log p(a_t | s_t), in nats. Maximum likelihood on demonstrations is inverse RL without
a regulariser (Wulfmeier et al. 2024, arXiv 2409.01369, lambda = 0): logits learned so are a soft Q-function up to
a shift c(s) per state, and the advantage is what such shifts leave alone. It is also the f at which AIRL ends,
log pi_E (Fu et al. 2018). A step's score is the sum over its tokens, a trace's the aggregate over its steps.
What makes it a judge rather than a second policy is what the decoder is shown: see irl/text/windows.py.
"""

from abc import abstractmethod

from jaxtyping import Array, Float

from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.base import Functional, Network, Params
from reward_models.networks.decoder import Decoder, DecoderConfig, DecoderNetwork
from reward_models.networks.next_token import token_log_prob
from reward_models.records import record
from reward_models.types import Aggregate, Information, Scores, ScoreSpec, TraceBatch


class TokenReward(DecoderNetwork):
    """The config class of a network whose parameters are those of the decoder, and whose tokens have scores."""

    aggregate: Aggregate
    information: Information

    @abstractmethod
    def token_scores(self, decoder: Decoder, traces: TraceBatch) -> Float[Array, "batch time"]:
        """The scores of response tokens, 0 elsewhere."""

    def module(self) -> Functional:
        return self.decoder.make()

    def make(self) -> Network:
        module = self.module()

        def apply(params: Params, traces: TraceBatch) -> Scores:
            token = self.token_scores(module.bind(params), traces)
            step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
            return Scores(aggregate_steps(step, traces.step_mask, self.aggregate), step, token)

        spec = ScoreSpec("advantage", self.aggregate, self.information)
        return Network(module.init, apply, spec, self.decoder.sees_prefix)

    def with_trunk(self, params: Params, trunk: Params | None) -> Params:
        """The parameters are the trunk."""
        return trunk

    def trunk_of(self, params: Params) -> Params:
        return params


@record
class SoftAdvantageConfig(TokenReward):
    """The log-probability of each token."""

    decoder: DecoderConfig
    aggregate: Aggregate = "sum"
    information: Information = "demonstrations"

    def token_scores(self, decoder: Decoder, traces: TraceBatch) -> Float[Array, "batch time"]:
        return token_log_prob(decoder, traces)
