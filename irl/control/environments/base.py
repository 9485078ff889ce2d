"""The contract of every pure-JAX environment: two pure functions and the spaces.

`step` never resets: the observation after the last step of an episode is that of the true final state, and terminated
(the task is over: no future reward) and truncated (a time limit: the future goes on unseen) are told apart.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Num

from irl.control.spaces import Space

EnvState = Any
"""A pytree of arrays."""


class Outcome(NamedTuple):
    """What a step leads to."""

    observation: Num[Array, "..."]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


class Environment(NamedTuple):
    """One episode as pure functions; `jax.vmap` makes many of it."""

    name: str
    observation: Space
    action: Space
    horizon: int
    """Steps after which an episode is truncated at the latest."""
    reset: Callable[[jax.Array], tuple[EnvState, Array]]
    """key -> (state, observation)"""
    step: Callable[[EnvState, Array, jax.Array], tuple[EnvState, Outcome]]
    """(state, action, key) -> (state, outcome)"""
