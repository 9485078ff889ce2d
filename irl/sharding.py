"""Where arrays live: one mesh with the axes (data, fsdp, tensor).

`data` and `fsdp` divide the batch; `fsdp` also divides parameters and their moments, `tensor` the width of a layer,
both by the rules of `reward_models.partition`. On one device all three are 1 and nothing changes: the same program
runs on a laptop and in a batch job.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from irl.types import InputError
from reward_models.frozen import join, split
from reward_models.partition import BATCH_AXES, partition_specs
from reward_models.types import PackedPairBatch

AXES = ("data", "fsdp", "tensor")


def make_mesh(data: int = -1, fsdp: int = 1, tensor: int = 1, *, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh over all devices (or the given ones); one axis may be -1, which takes what the others leave."""
    devices = jax.devices() if devices is None else devices
    sizes = {"data": data, "fsdp": fsdp, "tensor": tensor}
    requested = ", ".join(f"{axis}={size}" for axis, size in sizes.items())
    free = [axis for axis, size in sizes.items() if size == -1]
    if len(free) > 1 or any(size < 1 and size != -1 for size in sizes.values()):
        raise InputError(f"mesh {requested}: expected positive sizes, at most one of them -1")
    rest, left_over = divmod(len(devices), math.prod(size for size in sizes.values() if size != -1))
    if left_over or (not free and rest != 1):
        raise InputError(f"mesh {requested}: the product must be the number of devices, {len(devices)}; set data=-1")
    shape = tuple(rest if axis in free else size for axis, size in sizes.items())
    return jax.make_mesh(shape, AXES, (AxisType.Auto,) * len(AXES), devices=devices)


def shard_batch(mesh: Mesh, batch: Any) -> Any:
    """Put the leading axis of every array on (data, fsdp). Each process gives its own rows.

    The parts of a tuple of batches may differ in rows. Packed pairs come to name sequences of all processes, and are
    filled up with pairs of weight 0. Raises InputError when rows do not divide, or differ from array to array of a
    part.
    """
    if isinstance(batch, PackedPairBatch):
        batch = _name_and_fill(batch, max(1, _batch_ways(mesh) // jax.process_count()))
    if isinstance(batch, tuple) and any(isinstance(part, tuple) for part in batch):
        parts = [shard_batch(mesh, part) for part in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else tuple(parts)
    ways = _batch_ways(mesh)
    leaves = jax.tree_util.tree_leaves_with_path(batch)
    for path, leaf in leaves:
        name = f"batch{jax.tree_util.keystr(path)}"
        if not leaf.shape or leaf.shape[0] != leaves[0][1].shape[0]:
            raise InputError(f"{name}: shape {leaf.shape}: expected as many rows as the rest of the batch has")
        if leaf.shape[0] * jax.process_count() % ways:
            advice = f"take a multiple of {max(1, ways // jax.process_count())} rows per process"
            raise InputError(f"{name}: {leaf.shape[0]} rows do not divide over data x fsdp = {ways}; {advice}")
    sharding = NamedSharding(mesh, PartitionSpec(BATCH_AXES))
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)


def _batch_ways(mesh: Mesh) -> int:
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def _name_and_fill(batch: PackedPairBatch, share: int) -> PackedPairBatch:
    """Sequences named as in the rows of all processes, and a multiple of `share` pairs."""
    before = jax.process_index() * batch.traces.step_mask.size
    traces, *pairs = batch._replace(chosen=batch.chosen + before, rejected=batch.rejected + before)
    return PackedPairBatch(traces, *(np.pad(array, (0, -len(array) % share)) for array in pairs))


def shardings(mesh: Mesh, state: Any) -> Any:
    """Where every array of a state belongs, by the rules of `reward_models.partition`."""
    specs = partition_specs(state, mesh.shape)
    return jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs)


def place(mesh: Mesh, state: Any) -> Any:
    """A copy of a state on a mesh: large matrices divided over fsdp and tensor, all else on every device.

    Frozen parts that are on their devices already are not copied. Every process must give the same values.
    """

    def copy(leaf: Any, sharding: NamedSharding) -> jax.Array:
        return jax.device_put(jax.device_put(leaf, may_alias=False), sharding)

    (own, frozen), (of_own, of_frozen) = split(state), split(shardings(mesh, state))
    return join(jax.tree.map(copy, own, of_own), jax.device_put(frozen, of_frozen))


def make_in_place(mesh: Mesh, init: Callable[[jax.Array], Any], key: jax.Array) -> Any:
    """`place(mesh, init(key))`, compiled so that no device ever holds more than its part."""
    return jax.jit(init, out_shardings=shardings(mesh, jax.eval_shape(init, key)))(key)


def keep_in_place(mesh: Mesh, state: Any) -> Any:
    """Inside a compiled step: the new state lies where the old one did."""
    return jax.lax.with_sharding_constraint(state, shardings(mesh, state))
