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
from jaxtyping import Float, Shaped

from irl.algorithms.base import Algorithm, Info, gradient_algorithm
from irl.algorithms.optimiser import AdamW, Optimiser
from reward_models.networks.base import Params
from reward_models.networks.decoder import Decoder, DecoderConfig
from reward_models.networks.next_token import of_token, token_statistics
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
            nll, accuracy = next_token_loss(functional.bind(params), batch)
            return nll, {"token_accuracy": accuracy}

        return gradient_algorithm(functional.init, loss, self.optimiser.make())


def next_token_loss(decoder: Decoder, batch: TraceBatch) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """(mean negative log-likelihood in nats per response token, share of tokens that were the most likely)."""

    def reduce(tokens, logits):
        return of_token(jax.nn.log_softmax(logits), tokens), jnp.argmax(logits, axis=-1) == tokens

    log_prob, right = token_statistics(reduce, batch, decoder)
    return -response_mean(log_prob, batch), response_mean(right, batch)


def response_mean(values: Shaped[Array, "batch time"], batch: TraceBatch) -> Float[Array, ""]:
    """The mean of per-token values that are 0 outside the response, over the response tokens of the batch."""
    return jnp.sum(values[:, 1:]) / jnp.maximum(batch.response[:, 1:].sum(), 1)
