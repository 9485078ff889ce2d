"""A model divided over four devices against the same model on one: scores, gradients, memory, training, checkpoints."""

import re
from functools import cache
from itertools import pairwise

import jax
import numpy as np
import pytest

from irl.algorithms.bradley_terry import BradleyTerry, pair_rewards
from irl.algorithms.optimiser import AdamW
from irl.checkpoint import Checkpoints
from irl.sharding import make_in_place, make_mesh, place, shard_batch
from irl.train import Schedule, compile_step, train
from reward_models.frozen import split
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.types import PackedPairBatch, TraceBatch

DECODER = DecoderConfig(vocab_size=64, num_layers=2, dim=32, num_heads=8, num_kv_heads=4, head_dim=8, hidden_dim=64)
NETWORK = HeadedDecoderConfig(decoder=DECODER, head=LinearHead(), read=LastToken()).make()
ALGORITHM = BradleyTerry(optimiser=AdamW(warmup_steps=1, total_steps=4)).make(NETWORK)
KEY = jax.random.key(5)
MESHES = [(4, 1, 1), (1, 4, 1), (1, 1, 4), (1, 2, 2), (2, 2, 1)]
TOLERANCE = 1e-5
ROWS, LENGTH, SLOTS = 4, 20, 3


def packed_pairs(seed):
    """Six pairs in four rows of 20 tokens: sequences of 5, 7 and 6 tokens, of which the first two are a prompt."""
    rng, ends = np.random.default_rng(seed), np.cumsum([0, 5, 7, 6])
    segment, position, step_id = np.zeros((3, ROWS, LENGTH), np.int32)
    step_id -= 1
    for slot, (start, end) in enumerate(pairwise(ends)):
        segment[:, start:end], position[:, start:end] = slot + 1, np.arange(end - start)
        step_id[:, start + 2 : end] = slot
    tokens = rng.integers(64, size=(ROWS, LENGTH), dtype=np.int32)
    mask, rows = np.ones((ROWS, SLOTS), bool), np.arange(ROWS, dtype=np.int32)
    names = rng.permutation(ROWS * SLOTS).astype(np.int32)
    weight, margin = np.linspace(0.5, 2, 6, dtype=np.float32), np.linspace(0, 1, 6, dtype=np.float32)
    return PackedPairBatch(
        TraceBatch(tokens, segment, position, step_id, mask, rows), *names.reshape(2, 6), weight, margin
    )


def scores_and_gradients(params, batch):
    def loss(params):
        chosen, rejected, margin = pair_rewards(NETWORK, params, batch)
        gap = jax.nn.log_sigmoid(chosen - rejected - margin)
        return -(batch.weight * gap).sum() / batch.weight.sum(), chosen

    (value, scores), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    return scores[:6], value, gradient  # a mesh may have filled up the pairs


@cache
def state_on_one_device():
    return jax.jit(ALGORITHM.init)(KEY)


@cache
def expected():
    return jax.device_get(jax.jit(scores_and_gradients)(state_on_one_device().params, packed_pairs(0)))


def same(a, b):
    return jax.tree.all(jax.tree.map(np.array_equal, jax.device_get(a), jax.device_get(b)))


def same_places(a, b):
    return jax.tree.all(jax.tree.map(lambda a, b: a.sharding == b.sharding, a, b))


def assert_close(ours, theirs, tolerance=TOLERANCE):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance), ours, theirs)


@pytest.mark.parametrize("sizes", MESHES)
def test_scores_and_gradients_are_those_of_one_device(sizes):
    mesh, params = make_mesh(*sizes), state_on_one_device().params
    with jax.set_mesh(mesh):
        found = jax.jit(scores_and_gradients)(place(mesh, params), shard_batch(mesh, packed_pairs(0)))
    assert np.ptp(expected()[0]) > 1
    assert_close(jax.device_get(found), expected())


def bytes_on_one_device(tree):
    return sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("sizes", MESHES)
def test_a_device_holds_its_part(sizes):
    """Matrices are divided by fsdp x tensor; norms and the scalar head, 192 numbers, are not."""
    state, mesh = state_on_one_device(), make_mesh(*sizes)
    total = bytes_on_one_device(state.params)
    whole, ways = 4 * (2 * 2 * 32 + 32 + 32), sizes[1] * sizes[2]
    part = (total - whole) // ways + whole
    assert bytes_on_one_device(place(mesh, state.params)) == part
    counters = 8
    assert bytes_on_one_device(state) == 3 * total + counters
    assert bytes_on_one_device(place(mesh, state)) == 3 * part + counters


class Batches:
    """Packed pairs by number."""

    def __init__(self):
        self.number = 0

    def next(self, state):
        self.number += 1
        return packed_pairs(self.number)

    def get_state(self):
        return self.number

    def set_state(self, state):
        self.number = state


def run(folder, mesh, steps):
    seen = []
    state = train(
        ALGORITHM,
        Batches(),
        Schedule(steps=steps, log_every=1, save_every=2),
        KEY,
        checkpoints=Checkpoints(folder),
        record=lambda step, metrics: seen.append(metrics["loss"]),
        mesh=mesh,
    )
    return state, seen


def test_training_saving_and_going_on_elsewhere(tmp_path):
    """As on one device; bit for bit after a stop; and a checkpoint of one mesh goes on on another."""
    one, losses = run(tmp_path / "one", make_mesh(devices=jax.devices()[:1]), 4)
    mesh = make_mesh(1, 2, 2)
    whole, seen = run(tmp_path / "whole", mesh, 4)
    np.testing.assert_allclose(seen, losses, rtol=TOLERANCE)
    # Adam divides gradients by their size: rounding of the smallest ones is seen in units of the learning rate, 1e-3
    assert_close(jax.device_get(whole.params), jax.device_get(one.params), 2e-4)
    run(tmp_path / "parts", mesh, 2)
    again, _ = run(tmp_path / "parts", mesh, 4)
    assert compile_step(ALGORITHM.step, mesh)._cache_size() == 1, "what a step gives back is what it is given"
    kernel = again.params["trunk"]["blocks"]["query"]["kernel"]
    assert kernel.sharding.shard_shape(kernel.shape) == (2, 16, 32)
    assert same_places(again, whole) and same(again, whole)
    abstract = place(make_mesh(2, 2, 1), one)
    moved = Checkpoints(tmp_path / "parts").restore(4, abstract).state
    assert same_places(moved, abstract) and same(moved, again)


def test_a_state_is_made_in_its_place():
    mesh = make_mesh(1, 2, 2)
    made, placed = make_in_place(mesh, ALGORITHM.init, KEY), place(mesh, state_on_one_device())
    assert same_places(made, placed)
    assert_close(jax.device_get(made), jax.device_get(placed), 1e-6)


def collectives(compiled):
    """{(operation, shape)} of what is exchanged inside the loops over layers."""
    inside = [line for line in compiled.as_text().splitlines() if "while/body" in line]
    kinds = r"(all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter)(?:-start)?\("
    found = [(re.search(kinds, line), re.findall(r"f32\[([\d,]+)\]", line.split(" metadata=")[0])) for line in inside]
    return {(kind.group(1), shape) for kind, shapes in found if kind for shape in shapes}


def test_fsdp_exchanges_weights_and_no_activations():
    """Inside the layers, weights are gathered and their gradients summed: nothing has the 80 tokens of the batch."""
    mesh = make_mesh(1, 4, 1)
    state, batch = place(mesh, state_on_one_device()), shard_batch(mesh, packed_pairs(0))
    exchanged = collectives(compile_step(ALGORITHM.step, mesh).lower(state, split(state).frozen, batch, KEY).compile())
    assert ("all-gather", "32,64") in exchanged
    assert {kind for kind, _ in exchanged} <= {"all-gather", "all-reduce", "reduce-scatter"}
    shapes = {tuple(map(int, shape.split(","))) for _, shape in exchanged}
    assert all(ROWS not in shape and ROWS * LENGTH not in shape and LENGTH not in shape for shape in shapes)


def test_rows_need_not_divide_to_be_scored():
    """An ensemble, whose members are scanned over, on rows that lie whole on every device."""
    network = EnsembleConfig(member=CriticConfig(decoder=DECODER), members=2).make()
    params, mesh = jax.jit(network.init)(KEY), make_mesh(1, 2, 2)
    traces = jax.tree.map(lambda leaf: leaf[:3], packed_pairs(0).traces)
    expected = jax.jit(network.apply)(params, traces)
    with jax.set_mesh(mesh):
        assert_close(jax.device_get(jax.jit(network.apply)(place(mesh, params), traces)), jax.device_get(expected))
