"""Adversarial critic: tell what an expert wrote from what stands against it, step by step and in pairs.

With R = sum_s log sigmoid(l_s) (networks/critic.py), expert rows y_E and negatives y_N that share their context,

    step     - mean_E log sigmoid(l_s) - mean_N log(1 - sigmoid(l_s))           binary cross-entropy
    pair     - mean log sigmoid((R(y_E) - R(y_N)) / temperature)                pairwise, same context
    mle      - mean_E log p(y_t | y_<t) by the trunk                            what experts would write
    centre   mean (R(y_E) + R(y_N))^2 / 4                                       fixes the constant of a prompt

The pairwise term is that of Ye et al. 2025 (GAD, arXiv 2511.10643); the binary one that of discriminators
since Ho & Ermon 2016 (arXiv 1606.03476). Nothing here knows whether a step is right: a step a policy wrote counts as a
negative, and where a policy writes what experts write the two cancel. Information level: demonstrations.
Differences: (1) the judged unit is a step in its context, not a whole answer; (2) the trunk keeps modelling the
demonstrations, which is what teaches it the domain's rules; (3) label smoothing on both sides.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from irl.algorithms.base import Algorithm, Info
from irl.algorithms.optimiser import AdamW, Optimiser
from irl.algorithms.sft import next_token_loss
from reward_models.losses import weighted_mean
from reward_models.networks.base import Params
from reward_models.networks.critic import CriticConfig, StepCritic
from reward_models.types import TraceBatch


class CriticBatch(NamedTuple):
    """Expert rows and what stands against them. Only steps with weight are judged.

    Where `pair_weight` is not 0, row i of both answers the same prompt in the same context.
    """

    expert: TraceBatch
    expert_weight: Float[Array, "batch steps"]
    negative: TraceBatch
    negative_weight: Float[Array, "batch steps"]
    pair_weight: Float[Array, " batch"]


class CriticState(NamedTuple):
    params: Params
    opt_state: optax.OptState


@dataclass(frozen=True, kw_only=True)
class PairwiseCritic:
    """Weights of the four terms. A batch is a tuple of `CriticBatch`es, which may differ in width."""

    optimiser: Optimiser = field(default_factory=AdamW)
    step: float = 1.0
    pair: float = 0.5
    mle: float = 0.5
    centre: float = 0.0
    label_smoothing: float = 0.0
    temperature: float = 1.0

    def make(self, network: CriticConfig) -> Algorithm:
        net, optimiser = network.make(), self.optimiser.make()
        module = network.module()

        def init(key: jax.Array) -> CriticState:
            params = net.init(key)
            return CriticState(params, optimiser.init(params))

        def group_loss(params: Params, batch: CriticBatch):
            critic = module.bind(params)
            expert, nll = _judge_and_model(critic, batch.expert)
            negative, _ = _judge_and_model(critic, batch.negative)
            terms = self.terms(expert, negative, batch)
            loss = self.step * terms["step_loss"] + self.pair * terms["pair_loss"]
            loss = loss + self.mle * nll + self.centre * terms["centre"]
            return loss, {**terms, "nll": nll}

        def loss_fn(params: Params, groups: tuple[CriticBatch, ...]):
            losses, infos = zip(*(group_loss(params, batch) for batch in groups), strict=True)
            info = {f"{name}/{i}": value for i, part in enumerate(infos) for name, value in part.items()}
            return sum(losses) / len(losses), info

        def step(
            state: CriticState, batch: tuple[CriticBatch, ...], key: jax.Array
        ) -> tuple[CriticState, Info]:
            (loss, info), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, batch)
            updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
            info = {"loss": loss, "grad_norm": optax.global_norm(grads), **info}
            return CriticState(optax.apply_updates(state.params, updates), opt_state), info

        return Algorithm(init, step)

    def terms(
        self, expert: Float[Array, "batch steps"], negative: Float[Array, "batch steps"], batch: CriticBatch
    ) -> Info:
        """The terms of the loss from step logits."""
        e = self.label_smoothing
        on_expert = optax.sigmoid_binary_cross_entropy(expert, jnp.full_like(expert, 1 - e))
        on_negative = optax.sigmoid_binary_cross_entropy(negative, jnp.full_like(negative, e))
        expert_weight, negative_weight, pair = batch.expert_weight, batch.negative_weight, batch.pair_weight
        better = jnp.sum(jax.nn.log_sigmoid(expert) * (expert_weight > 0), axis=1)
        worse = jnp.sum(jax.nn.log_sigmoid(negative) * (negative_weight > 0), axis=1)
        return {
            "step_loss": weighted_mean(on_expert, expert_weight)
            + weighted_mean(on_negative, negative_weight),
            "pair_loss": weighted_mean(-jax.nn.log_sigmoid((better - worse) / self.temperature), pair),
            "centre": weighted_mean((better + worse) ** 2 / 4, pair),
            "pair_accuracy": weighted_mean((better > worse).astype(jnp.float32), pair),
            "expert_accuracy": weighted_mean((expert > 0).astype(jnp.float32), expert_weight),
            "negative_accuracy": weighted_mean((negative < 0).astype(jnp.float32), negative_weight),
        }


def _judge_and_model(critic: StepCritic, traces: TraceBatch):
    """(logit of every step [batch, steps], negative log-likelihood of the response) from one pass."""
    hidden = critic.trunk.hidden(traces)
    nll, _ = next_token_loss(critic.trunk, traces, hidden)
    return critic.step_logits(hidden, traces), nll
