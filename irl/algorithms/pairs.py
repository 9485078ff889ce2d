"""Algorithms that learn a reward from pairs: an expert's step against another step in the same state.

A subclass of `PairAlgorithm` declares the batches that it learns from; the stage that trains it
(experiments/traces/fit_reward.py) knows no algorithm by name. A new algorithm is one file with one such class.
"""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from jaxtyping import Float

from irl.algorithms.base import Algorithm, Batch
from reward_models.networks.base import Network
from reward_models.types import Array, Information, TraceBatch


class StepPairs(NamedTuple):
    """Row i of both sides shares its context. A row holds one step, the one that is judged."""

    expert: TraceBatch
    negative: TraceBatch
    expert_log_prob: Float[Array, "batch 1"]
    """The policy's log-probability of the step, in nats; NaN where it is unknown."""
    negative_log_prob: Float[Array, "batch 1"]


class PairAlgorithm(ABC):
    """The config class of an algorithm on pairs of steps."""

    information: ClassVar[Information]
    """The highest level of supervision that its batches may hold."""
    needs_log_prob: ClassVar[bool] = False
    """Pairs without the policy's log-probability of both steps are left out."""
    by_width: ClassVar[bool] = False
    """A batch is a tuple of short and long pairs, each padded to its own width."""

    @abstractmethod
    def make(self, network: Network) -> Algorithm:
        """The algorithm for a network."""

    @abstractmethod
    def batch(self, pairs: StepPairs) -> Batch:
        """The pairs as the algorithm's step takes them: arrays with a leading axis of pairs."""
