"""Any algorithm on a network part of whose params is frozen: low-rank adapters, heads on a fixed trunk.

The algorithm is given a network over the trained params alone, so it holds no gradient, no moment and no decay of the
base. The base travels in the state and is an argument of the step: jax would write arrays that a step merely closes
over into the compiled program, as constants. A donated step hands it on without a copy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from irl.algorithms.base import Algorithm, Info
from reward_models.networks.base import Network, Params


class FrozenBaseState(NamedTuple):
    base: Params
    own: Any
    """The algorithm's state."""

    @property
    def params(self) -> Params:
        """What is trained."""
        return self.own.params


def with_frozen_base(make: Callable[[Network], Algorithm], on: Callable[[Params], Network], base: Params) -> Algorithm:
    """The algorithm of `make`, say `BradleyTerry().make`, on the network of `on(base)`, say `LowRankConfig(...).on`.

    On a mesh that divides parameters give the training loop `start=algorithm.init(key)`: it compiles an `init` that it
    calls itself, and that one closes over the base.
    """

    def init(key: jax.Array) -> FrozenBaseState:
        return FrozenBaseState(base, make(on(base)).init(key))

    def step(state: FrozenBaseState, batch: Any, key: jax.Array) -> tuple[FrozenBaseState, Info]:
        own, info = make(on(state.base)).step(state.own, batch, key)
        return FrozenBaseState(state.base, own), info

    return Algorithm(init, step)
