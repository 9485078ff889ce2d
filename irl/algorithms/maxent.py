"""Maximum-entropy IRL on whole traces: make demonstrations likely under pi(y|x) = exp(R(x, y)) / Z(x).

    L = - mean_E R(x, y) + mean_x log Zhat(x),    log Zhat(x) = log mean_i exp(R(x, y_i) - log q_i)

in nats, over K negatives y_i ~ q(.|x) per prompt, so that

    grad L = - E_E[grad R] + E_x sum_i w_i grad R(x, y_i),    w = softmax_i(R_i - log q_i).

Ziebart et al., "Maximum Entropy Inverse Reinforcement Learning", AAAI 2008; with sampled negatives: Finn et
al., "Guided Cost Learning", ICML 2016 (arXiv 1603.00448). Information level: demonstrations. The reward is an
energy: it does not fade as the policy improves, and serves any policy. Differences from the papers:

1. No dynamic programming: traces are enumerated or sampled. When all are enumerated, log q = 0 gives the
   exact gradient, and log q = -log K (the uniform distribution) the exact likelihood as well.
2. Each prompt has a partition function of its own, weighted by its share of the demonstrations.
3. `MaxEnt.batch` puts each demonstration among the negatives of its prompt, with the policy's log-probability for
   every row. L is then ranking noise-contrastive estimation (Ma & Collins, EMNLP 2018, arXiv 1809.01812), which is
   bounded below and consistent for any number of negatives.
4. Adam on a clipped gradient plus an L2 penalty, in place of the papers' optimisers and cost regularisers.
"""

from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from irl.algorithms.base import Algorithm, Info, gradient_algorithm, with_l2
from irl.algorithms.optimiser import clipped_adam
from irl.algorithms.pairs import Contrasts, PairAlgorithm
from reward_models.losses import weighted_mean
from reward_models.networks.base import Network, Params
from reward_models.ranges import Positive, Rate, Weight
from reward_models.records import record
from reward_models.types import Information, Scores, TraceBatch


class MaxEntBatch(NamedTuple):
    """Demonstrations and K negatives for each group (a prompt): row g*K + k of `negatives` has `log_q[g, k]`.

    A group whose prompt no demonstration has counts for nothing, so it can serve as padding.
    """

    demonstrations: TraceBatch
    negatives: TraceBatch
    log_q: Float[Array, "groups samples"]
    """log-probability, in nats, of drawing the negative; +inf leaves a row out (not all of a group's)."""


@record
class MaxEnt(PairAlgorithm):
    """Settings of MaxEnt IRL."""

    information: ClassVar[Information] = "demonstrations"
    needs_log_prob: ClassVar[bool] = True

    learning_rate: Rate = 1e-3
    l2: Weight = 0.0
    """Adds l2/2 * |params|^2."""
    max_grad_norm: Positive = 1.0

    def make(self, network: Network) -> Algorithm:
        def loss(params: Params, batch: MaxEntBatch) -> tuple[Float[Array, ""], Info]:
            return maxent_loss(network.apply, params, batch)

        optimiser = clipped_adam(self.learning_rate, self.max_grad_norm)
        return gradient_algorithm(network.init, with_l2(loss, self.l2), optimiser)

    def batch(self, contrasts: Contrasts) -> MaxEntBatch:
        groups = len(contrasts.expert.tokens)

        def joined(expert: Array, negative: Array) -> Array:
            """[groups, 1 + n, ...]: each demonstration before its negatives."""
            by_group = negative.reshape(groups, -1, *negative.shape[1:])
            return jnp.concatenate([expert[:, None], by_group], axis=1)

        def log_q(traces: TraceBatch, log_prob: Array) -> Array:
            total = jnp.sum(log_prob, axis=1, where=traces.step_mask)
            return jnp.where(traces.step_mask.any(axis=1), total, jnp.inf)

        expert, negative, *log_probs = contrasts
        rows = jax.tree.map(lambda *sides: joined(*sides).reshape(-1, *sides[0].shape[1:]), expert, negative)
        return MaxEntBatch(expert, rows, joined(log_q(expert, log_probs[0]), log_q(negative, log_probs[1])))


def maxent_loss(
    apply: Callable[[Params, TraceBatch], Scores], params: Params, batch: MaxEntBatch
) -> tuple[Float[Array, ""], Info]:
    """L of the module docstring (without the penalty) and what to log about it.

    A demonstration whose prompt has no negatives is left out; `matched` is the share of those that count.
    """
    groups = batch.log_q.shape
    expert = apply(params, batch.demonstrations).trace
    log_weights = apply(params, batch.negatives).trace.reshape(groups) - batch.log_q
    match = prompt_match(batch.demonstrations.prompt_id, batch.negatives.prompt_id.reshape(groups)[:, 0])
    matched = match.sum(axis=1)
    expert_reward = weighted_mean(expert, matched)
    log_partition = weighted_mean(match @ log_mean_exp(log_weights), matched)
    sample_size = effective_sample_size(log_weights)
    info = {
        "expert_reward": expert_reward,
        "log_partition": log_partition,
        "effective_sample_size": sample_size.mean(),
        "effective_sample_share": sample_size.mean() / groups[1],
        "matched": matched.mean(),
    }
    return log_partition - expert_reward, info


def prompt_match(demonstrations: Int[Array, " batch"], groups: Int[Array, " groups"]) -> Float[Array, "batch groups"]:
    """Row i spreads weight 1 over the groups with the prompt of demonstration i; 0 when there are none."""
    same = (demonstrations[:, None] == groups).astype(float)
    return same / jnp.maximum(same.sum(axis=1, keepdims=True), 1)


def log_mean_exp(log_weights: Float[Array, "groups samples"]) -> Float[Array, " groups"]:
    """log of the mean of exp over the samples that are not left out (-inf)."""
    count = jnp.sum(log_weights > -jnp.inf, axis=1)
    return jax.nn.logsumexp(log_weights, axis=1) - jnp.log(count)


def effective_sample_size(log_weights: Float[Array, "groups samples"]) -> Float[Array, " groups"]:
    """(sum w)^2 / sum w^2: how many negatives carry the estimate; at 1 a single one does."""
    total, squares = jax.nn.logsumexp(log_weights, axis=1), jax.nn.logsumexp(2 * log_weights, axis=1)
    return jnp.exp(2 * total - squares)
