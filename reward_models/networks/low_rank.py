"""Low-rank adapters (LoRA) on the matrices of a network that stays as it is.

    W' = W + scale A B,    A [inputs, rank] random, B [rank, outputs] zero at first,    scale = alpha / rank

Hu et al. 2021 (arXiv 2106.09685), eq. 3; `rank_stabilised`: scale = alpha / sqrt(rank), Kalajdzievski 2023 (arXiv
2312.03732). Adapters are a nested dict like the params they belong to, with {"a", "b"} for a kernel; stacked layers
have stacked adapters. Differences from the paper:

1. Feed-forward matrices and the head may be adapted too; a head made for the task is better trained whole.
2. No dropout.

The params of a `LowRankConfig` are {"base", "adapters", "head"}: one tree to save and to score with. To train, take
`config.on(base)`, whose params are {"adapters", "head"} alone: no gradient, moment or decay of a base weight exists.
The base must be an argument of the compiled step, or jax writes it into the program as a constant: see
irl/algorithms/frozen_base.py. No network knows of adapters: they enter as a kernel that multiplies like the sum.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le
from jaxtyping import Float

from reward_models.networks.base import Network, NetworkConfig, Params, flatten
from reward_models.networks.decoder import DecoderNetwork
from reward_models.records import record
from reward_models.types import Array, Scores, TraceBatch

Target = Literal["query", "key", "value", "output", "gate", "up", "down"]
"""A matrix of a layer."""
Rank = Annotated[int, Ge(1), Le(2**16)]
TARGETS: tuple[Target, ...] = get_args(Target)


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

    def _joined(self, base: Params, own: Params, join: "Join") -> Params:
        params = join(base, own.get("adapters", {}), self.scale)
        return {**params, "head": own["head"]} if "head" in own else params


def fresh_adapters(key: jax.Array, kernels: Mapping[str, tuple[int, ...]], rank: int) -> Params:
    """Adapters for kernels of these shapes by path ("trunk.blocks.up.kernel"); A B = 0 until they are trained."""
    adapters: Params = {}
    for own_key, (path, shape) in zip(jax.random.split(key, len(kernels)), kernels.items(), strict=True):
        *layers, inputs, outputs = shape
        node = adapters
        for name in path.split(".")[:-1]:
            node = node.setdefault(name, {})
        node["a"] = inputs**-0.5 * jax.random.normal(own_key, (*layers, inputs, rank))
        node["b"] = jnp.zeros((*layers, rank, outputs))
    return adapters


Join = Callable[[Params, Params, float], Params]


def merge(params: Params, adapters: Params, scale: float) -> Params:
    """Params with W + scale A B for every adapted kernel, in the kernels' types."""

    def add(kernel: Array, a: Array, b: Array) -> Array:
        return (kernel.astype(jnp.float32) + scale * (a @ b)).astype(kernel.dtype)

    return _at_kernels(params, adapters, add)


def attach(params: Params, adapters: Params, scale: float) -> Params:
    """As `merge` for a forward and backward pass, without ever forming a sum or the gradient of one."""
    return _at_kernels(params, adapters, lambda kernel, a, b: SummedKernel(kernel, a, b, scale))


def _at_kernels(params: Params, adapters: Params, join: Callable[[Array, Array, Array], Any]) -> Params:
    if "a" in adapters:
        return {**params, "kernel": join(params["kernel"], adapters["a"], adapters["b"])}
    return {**params, **{name: _at_kernels(params[name], below, join) for name, below in adapters.items()}}


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SummedKernel:
    """W + scale A B where a linear layer expects its kernel: x @ it = x W + scale (x A) B."""

    kernel: Any  # arrays, or what a transformation of jax puts into their places
    a: Any
    b: Any
    scale: float = dataclasses.field(metadata={"static": True})

    def __getitem__(self, everything: Any) -> "SummedKernel":
        if everything is not ...:
            raise TypeError(f"a kernel with an adapter is read whole, [...], not [{everything}]; use merge")
        return self

    def astype(self, dtype: Any) -> "SummedKernel":
        return SummedKernel(self.kernel.astype(dtype), self.a.astype(dtype), self.b.astype(dtype), self.scale)

    def __rmatmul__(self, x: Float[Array, "rows inputs"]) -> Float[Array, "rows outputs"]:
        return x @ self.kernel + self.scale * ((x @ self.a) @ self.b)
