"""Low-rank adapters on a downloaded language model: what a run trains of it.

A folder of adapters holds them, the head and the tokenizer, in the layout of PEFT; the base stays in its own folder,
which adapter_config.json names. Scores come from base and adapters apart, in a run as in `traceward score`: no sum of
both is ever rounded.
"""

from collections.abc import Callable
from typing import Annotated

import jax
from annotated_types import MinLen

from irl.algorithms.base import Algorithm
from irl.algorithms.frozen_base import FrozenBaseState, with_frozen_base
from reward_models.networks.base import Network, Params
from reward_models.networks.heads import HeadedDecoderConfig
from reward_models.networks.low_rank import TARGETS, LowRankConfig, Target
from reward_models.ranges import Distinct, Positive, Size
from reward_models.records import record


@record
class Adapters:
    """Adapters on the `targets` of every layer, and a head that is trained whole (networks/low_rank.py)."""

    rank: Size = 8
    alpha: Positive = 16.0
    targets: Annotated[tuple[Target, ...], MinLen(1), Distinct] = TARGETS
    rank_stabilised: bool = False

    def on(self, network: HeadedDecoderConfig) -> LowRankConfig:
        """The network of base, adapters and head."""
        return LowRankConfig(
            network=network,
            rank=self.rank,
            alpha=self.alpha,
            targets=self.targets,
            rank_stabilised=self.rank_stabilised,
        )


def begin_adapters(
    make: Callable[[Network], Algorithm], network: LowRankConfig, trunk: Params, key: jax.Array
) -> tuple[Algorithm, FrozenBaseState]:
    """The algorithm of `make` on adapters and a fresh head over a frozen trunk, and the state it starts in."""
    base_key, own_key = jax.random.split(key)
    head = jax.jit(lambda key: network.network.make().init(key)["head"])(base_key)  # the trunk is never drawn
    algorithm = with_frozen_base(make, network.on, {"trunk": trunk, "head": head})
    return algorithm, algorithm.init(own_key)
