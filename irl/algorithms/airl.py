"""Adversarial IRL on traces: the discriminator's logit is a reward minus the policy's log-probability.

    l = f(x, y) - log pi(y|x),    L = - E_E[log sigmoid(l)] - E_pi[log(1 - sigmoid(l))],    in nats

Fu, Luo & Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning", ICLR 2018 (arXiv
1710.11248), algorithm 1. The optimal l is log pi_E/pi, which vanishes as the policy becomes the
expert, while the optimal f is log pi_E = R - log Z(x), which does not. So f alone is the exported reward, and
f - log pi is what the policy is trained on. Information level: demonstrations. Differences from the paper:

1. No g/h split: a prefix tree is not decomposable, and the shaping term telescopes to a constant per prompt.
2. `level="trace"` puts one logit on the whole trace: f recovers R for any policy that covers the expert. The
   paper's `level="step"` puts one on every step, and its optimum also holds log rho_E(s)/rho_pi(s), the ratio
   of visits to the state: there f is right only as the policy approaches the expert.
3. Label smoothing e, where asked for, keeps |l| below log((1-e)/e) and so pulls f towards log pi.
4. Beyond `logit_clip` on its own side a sample no longer pushes; on the wrong side it always does.
5. One discriminator step per call; the policy and its samples belong to the caller.
"""

from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple

import jax.numpy as jnp
from jaxtyping import Bool, Float

from irl.algorithms.base import Algorithm, Info, gradient_algorithm, with_l2
from irl.algorithms.optimiser import clipped_adam
from irl.algorithms.pairs import Contrasts, PairAlgorithm
from reward_models.losses import discriminator_loss, weighted_mean
from reward_models.networks.base import Network, Params
from reward_models.ranges import Positive, Rate, ShareBelowOne, Weight
from reward_models.records import record
from reward_models.types import Array, Information, Scores, TraceBatch


class AirlBatch(NamedTuple):
    """Expert and policy traces with the *policy's* log-probability of each step, in nats."""

    demonstrations: TraceBatch
    demonstration_log_prob: Float[Array, "batch steps"]
    samples: TraceBatch
    sample_log_prob: Float[Array, "batch steps"]


def policy_reward(scores: Scores, log_prob: Float[Array, "batch steps"]) -> Float[Array, "batch steps"]:
    """f - log pi of each step: what the policy maximises; its expected sum includes the entropy."""
    return scores.step - log_prob


def step_logits(
    scores: Scores, log_prob: Float[Array, "batch steps"], mask: Bool[Array, "batch steps"]
) -> tuple[Float[Array, "batch steps"], Bool[Array, "batch steps"]]:
    """One logit per step, and which of them exist."""
    return policy_reward(scores, log_prob), mask


def trace_logits(
    scores: Scores, log_prob: Float[Array, "batch steps"], mask: Bool[Array, "batch steps"]
) -> tuple[Float[Array, " batch"], Bool[Array, " batch"]]:
    """One logit per trace, and which of them have a step at all."""
    return scores.trace - jnp.sum(log_prob, axis=1, where=mask), mask.any(axis=1)


LEVELS = {"step": step_logits, "trace": trace_logits}


@record
class Airl(PairAlgorithm):
    """Settings of the discriminator."""

    information: ClassVar[Information] = "demonstrations"
    needs_log_prob: ClassVar[bool] = True

    level: Literal["trace", "step"] = "trace"
    """trace | step: what a logit judges."""
    learning_rate: Rate = 1e-3
    label_smoothing: ShareBelowOne = 0.0
    logit_clip: Positive = 20.0
    """In nats."""
    l2: Weight = 0.0
    """Adds l2/2 * |params|^2."""
    max_grad_norm: Positive = 1.0

    def make(self, network: Network) -> Algorithm:
        def loss(params: Params, batch: AirlBatch) -> tuple[Float[Array, ""], Info]:
            return airl_loss(self, network.apply, params, batch)

        optimiser = clipped_adam(self.learning_rate, self.max_grad_norm)
        return gradient_algorithm(network.init, with_l2(loss, self.l2), optimiser)

    def batch(self, contrasts: Contrasts) -> AirlBatch:
        expert, negative, expert_log_prob, negative_log_prob = contrasts
        return AirlBatch(expert, expert_log_prob, negative, negative_log_prob)


def airl_loss(
    config: Airl, apply: Callable[[Params, TraceBatch], Scores], params: Params, batch: AirlBatch
) -> tuple[Float[Array, ""], Info]:
    """L of the module docstring (without the penalty) and what to log about it."""
    logits = LEVELS[config.level]
    demonstrations, samples = batch.demonstrations, batch.samples
    expert, of_expert = logits(apply(params, demonstrations), batch.demonstration_log_prob, demonstrations.step_mask)
    policy, of_policy = logits(apply(params, samples), batch.sample_log_prob, samples.step_mask)
    loss = discriminator_loss(
        jnp.minimum(expert, config.logit_clip),
        jnp.maximum(policy, -config.logit_clip),
        label_smoothing=config.label_smoothing,
        expert_weights=of_expert,
        policy_weights=of_policy,
    )
    info = {
        "expert_accuracy": weighted_mean((expert > 0).astype(float), of_expert),
        "policy_accuracy": weighted_mean((policy < 0).astype(float), of_policy),
        "expert_logit": weighted_mean(expert, of_expert),
        "policy_logit": weighted_mean(policy, of_policy),
    }
    return loss, info
