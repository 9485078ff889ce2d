"""Adversarial critic: experts' steps against what a policy writes in the same place, in pairs.

    L = - E log sigmoid( (R(s, y_E) - R(s, y_N)) / temperature )  -  mle * E R(s, y_E) / tokens
        + centre * E (R(s, y_E) + R(s, y_N))^2 / 4

s is the context that both rows share, R the sum of the step scores in question. The pairwise term is that of
Ye et al. 2025 (GAD, arXiv 2511.10643). Nothing here knows whether a step is right: what a policy wrote counts as a
negative, and where a policy writes what experts write the two cancel. Information level: demonstrations.
Differences: (1) a pair may be two steps in one state, not only two answers, so that no critic can live on how
often experts and policies visit a state; (2) the likelihood of the expert's side keeps the domain's rules in the
network (for a soft advantage it is the log-likelihood); (3) the constant of a context is fixed by `centre`.
"""

from dataclasses import field
from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Float

from irl.algorithms.base import Algorithm, Info, gradient_algorithm
from irl.algorithms.optimiser import AdamW, Optimiser
from irl.algorithms.pairs import Contrasts, PairAlgorithm
from reward_models.aggregation import sum_by_step
from reward_models.losses import bradley_terry_loss, weighted_mean
from reward_models.networks.base import Network, Params
from reward_models.ranges import Scale, ShareBelowOne, Weight
from reward_models.records import record
from reward_models.types import Array, Information, TraceBatch


class CriticBatch(NamedTuple):
    """Row i of both shares its context; steps with weight are judged, those of the negative may be others."""

    expert: TraceBatch
    expert_weight: Float[Array, "batch steps"]
    negative: TraceBatch
    negative_weight: Float[Array, "batch steps"]


@record
class PairwiseCritic(PairAlgorithm):
    """Weights of the terms. A batch is a tuple of `CriticBatch`es, which may differ in width."""

    information: ClassVar[Information] = "demonstrations"
    by_width: ClassVar[bool] = True

    optimiser: Optimiser = field(default_factory=AdamW)
    mle: Weight = 1.0
    centre: Weight = 0.0
    label_smoothing: ShareBelowOne = 0.0
    temperature: Scale = 1.0

    def make(self, network: Network) -> Algorithm:
        def loss(params: Params, groups: tuple[CriticBatch, ...]) -> tuple[Float[Array, ""], Info]:
            parts = [self.loss(network, params, batch) for batch in groups]
            info = {f"{name}/{i}": value for i, (_, part) in enumerate(parts) for name, value in part.items()}
            return sum(value for value, _ in parts) / len(parts), info

        return gradient_algorithm(network.init, loss, self.optimiser.make())

    def batch(self, contrasts: Contrasts) -> CriticBatch:
        expert, negative = contrasts.matched, contrasts.negative
        weights = (side.step_mask.astype(jnp.float32) for side in (expert, negative))
        return CriticBatch(expert, next(weights), negative, next(weights))

    def loss(self, network: Network, params: Params, batch: CriticBatch) -> tuple[Float[Array, ""], Info]:
        """L of the module docstring for one group of pairs."""
        expert = jnp.sum(network.apply(params, batch.expert).step * batch.expert_weight, axis=1)
        negative = jnp.sum(network.apply(params, batch.negative).step * batch.negative_weight, axis=1)
        exists = (batch.expert_weight > 0).any(1) & (batch.negative_weight > 0).any(1)
        pair = bradley_terry_loss(
            expert / self.temperature, negative / self.temperature, label_smoothing=self.label_smoothing, weights=exists
        )
        steps = batch.expert_weight.shape[1]
        lengths = sum_by_step(batch.expert.response.astype(jnp.float32), batch.expert.step_id, steps)
        nll = -jnp.sum(expert) / jnp.maximum(jnp.sum(lengths * batch.expert_weight), 1)  # per judged token
        centre = weighted_mean((expert + negative) ** 2 / 4, exists)
        info = {
            "pair_loss": pair,
            "nll": nll,
            "pair_accuracy": weighted_mean((expert > negative).astype(jnp.float32), exists),
            "margin": weighted_mean(expert - negative, exists),
        }
        return pair + self.mle * nll + self.centre * centre, info
