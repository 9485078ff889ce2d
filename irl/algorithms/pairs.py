"""Algorithms that learn a reward by contrast: a demonstration against negatives in the same context.

The context is a state in which one step is judged, or a prompt whose whole traces are judged. A subclass of
`PairAlgorithm` declares the batches that it learns from; what trains it (`FitReward`, `rounds`) knows no algorithm by
name. A new algorithm is one file with one such class.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from irl.algorithms.base import Algorithm, Batch
from reward_models.networks.base import Network
from reward_models.types import Array, Information, Scores, TraceBatch


class Contrasts(NamedTuple):
    """`n` consecutive negatives for each expert row, in its context: n is the ratio of the numbers of rows.

    A row judges one step in its state, or a trace with all its steps. A row without steps is left out.
    """

    expert: TraceBatch
    negative: TraceBatch
    expert_log_prob: Float[Array, "batch steps"]
    """Log-probability of the step, in nats, under the policy that wrote the negatives; NaN where it is unknown."""
    negative_log_prob: Float[Array, "negatives steps"]

    @property
    def matched(self) -> TraceBatch:
        """The expert's row of every negative."""
        n = len(self.negative.tokens) // len(self.expert.tokens)
        return self.expert if n == 1 else jax.tree.map(lambda x: jnp.repeat(x, n, axis=0), self.expert)


class PairAlgorithm(ABC):
    """The config class of an algorithm on contrasts."""

    information: ClassVar[Information]
    """The highest level of supervision that its batches may hold."""
    needs_log_prob: ClassVar[bool] = False
    """Rows without the policy's log-probability are left out."""
    by_width: ClassVar[bool] = False
    """A batch is a tuple of short and long pairs, each padded to its own width."""

    @abstractmethod
    def make(self, network: Network) -> Algorithm:
        """The algorithm for a network."""

    @abstractmethod
    def batch(self, contrasts: Contrasts) -> Batch:
        """The contrasts as the algorithm's step takes them: arrays with a leading axis of pairs."""

    def policy_reward(self, scores: Scores, log_prob: Float[Array, "batch steps"]) -> Float[Array, " batch"]:
        """What the policy maximises, per trace: the learned reward.

        Where the reward is an energy, its maximum-entropy policy is wanted, and -log pi of the trace is added.
        """
        return scores.trace - jnp.sum(log_prob, axis=1) if self.needs_log_prob else scores.trace
