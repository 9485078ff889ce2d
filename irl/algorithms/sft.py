"""Supervised fine-tuning: maximum likelihood of expert traces.

    L = - E_{expert} [ sum_t log pi(y_t | x, y_<t) ] / number of response tokens

This is inverse RL without a regulariser: the logits are a soft Q-function defined up to a shift per state
(Wulfmeier et al. 2024, arXiv 2409.01369, lambda = 0). It makes policies, reference policies and the trunks
that reward models start from.
"""

from dataclasses import field
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Float

from irl.algorithms.base import Algorithm, Info, gradient_algorithm
from irl.algorithms.optimiser import AdamW, Optimiser
from reward_models.networks.base import Params
from reward_models.networks.decoder import DecoderConfig
from reward_models.records import record
from reward_models.types import Array, Information, TraceBatch


@record
class Sft:
    """Batches are `TraceBatch`es of demonstrations, packed or not. Information level: demonstrations."""

    information: ClassVar[Information] = "demonstrations"
    optimiser: Optimiser = field(default_factory=AdamW)

    def make(self, network: DecoderConfig) -> Algorithm:
        functional = network.make()

        def loss(params: Params, batch: TraceBatch) -> tuple[Float[Array, ""], Info]:
            decoder = functional.bind(params)
            nll, accuracy = next_token_loss(decoder.logits(decoder.hidden(batch)), batch)
            return nll, {"token_accuracy": accuracy}

        return gradient_algorithm(functional.init, loss, self.optimiser.make())


def next_token_loss(logits: Float[Array, "batch time vocab"], batch: TraceBatch):
    """(mean negative log-likelihood in nats per response token, share of tokens that were the most likely)."""
    logits = logits[:, :-1]
    target, where = batch.tokens[:, 1:], batch.response[:, 1:]
    count = jnp.maximum(where.sum(), 1)
    log_prob = jax.nn.log_softmax(logits)
    taken = jnp.take_along_axis(log_prob, target[..., None], axis=-1)[..., 0]
    right = jnp.argmax(logits, axis=-1) == target
    return -jnp.sum(taken, where=where) / count, jnp.sum(right, where=where) / count
