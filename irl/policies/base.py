"""The contract of every policy: pure functions that take parameters, of a hashable config."""

from abc import abstractmethod
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from irl.policies.truncation import ALL_TOKENS, Truncation
from reward_models.networks.base import Params
from reward_models.types import TraceBatch

GREEDY = 1e-6
"""Temperatures below it are greedy: single precision cannot divide logits by them."""


class Samples(NamedTuple):
    """`n` samples of each prompt."""

    tokens: Int[Array, "prompts n max_new"]
    """Generated ids including the stop token; 0 after it."""
    length: Int[Array, "prompts n"]
    ended: Bool[Array, "prompts n"]
    """False where `max_new` cut the sample."""
    log_prob: Float[Array, "prompts n max_new"]
    """log p(token) in nats at temperature 1 and without truncation, however the token was drawn."""


class Sampling(NamedTuple):
    """How much is sampled. Programs are compiled for each value."""

    n: int
    """Samples per prompt."""
    slots: int
    """Rows per prompt that are sampled together. The samples do not depend on it."""
    max_new: int
    """The most tokens of a sample."""
    stop: tuple[int, ...]
    """A sample ends with the first of these tokens."""
    vocabulary: int | None = None
    """Ids from it on are never drawn; None: all may be."""
    truncation: Truncation = ALL_TOKENS


@runtime_checkable
class Policy(Protocol):
    """A distribution over traces. It is hashable and holds no arrays, so compiled programs take it as static."""

    network: Any
    """The config whose `make().init` draws parameters; model folders store it."""

    @abstractmethod
    def sample(
        self,
        params: Params,
        key: jax.Array,
        prompts: Int[ArrayLike, "prompts prompt_time"],
        prompt_length: Int[ArrayLike, " prompts"],
        sampling: Sampling,
        temperature: float | Float[Array, ""] = 1.0,
    ) -> Samples:
        """Draw samples for each right-padded prompt.

        Args:
            params: The parameters.
            key: Equal keys give equal samples.
            prompts: Token ids.
            prompt_length: Tokens of each prompt, at least 1.
            sampling: How much is sampled.
            temperature: Divides the logits. Below `GREEDY`, the most likely token is taken.
        """
        ...

    @abstractmethod
    def log_prob(self, params: Params, traces: TraceBatch) -> Float[Array, "batch time"]:
        """log pi(token | before) in nats at response tokens, 0 elsewhere."""
        ...

    @abstractmethod
    def log_prob_and_kl(
        self, params: Params, reference: Params, traces: TraceBatch
    ) -> tuple[Float[Array, "batch time"], Float[Array, "batch time"]]:
        """`log_prob`, and the exact KL(pi(. | before) || reference(. | before)) in nats, 0 outside the response."""
        ...


class FittedPolicy(NamedTuple):
    """A policy with its parameters: what stages and guides pass on."""

    model: Policy
    params: Params
