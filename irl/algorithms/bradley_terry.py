"""Bradley-Terry preference learning: the score of a trace from pairs "this one is preferred to that one".

    L = - E [ log sigmoid(r(x, chosen) - r(x, rejected) - margin) ] + centering (r_chosen + r_rejected)^2

Bradley & Terry 1952; for language: Ouyang et al. 2022 (arXiv 2203.02155), eq. 1. The pairs may be anything:
expert over policy sample, correct over wrong, a person's choice. The information level is that of the pairs.
Differences: (1) the reward of a trace is the network's declared aggregate of step scores; (2) pairs carry weights and
margins; (3) pairs may share packed rows, where every sequence is one step and its reward that step's score.
"""

from dataclasses import field
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from irl.algorithms.base import Algorithm, Info, gradient_algorithm
from irl.algorithms.optimiser import AdamW, Optimiser
from irl.algorithms.pairs import Contrasts, PairAlgorithm
from reward_models.losses import bradley_terry_loss, weighted_mean
from reward_models.networks.base import Network, Params
from reward_models.ranges import ShareBelowOne, Weight
from reward_models.records import record
from reward_models.types import Array, Information, PackedPairBatch, PairBatch

Pairs = PairBatch | PackedPairBatch


@record
class BradleyTerry(PairAlgorithm):
    """Batches are `PairBatch`es (row i of chosen and of rejected answer the same prompt) or `PackedPairBatch`es."""

    information: ClassVar[Information] = "preferences"
    """The highest level that pairs may have. A stage that builds pairs from less declares the level of its pairs."""
    optimiser: Optimiser = field(default_factory=AdamW)
    label_smoothing: ShareBelowOne = 0.0
    centering: Weight = 0.0

    def make(self, network: Network) -> Algorithm:
        def loss(params: Params, batch: Pairs) -> tuple[Float[Array, ""], Info]:
            chosen, rejected, margin = pair_rewards(network, params, batch)
            value = bradley_terry_loss(
                chosen,
                rejected,
                margin=margin,
                label_smoothing=self.label_smoothing,
                centering=self.centering,
                weights=batch.weight,
            )
            accuracy = weighted_mean((chosen > rejected).astype(jnp.float32), batch.weight)
            return value, {"accuracy": accuracy, "margin": weighted_mean(chosen - rejected, batch.weight)}

        return gradient_algorithm(network.init, loss, self.optimiser.make())

    def batch(self, contrasts: Contrasts) -> PairBatch:
        exists = contrasts.negative.step_mask.any(axis=1)
        return PairBatch(contrasts.matched, contrasts.negative, exists.astype(jnp.float32))


def pair_rewards(
    network: Network, params: Params, batch: Pairs
) -> tuple[Float[Array, " pairs"], Float[Array, " pairs"], Float[Array, " pairs"]]:
    """(rewards of chosen, rewards of rejected, margins) in one forward pass."""
    if isinstance(batch, PackedPairBatch):
        rewards = network.apply(params, batch.traces).step.reshape(-1)
        return rewards[batch.chosen], rewards[batch.rejected], jnp.asarray(batch.margin)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), batch.chosen, batch.rejected)
    chosen, rejected = jnp.split(network.apply(params, both).trace, 2)
    return chosen, rejected, jnp.zeros_like(chosen)
