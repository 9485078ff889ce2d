"""The interface of pure-JAX environments: two pure functions and the spaces.

`step` never resets: the observation after the last step of an episode is the final one. `terminated` (the task is over,
there is no future reward) and `truncated` (a time limit; the future is unobserved) are distinct.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Bool, Float, Num

from irl.control.spaces import Space

EnvState = Any
"""A pytree of arrays."""


class Outcome(NamedTuple):
    """The outcome of one step."""

    observation: Num[Array, "..."]
    reward: Float[Array, ""]
    terminated: Bool[Array, ""]
    truncated: Bool[Array, ""]


class Environment(NamedTuple):
    """One environment as pure functions; `jax.vmap` vectorises it."""

    name: str
    observation: Space
    action: Space
    horizon: int
    """Steps after which an episode is truncated at the latest."""
    reset: Callable[[jax.Array], tuple[EnvState, Array]]
    """key -> (state, observation)"""
    step: Callable[[EnvState, Array, jax.Array], tuple[EnvState, Outcome]]
    """(state, action, key) -> (state, outcome)"""
