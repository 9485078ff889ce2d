"""How parameters are divided over a mesh with the axes `fsdp` and `tensor`: a rule for each name, said once.

A rule divides the last axes of an array; axes before them (layers, members of an ensemble) stay whole, for they are
scanned over. Columns of the first matrix of a pair and rows of the second lie on `tensor`, so that a pair costs one sum
over devices (Shoeybi et al. 2019, arXiv 1909.08053, section 3); `fsdp` divides the axis that is left (Rajbhandari et
al. 2020, arXiv 1910.02054). Optimiser moments have the paths of their parameters and lie where those do. What has no
rule (norms, heads of two layers, adapters, counters) is on every device whole.

The result of a program does not depend on the rules, only its speed and its memory. Attention needs no exchange where
`tensor` divides num_kv_heads.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Float

BATCH_AXES = ("data", "fsdp")
"""What divides the rows of a batch."""

Axes = str | tuple[str, ...] | None
Rule = tuple[Axes, ...]

NARROWEST = 8
"""An axis is divided where all parts are equal and have so many entries; the few labels of a head are not."""

_FIRST: Rule = ("fsdp", "tensor")
_SECOND: Rule = ("tensor", "fsdp")
RULES: Mapping[tuple[str, ...], Rule] = {
    ("embedding",): ("tensor", "fsdp"),
    **dict.fromkeys([(name, "kernel") for name in ("query", "key", "value", "gate", "up")], _FIRST),
    **dict.fromkeys([(name, "bias") for name in ("query", "key", "value")], ("tensor",)),
    **dict.fromkeys([(name, "kernel") for name in ("output", "down")], _SECOND),
    ("head", "kernel"): (None, ("tensor", "fsdp")),
}
"""The end of a parameter's path -> the mesh axes of its last axes."""


def partition_specs(tree: Any, ways: Mapping[str, int]) -> Any:
    """A PartitionSpec for every array of a tree: parameters, their optimiser's state, or both.

    `ways` is the number of devices along each mesh axis (`mesh.shape`).
    """
    return jax.tree_util.tree_map_with_path(lambda path, leaf: _spec(path, np.shape(leaf), ways), tree)


def by_rows(x: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
    """Activations lie where the rows of their batch do, so that `fsdp` gathers weights and never sums activations.

    The mesh is the one that the program is traced for (`jax.set_mesh`); where there is none, x stays as it is.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(BATCH_AXES))


def _spec(path: tuple, shape: tuple[int, ...], ways: Mapping[str, int]) -> PartitionSpec:
    names = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
    rule = RULES.get(names[-2:]) or RULES.get(names[-1:]) or ()
    if not rule or len(rule) > len(shape):
        return PartitionSpec()
    last = shape[len(shape) - len(rule) :]
    divided = [_fitting(size, axes, ways) for size, axes in zip(last, rule, strict=True)]
    if not any(divided):
        return PartitionSpec()
    return PartitionSpec(*[None] * (len(shape) - len(rule)), *divided)


def _fitting(size: int, axes: Axes, ways: Mapping[str, int]) -> Axes:
    """The mesh axes that divide an axis of `size` entries, or None."""
    names = (axes,) if isinstance(axes, str) else axes or ()
    parts = math.prod(ways[name] for name in names)
    return axes if parts > 1 and size % parts == 0 and size // parts >= NARROWEST else None
