"""Low-rank adapters on a downloaded language model: what a run trains of it.

A folder of adapters holds them, the head and the tokenizer, in the layout of PEFT; the base stays in its own folder,
which adapter_config.json names. Scores come from base and adapters apart, in a run as in `traceward score`: no sum of
both is ever rounded.
"""

from collections.abc import Callable
from dataclasses import fields

import jax

from irl.algorithms.base import Algorithm
from irl.algorithms.frozen_base import FrozenBaseState, with_frozen_base
from reward_models.networks.adapters import LowRank
from reward_models.networks.base import Network, Params
from reward_models.networks.heads import HeadedDecoderConfig
from reward_models.networks.low_rank import LowRankConfig


def adapted(network: HeadedDecoderConfig, adapters: LowRank) -> LowRankConfig:
    """The network of base, adapters and a head that is trained whole."""
    return LowRankConfig(network=network, **{f.name: getattr(adapters, f.name) for f in fields(adapters)})


def begin_adapters(
    make: Callable[[Network], Algorithm], network: LowRankConfig, trunk: Params, key: jax.Array
) -> tuple[Algorithm, FrozenBaseState]:
    """The algorithm of `make` on adapters and a fresh head over a frozen trunk, and the state it starts in."""
    base_key, own_key = jax.random.split(key)
    head = jax.jit(lambda key: network.network.make().init(key)["head"])(base_key)  # the trunk is never drawn
    algorithm = with_frozen_base(make, network.on, {"trunk": trunk, "head": head})
    return algorithm, algorithm.init(own_key)
