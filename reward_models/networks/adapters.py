"""Low-rank adapters (LoRA) on the matrices of a decoder whose own weights are frozen.

    W' = W + scale A B,    A [inputs, rank] random, B [rank, outputs] zero at first,    scale = alpha / rank

Hu et al. 2021 (arXiv 2106.09685), eq. 3; `rank_stabilised`: scale = alpha / sqrt(rank), Kalajdzievski 2023 (arXiv
2312.03732). Adapters are a nested dict like the params that they belong to, with {"a", "b"} for a kernel. Adapters of
stacked layers are stacked. Differences from the paper:

1. Feed-forward matrices may be adapted too.
2. No dropout.

The params of a decoder with adapters are {"base": Frozen(params of the plain decoder), "adapters": ...}: algorithms
train the adapters alone (reward_models/frozen.py), and a policy and its rewards may hold the same base. No module knows
of adapters: they enter as a kernel that multiplies like the sum.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Le, MinLen
from jaxtyping import Float

from reward_models.frozen import Frozen
from reward_models.networks.base import Functional, Params, flatten
from reward_models.networks.products import matmul
from reward_models.ranges import Distinct
from reward_models.records import record
from reward_models.types import Array

Target = Literal["query", "key", "value", "output", "gate", "up", "down"]
"""A matrix of a layer."""
Rank = Annotated[int, Ge(1), Le(2**16)]
TARGETS: tuple[Target, ...] = get_args(Target)


@record
class LowRank:
    """Adapters of one rank on the `targets` of every layer."""

    rank: Rank = 8
    alpha: Annotated[float, Gt(0.0), Le(1e6)] = 16.0
    targets: Annotated[tuple[Target, ...], MinLen(1), Distinct] = TARGETS
    rank_stabilised: bool = False

    @property
    def scale(self) -> float:
        """The factor of A B."""
        return self.alpha / (self.rank**0.5 if self.rank_stabilised else self.rank)

    def on(self, plain: Functional) -> Functional:
        """The module over {"base", "adapters"}, from that over the base."""

        def init(key: jax.Array) -> Params:
            base_key, own_key = jax.random.split(key)
            return self.fresh(own_key, plain.init(base_key))

        def bind(params: Params) -> Any:
            return plain.bind(attach(params["base"].tree, params["adapters"], self.scale))

        return Functional(init, bind)

    def on_trunk(self, plain: Functional) -> Functional:
        """The same for a module whose decoder is its part "trunk"."""

        def init(key: jax.Array) -> Params:
            base_key, own_key = jax.random.split(key)
            params = plain.init(base_key)
            return {**params, "trunk": self.fresh(own_key, params["trunk"])}

        def bind(params: Params) -> Any:
            trunk = params["trunk"]
            return plain.bind({**params, "trunk": attach(trunk["base"].tree, trunk["adapters"], self.scale)})

        return Functional(init, bind)

    def fresh(self, key: jax.Array, base: Params) -> Params:
        """New adapters on a base, whose arrays are not copied: A B = 0, so nothing changes before training."""
        shapes = {path: leaf.shape for path, leaf in flatten(base).items() if path.split(".")[-1] == "kernel"}
        kernels = {path: shape for path, shape in shapes.items() if path.split(".")[-2] in self.targets}
        return with_base(fresh_adapters(key, kernels, self.rank), base)

    def merged(self, params: Params) -> Params:
        """Params of the plain decoder with the same scores, which cost no more than the base's."""
        return merge(params["base"].tree, params["adapters"], self.scale)


def with_base(adapters: Params, base: Params) -> Params:
    """Params of a decoder with adapters."""
    return {"base": Frozen(base), "adapters": adapters}


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
        return matmul(x, self.kernel) + self.scale * matmul(matmul(x, self.a).astype(x.dtype), self.b)
