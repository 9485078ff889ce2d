"""The contract of every network, and the bridge from flax.nnx modules to it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple

import jax
from annotated_types import Ge, Le
from flax import nnx

from reward_models.types import Scores, ScoreSpec, TraceBatch

Params = Any
"""A pytree of arrays: nested dicts for module-based networks."""

Width = Annotated[int, Ge(1), Le(2**20)]
"""Units of a layer, heads or labels. The limits of sizes exceed every published model many times; they refuse a
damaged config before any memory is allocated."""
Layers = Annotated[int, Ge(1), Le(2**12)]
Vocabulary = Annotated[int, Ge(1), Le(2**24)]
TokenId = Annotated[int, Ge(0), Le(2**24 - 1)]
Length = Annotated[int, Ge(1), Le(2**31 - 1)]
"""A number of tokens; positions are 32-bit integers."""


class Network(NamedTuple):
    """A reward model as two pure functions and the note on how to read its scores."""

    init: Callable[[jax.Array], Params]
    """key -> params"""
    apply: Callable[[Params, TraceBatch], Scores]
    """(params, traces) -> scores"""
    spec: ScoreSpec = ScoreSpec()
    sees_prefix: bool = False
    """Whether apply understands TraceBatch.prefix."""


class NetworkConfig(ABC):
    """The config class of a network that scores traces."""

    @abstractmethod
    def make(self) -> Network:
        """The network of this config."""

    @property
    @abstractmethod
    def vocabulary(self) -> int | None:
        """The number of token ids that the network reads; None: it reads any id."""


class Functional(NamedTuple):
    """An nnx module seen as pure functions of a nested dict of arrays."""

    init: Callable[[jax.Array], Params]
    bind: Callable[[Params], Any]
    """params -> the module holding them; call it only while tracing or on small inputs."""


def functional(make: Callable[[nnx.Rngs], nnx.Module]) -> Functional:
    """Turn a module constructor `rngs -> Module` into `(init, bind)` on plain nested dicts."""

    def init(key: jax.Array) -> Params:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Param))

    def bind(params: Params) -> nnx.Module:
        graph, abstract = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
        nnx.replace_by_pure_dict(abstract, params)
        return nnx.merge(graph, abstract)

    return Functional(init, bind)


def parameter_count(params: Params) -> int:
    """Number of scalars in a params pytree."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def flatten(tree: Params, prefix: str = "") -> dict[str, Any]:
    """Nested dict -> {"a.b.c": leaf}. Integer keys (lists of modules) become digits and come back as such."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    if not tree:
        raise ValueError(f"nothing under {prefix or 'the root'!r}; leave the empty dict out")
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        index = isinstance(key, int) and key >= 0
        if not index and not (isinstance(key, str) and key and "." not in key and not key.isdigit()):
            raise ValueError(f"key {key!r} under {prefix!r}: expected a name without dots, or an index")
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
