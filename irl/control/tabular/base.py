"""The interface of inverse reinforcement learning in tabular MDPs: an exact loss, minimised on the full batch."""

from abc import ABC, abstractmethod

import jax
import optax
from jaxtyping import Array, Float, Shaped

from irl.algorithms.base import Algorithm, Info
from irl.control.tabular.demonstrations import check_occupancy
from irl.control.tabular.full_batch import Fitted, FullBatchOptimiser, Params, full_batch, minimise
from irl.control.tabular.mdp import TabularMdp, check
from irl.control.tabular.rewards import TabularReward


class TabularIrl(ABC):
    """The config class of an algorithm. A new algorithm is one file with one registered subclass."""

    optimiser: FullBatchOptimiser
    l2: float
    """Weight of the penalty |params|^2 / 2."""

    @abstractmethod
    def statistics(self, counts: Float[Array, "states actions states"]) -> Float[Array, "..."]:
        """The batch of a step: the part of the expert's discounted counts of transitions that the loss depends on.

        Counts are `demonstrations.empirical_transitions`, or `mdp.transition_occupancy` of a known policy.
        """

    @abstractmethod
    def loss(
        self, mdp: TabularMdp, reward: Float[Array, "..."], expert: Float[Array, "..."]
    ) -> tuple[Float[Array, ""], Info]:
        """(loss in nats, info) of a reward table, given the statistics of the expert."""

    def make(self, mdp: TabularMdp, reward: TabularReward) -> Algorithm:
        check(mdp)

        def loss(params: Params, expert: Float[Array, "..."]) -> tuple[Array, Info]:
            value, info = self.loss(mdp, reward.apply(params), expert)
            return value + 0.5 * self.l2 * optax.tree.norm(params, squared=True), info

        return full_batch(reward.init, loss, self.optimiser)

    def fit(
        self,
        mdp: TabularMdp,
        reward: TabularReward,
        expert: Shaped[Array, "..."],
        key: jax.Array,
        *,
        steps: int = 500,
        tolerance: float = 1e-8,
    ) -> Fitted:
        """Train for at most `steps`, until the gradient norm is within the tolerance.

        Raises:
            InputError: Statistics of another shape or sum.
        """
        algorithm = self.make(mdp, reward)
        check_occupancy(mdp, expert, self.statistics(mdp.transition).shape)
        return minimise(algorithm, expert, key, steps=steps, tolerance=tolerance)
