"""The contract of every learning algorithm: two pure functions on pytrees."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

Batch = Any
State = Any
"""A pytree; by convention a NamedTuple with at least `params` and `opt_state`."""
Info = dict[str, jax.Array]
"""Scalars of one step, only logged; nothing of the next step depends on them."""


class Algorithm(NamedTuple):
    """`init` makes the state, `step` improves it by one batch. `step` is jit-compatible and traced once."""

    init: Callable[[jax.Array], State]
    """key -> state"""
    step: Callable[[State, Batch, jax.Array], tuple[State, Info]]
    """(state, batch, key) -> (state, info)"""
