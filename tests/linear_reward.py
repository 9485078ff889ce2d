"""The classic MaxEnt reward, linear in indicator features: R(x, y) = theta . phi(x, y).

    token_t = position[i_t, w_t] + bigram[w_{t-1}, w_t],    R = sum_t token_t                    (nats)

i_t counts the response tokens of the row's segment before t, w_t is the token id modulo `vocab`. The first
response token follows the last prompt token. The reward is that of Ziebart et al., "Maximum Entropy Inverse
Reinforcement Learning", AAAI 2008. Differences from the paper:

1. Features belong to tokens of a trace, not to states of a grid.
2. Features are tables that are looked up; the indicator vectors are never formed.
3. Responses longer than `num_positions` share the last position; a `vocab` below the tokenizer's hashes ids.
"""

from typing import Annotated

import jax
import jax.numpy as jnp
from annotated_types import Ge, Le
from jaxtyping import Array, Bool, Int

from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.base import Network, NetworkConfig, Params
from reward_models.records import record
from reward_models.types import Scores, ScoreSpec, TraceBatch


@record
class LinearConfig(NetworkConfig):
    """theta . phi with `num_positions * vocab` position weights and `vocab**2` bigram weights."""

    num_positions: Annotated[int, Ge(1), Le(2**20)]
    vocab: Annotated[int, Ge(1), Le(2**16)]
    init_scale: Annotated[float, Ge(0.0)] = 0.0
    """Standard deviation of the first weights; at 0 the reward starts out uniform."""

    @property
    def vocabulary(self) -> None:
        return None

    def make(self) -> Network:
        def init(key: jax.Array) -> Params:
            shapes = {"position": (self.num_positions, self.vocab), "bigram": (self.vocab, self.vocab)}
            keys = jax.random.split(key, len(shapes))
            return {
                name: self.init_scale * jax.random.normal(k, shape)
                for k, (name, shape) in zip(keys, shapes.items(), strict=True)
            }

        return Network(init, linear_scores, ScoreSpec(kind="reward", aggregate="sum"))


def linear_scores(params: Params, traces: TraceBatch) -> Scores:
    """Scores of `LinearConfig` weights; prefix-causal, as a token sees only its predecessor and index."""
    num_positions, vocab = params["position"].shape
    word = traces.tokens % vocab
    index = jnp.minimum(response_index(traces), num_positions - 1)
    bigram = params["bigram"][jnp.roll(word, 1, axis=1), word]
    token = params["position"][index, word] + jnp.where(segment_start(traces), 0, bigram)
    token = jnp.where(traces.response, token, 0)
    step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
    return Scores(trace=aggregate_steps(step, traces.step_mask, "sum"), step=step, token=token)


def segment_start(traces: TraceBatch) -> Bool[Array, "batch time"]:
    """The tokens without a predecessor in their own segment."""
    before = jnp.pad(traces.segment[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    return traces.segment != before


def response_index(traces: TraceBatch) -> Int[Array, "batch time"]:
    """How many response tokens of the same segment stand before each token."""
    before = jnp.cumsum(traces.response, axis=1) - traces.response
    return before - jax.lax.cummax(jnp.where(segment_start(traces), before, 0), axis=1)
