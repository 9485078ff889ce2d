"""Process reward model: labels of steps teach the probability that a step is right.

    L = - mean over labelled steps of  y log p_s + (1 - y) log(1 - p_s),    log p_s = step score of the network

Lightman et al. 2023 (arXiv 2305.20050); labels between 0 and 1 are Monte-Carlo estimates (Wang et al. 2023, arXiv
2312.08935). Works on any network whose step scores are log-probabilities (step critic, token classification). NaN
labels are unknown and count nowhere. Information level: step labels. Differences: (1) steps of several traces may share
a packed row; (2) `per_trace` gives every row the same say however many steps it has.
"""

from dataclasses import field
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Float

from irl.algorithms.base import Algorithm, Info, gradient_algorithm
from irl.algorithms.optimiser import AdamW, Optimiser
from reward_models.losses import per_trace, weighted_mean
from reward_models.networks.base import Network, Params
from reward_models.records import record
from reward_models.types import Array, Information, LabelledBatch

SMALLEST = 1e-6
"""1 - p is not taken for smaller than this: a step that is believed in so firmly still has a gradient."""


@record
class Process:
    """Batches are `LabelledBatch`es; `outcome` is not looked at."""

    information: ClassVar[Information] = "step labels"
    optimiser: Optimiser = field(default_factory=AdamW)
    per_trace: bool = False

    def make(self, network: Network) -> Algorithm:
        def loss(params: Params, batch: LabelledBatch) -> tuple[Float[Array, ""], Info]:
            log_prob = network.apply(params, batch.traces).step
            label = jnp.asarray(batch.step_label)
            known = batch.traces.step_mask & ~jnp.isnan(label)
            weights = per_trace(known) if self.per_trace else known.astype(jnp.float32)
            label = jnp.where(known, label, 0.0)
            right = (log_prob > jnp.log(0.5)) == (label > 0.5)
            info = {"accuracy": weighted_mean(right.astype(jnp.float32), weights)}
            return weighted_mean(cross_entropy(log_prob, label), weights), info

        return gradient_algorithm(network.init, loss, self.optimiser.make())


def cross_entropy(
    log_prob: Float[Array, "batch steps"], label: Float[Array, "batch steps"]
) -> Float[Array, "batch steps"]:
    """-y log p - (1-y) log(1-p) in nats, from log p <= 0."""
    rest = jnp.log(jnp.maximum(-jnp.expm1(log_prob), SMALLEST))
    return -label * log_prob - (1 - label) * rest
