"""Algorithms on adapters: the base stays bit for bit, is an argument and no constant, and costs no optimiser state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.airl import Airl, AirlBatch
from irl.algorithms.base import init_at
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.checkpoint import Checkpoints
from irl.text.pipeline import ArraySource
from irl.train import Schedule, train
from reward_models.frozen import join, split
from reward_models.networks.adapters import LowRank
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import PairBatch, TraceBatch

DECODER = DecoderConfig(vocab_size=13, num_layers=1, dim=8, num_heads=2, num_kv_heads=1, head_dim=4, hidden_dim=12)
CONFIG = CriticConfig(decoder=DECODER).adapted(LowRank(rank=2, targets=("query", "up")))
ROWS, WIDTH = 4, 6
OPTIMISER = AdamW(learning_rate=0.05, warmup_steps=1, weight_decay=0.5)


def traces(first):
    """Rows that say `first` in each of two steps."""
    tokens = np.full((ROWS, WIDTH), first) + np.arange(WIDTH) % 2
    ones = np.ones((ROWS, 1), int)
    step_id = ones * np.array([-1, -1, 0, 0, 1, 1])
    return TraceBatch(
        tokens, np.ones_like(tokens), ones * np.arange(WIDTH), step_id, np.ones((ROWS, 2), bool), np.arange(ROWS)
    )


GOOD, BAD = traces(2), traces(7)
ZERO = np.zeros((ROWS, 2), np.float32)
ALGORITHMS = {
    "bradley_terry": (BradleyTerry(optimiser=OPTIMISER), PairBatch(GOOD, BAD, np.ones(ROWS, np.float32))),
    "airl": (Airl(learning_rate=0.05, l2=0.1), AirlBatch(GOOD, ZERO, BAD, ZERO)),
}


@pytest.fixture(scope="module")
def params():
    return CONFIG.make().init(jax.random.key(0))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_only_adapters_and_head_are_trained(name, params):
    config, batch = ALGORITHMS[name]
    algorithm = config.make(CONFIG.make())
    batch = jax.tree.map(jnp.asarray, batch)
    state = init_at(algorithm, jax.random.key(1), params)
    program = jax.make_jaxpr(algorithm.step)(state, batch, jax.random.key(2))
    assert not program.consts, "an array is a constant of the program"
    trained = split(params).trained
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(tree)) for tree in (state.opt_state, trained)]
    assert sizes[0] < 2 * sizes[1] + 5

    step = jax.jit(algorithm.step)
    before, losses = state, []
    for _ in range(5):
        state, info = step(state, batch, jax.random.key(2))
        losses.append(float(info["loss"]))
    assert losses[-1] < losses[0]
    assert step._cache_size() == 1
    for leaf, expected in zip(*(jax.tree.leaves(split(s.params).frozen) for s in (state, before)), strict=True):
        np.testing.assert_array_equal(leaf, expected)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), *(split(s.params).trained for s in (state, before)))
    assert changed["head"]["kernel"] and changed["trunk"]["adapters"]["blocks"]["up"]["b"]


def test_the_training_loop_takes_it_and_resumes(params, tmp_path):
    """Donated steps, checkpoints without the base; the caller's own base stays readable."""
    config, batch = ALGORITHMS["bradley_terry"]
    algorithm = config.make(CONFIG.make())
    trained, frozen = split(params)
    before = jax.device_get(frozen)

    def run(folder, *lengths):
        for steps in lengths:
            state = train(
                algorithm,
                ArraySource(batch, ROWS, 0),
                Schedule(steps=steps, log_every=2, save_every=2),
                jax.random.key(0),
                checkpoints=Checkpoints(folder),
                record=lambda *_: None,
                start=init_at(algorithm, jax.random.key(1), join(jax.tree.map(jnp.copy, trained), frozen)),
            )
        return state

    whole, resumed = run(tmp_path / "a", 4), run(tmp_path / "b", 2, 4)
    for one, other in zip(jax.tree.leaves(whole), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    for leaves in zip(*map(jax.tree.leaves, (split(whole.params).frozen, frozen, before)), strict=True):
        np.testing.assert_array_equal(leaves[0], leaves[2])
        np.testing.assert_array_equal(leaves[1], leaves[2], err_msg="the caller's own array")
