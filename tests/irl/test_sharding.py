"""Meshes on four virtual devices, and a real start of two processes."""

import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from irl.sharding import make_mesh, place, shard_batch
from irl.types import InputError
from reward_models.types import PackedPairBatch, TraceBatch


def test_four_devices():
    assert jax.device_count() == 4


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [({}, (4, 1, 1)), ({"fsdp": 2}, (2, 2, 1)), ({"data": 1, "fsdp": -1, "tensor": 2}, (1, 2, 2))],
)
def test_mesh(sizes, shape):
    mesh = make_mesh(**sizes)
    assert mesh.axis_names == ("data", "fsdp", "tensor")
    assert mesh.devices.shape == shape


def test_mesh_of_given_devices():
    assert make_mesh(devices=jax.devices()[:1]).devices.shape == (1, 1, 1)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"fsdp": 3}, "fsdp=3.*number of devices, 4"),
        ({"data": 2}, "data=2.*number of devices, 4"),
        ({"fsdp": -1}, "at most one of them -1"),
        ({"tensor": 0}, "positive"),
    ],
)
def test_mesh_that_does_not_fit(sizes, message):
    with pytest.raises(InputError, match=message):
        make_mesh(**sizes)


@pytest.mark.parametrize("fsdp", [1, 2])
def test_shard_batch(fsdp):
    batch = {
        "x": np.arange(24.0, dtype=np.float32).reshape(8, 3),
        "key": jax.random.split(jax.random.key(0), 8),
    }
    sharded = shard_batch(make_mesh(fsdp=fsdp), batch)
    assert {shard.data.shape for shard in sharded["x"].addressable_shards} == {(2, 3)}
    assert sharded["x"].sharding.spec == PartitionSpec(("data", "fsdp"))
    np.testing.assert_array_equal(sharded["x"], batch["x"])


def test_tensor_axis_does_not_divide_the_batch():
    sharded = shard_batch(make_mesh(tensor=2), jnp.arange(4.0))
    assert {shard.data.shape for shard in sharded.addressable_shards} == {(2,)}


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (
            {"x": jnp.ones((6, 2))},
            r"batch\['x'\]: 6 rows do not divide over data x fsdp = 4; take a multiple of 4",
        ),
        ({"x": jnp.ones(4), "y": jnp.ones(8)}, r"batch\['y'\]: shape \(8,\)"),
        ({"x": jnp.ones(())}, r"batch\['x'\]: shape \(\)"),
    ],
)
def test_batch_that_does_not_divide(batch, message):
    with pytest.raises(InputError, match=message):
        shard_batch(make_mesh(), batch)


def test_a_sharded_program_gives_the_same_number():
    x = jnp.arange(32.0).reshape(8, 4)
    mesh = make_mesh(fsdp=2)
    loss = jax.jit(lambda w, x: jnp.tanh(x @ w).sum())
    w = jnp.linspace(-1, 1, 4)
    np.testing.assert_allclose(loss(place(mesh, w), shard_batch(mesh, x)), loss(w, x), rtol=1e-6)


def test_packed_pairs_are_filled_up_and_divided():
    """Six pairs of twelve sequences in four rows: two pairs of weight 0 make it eight."""
    ids, names = np.arange(20, dtype=np.int32).reshape(4, 5), np.arange(12, dtype=np.int32)
    traces = TraceBatch(ids, ids, ids, ids, np.ones((4, 3), bool), ids[:, 0])
    weight = np.ones(6, np.float32)
    packed = PackedPairBatch(traces, names[:6], names[6:], weight, weight)
    sharded = shard_batch(make_mesh(fsdp=2), packed)
    assert sharded.weight.tolist() == [1] * 6 + [0] * 2
    assert sharded.rejected.tolist() == [6, 7, 8, 9, 10, 11, 0, 0]
    assert {leaf.addressable_shards[0].data.shape[0] for leaf in jax.tree.leaves(sharded.traces)} == {1}
    assert {leaf.addressable_shards[0].data.shape for leaf in sharded[1:]} == {(2,)}
    alone = shard_batch(make_mesh(devices=jax.devices()[:1]), packed)
    jax.tree.map(np.testing.assert_array_equal, alone, packed)


def test_rows_of_packed_pairs_must_divide():
    ids, one = np.zeros((3, 5), np.int32), np.zeros(1, np.float32)
    traces = TraceBatch(ids, ids, ids, ids, np.ones((3, 2), bool), ids[:, 0])
    packed = PackedPairBatch(traces, np.zeros(1, np.int32), np.ones(1, np.int32), one, one)
    with pytest.raises(InputError, match=r"tokens: 3 rows do not divide over data x fsdp = 4; take a multiple of 4"):
        shard_batch(make_mesh(), packed)


TWO_PROCESSES = """
import sys
import jax, numpy as np
jax.distributed.initialize(sys.argv[2], 2, int(sys.argv[3]))
from irl.sharding import make_mesh, place, shard_batch
from irl.checkpoint import Checkpoints
from reward_models.types import PackedPairBatch, TraceBatch
mesh = make_mesh(fsdp=2)
everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
rows = np.arange(4.0, dtype=np.float32) + 4 * jax.process_index()
batch = shard_batch(mesh, rows)
total = jax.jit(lambda w, x: (w * x).sum())(place(mesh, np.float32(2)), batch)
assert float(total) == 56, total
checkpoints = Checkpoints(sys.argv[1])
for step in (1, 2):
    checkpoints.save(step, {"rows": batch}, {"step": step})
state, extra, step = checkpoints.restore(2, {"rows": batch})
assert (extra, step) == ({"step": 2}, 2)
ids = np.tile(10 * jax.process_index() + np.arange(3, dtype=np.int32), (2, 1))
traces = TraceBatch(ids, ids, ids, ids, np.ones((2, 3), bool), ids[:, 0])
one = np.ones(1, np.float32)
packed = shard_batch(mesh, PackedPairBatch(traces, np.array([1]), np.array([5]), one, one))
read = jax.jit(lambda batch: batch.weight * batch.traces.tokens.reshape(-1)[batch.rejected], out_shardings=everywhere)
assert read(packed).tolist() == [2, 0, 12, 0], "each process names a sequence of its own rows"
shards = zip(state["rows"].addressable_shards, batch.addressable_shards)
assert all((a.data == b.data).all() for a, b in shards)
"""


def test_two_processes(tmp_path):
    """Each gives half of the rows; they agree on the sum, and on a checkpoint that neither holds whole."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, str(tmp_path), address, str(index)],
            env=os.environ | flags,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=120)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], outputs
