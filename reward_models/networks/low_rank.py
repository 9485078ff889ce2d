"""Low-rank adapters (networks/adapters.py) on a network with a head, and what becomes of the head.

The params of a `LowRankConfig` are {"base", "adapters", "head"}: one tree to save and to score with. To train, take
`config.on(base)`, whose params are {"adapters", "head"} alone: no gradient, moment or decay of a base weight exists.
The base must be an argument of the compiled step, or jax writes it into the program as a constant: see
irl/algorithms/frozen_base.py. No network knows of adapters: they enter as a kernel that multiplies like the sum.
"""

from collections.abc import Callable
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Gt, Le

from reward_models.networks.adapters import TARGETS, Rank, Target, attach, fresh_adapters, merge
from reward_models.networks.base import Network, NetworkConfig, Params, flatten
from reward_models.networks.decoder import DecoderNetwork
from reward_models.records import record
from reward_models.types import Scores, TraceBatch

Join = Callable[[Params, Params, float], Params]


@record
class LowRankConfig(NetworkConfig):
    """Adapters of one rank on the `targets` of every layer, and what becomes of the head.

    `head` is trained whole ("full", starting from the base's), through an adapter ("low_rank") or not at all
    ("frozen"). Targets () with a full head train the head alone.
    """

    network: DecoderNetwork
    rank: Rank = 8
    alpha: Annotated[float, Gt(0.0), Le(1e6)] = 16.0
    targets: tuple[Target, ...] = TARGETS
    head: Literal["full", "low_rank", "frozen"] = "full"
    rank_stabilised: bool = False

    def __post_init__(self):
        if self.head != "frozen" and not self.network.has_head:
            raise ValueError(f"head: {self.head!r}, but this network has no head of its own; say head='frozen'")
        if self.head == "frozen" and not self.targets:
            raise ValueError("targets: none, and the head is frozen, so nothing is trained; name some")

    @property
    def vocabulary(self) -> int:
        return self.network.vocabulary

    @property
    def scale(self) -> float:
        """What stands before A B."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank)

    def make(self) -> Network:
        """The network over whole params. Their base has gradients of 0; train `on(base)` to hold none at all."""
        network = self.network.make()

        def init(key: jax.Array) -> Params:
            base_key, own_key = jax.random.split(key)
            base = network.init(base_key)
            return {"base": base, **self.on(base).init(own_key)}

        def apply(params: Params, traces: TraceBatch) -> Scores:
            own = {name: tree for name, tree in params.items() if name != "base"}
            return self.on(params["base"]).apply(own, traces)

        return network._replace(init=init, apply=apply)

    def on(self, base: Params) -> Network:
        """The network over what is trained, on a frozen `base` (params of `network`)."""
        network = self.network.make()

        def apply(params: Params, traces: TraceBatch) -> Scores:
            frozen = jax.lax.stop_gradient(base)
            return network.apply(self._joined(frozen, params, attach), traces)

        return network._replace(init=lambda key: self._fresh(key, base), apply=apply)

    def merged(self, params: Params) -> Params:
        """Params of the plain `network` with the same scores, which cost no more than the base's."""
        return self._joined(params["base"], params, merge)

    def _fresh(self, key: jax.Array, base: Params) -> Params:
        kernels = {path: leaf.shape for path, leaf in flatten(base).items() if self._adapts(path)}
        own: Params = {"adapters": fresh_adapters(key, kernels, self.rank)} if kernels else {}
        if self.head == "full":
            own["head"] = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), base["head"])
        return own

    def _adapts(self, path: str) -> bool:
        names = path.split(".")
        if names[-1] != "kernel":
            return False
        if "blocks" in names:
            return names[-2] in self.targets
        return self.head == "low_rank" and path.startswith("head.")

    def _joined(self, base: Params, own: Params, join: Join) -> Params:
        params = join(base, own.get("adapters", {}), self.scale)
        return {**params, "head": own["head"]} if "head" in own else params
