"""Supervised fine-tuning: maximum likelihood of expert traces.

    L = - E_{expert} [ sum_t log pi(y_t | x, y_<t) ] / number of response tokens

This is inverse RL without a regulariser: the logits are a soft Q-function defined up to a shift per state
(Wulfmeier et al. 2024, arXiv 2409.01369, lambda = 0). It makes policies, reference policies and the trunks
that reward models start from.
"""

from dataclasses import field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from irl.algorithms.base import Algorithm, Info
from irl.algorithms.optimiser import AdamW, Optimiser
from reward_models.networks.base import Params
from reward_models.networks.decoder import Decoder, DecoderConfig
from reward_models.records import record
from reward_models.types import TraceBatch


class SftState(NamedTuple):
    params: Params
    opt_state: optax.OptState


@record
class Sft:
    """Batches are `TraceBatch`es of demonstrations, packed or not. Information level: demonstrations."""

    optimiser: Optimiser = field(default_factory=AdamW)

    def make(self, network: DecoderConfig) -> Algorithm:
        functional = network.make()
        optimiser = self.optimiser.make()

        def init(key: jax.Array) -> SftState:
            params = functional.init(key)
            return SftState(params, optimiser.init(params))

        def loss_fn(params: Params, batch: TraceBatch):
            loss, accuracy = next_token_loss(functional.bind(params), batch)
            return loss, accuracy

        def step(state: SftState, batch: TraceBatch, key: jax.Array) -> tuple[SftState, Info]:
            (loss, accuracy), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, batch)
            updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
            info = {"loss": loss, "token_accuracy": accuracy, "grad_norm": optax.tree.norm(grads)}
            return SftState(optax.apply_updates(state.params, updates), opt_state), info

        return Algorithm(init, step)


def next_token_loss(decoder: Decoder, batch: TraceBatch):
    """(mean negative log-likelihood in nats per response token, share of tokens that were the most likely)."""
    logits = decoder.logits(decoder.hidden(batch))[:, :-1]
    target, where = batch.tokens[:, 1:], batch.response[:, 1:]
    count = jnp.maximum(where.sum(), 1)
    log_prob = jax.nn.log_softmax(logits)
    taken = jnp.take_along_axis(log_prob, target[..., None], axis=-1)[..., 0]
    right = jnp.argmax(logits, axis=-1) == target
    return -jnp.sum(taken, where=where) / count, jnp.sum(right, where=where) / count
