"""Speed of this machine, now, for the programs of a run: a few steps of each, of the sizes of the run."""

import time
from typing import Any, NamedTuple

import jax
import numpy as np

from irl.algorithms.base import Algorithm, init_at
from irl.policies.base import FittedPolicy, Sampling
from irl.sharding import make_mesh, place, shard_batch
from irl.text.encoder import TextEncoder
from irl.train import compile_step
from reward_models.frozen import split
from reward_models.types import TraceBatch

STEPS, COLUMNS = 3, 12


class Speed(NamedTuple):
    """Seconds."""

    train: float
    """Per token of a training batch, padding included."""
    column: float
    """Per token of each of `rows` traces that are sampled together."""
    rows: int
    compile: float
    """Per program: the mean of two."""


def measure_speed(algorithm: Algorithm, policy: FittedPolicy, encoder: TextEncoder, shape: tuple[int, int], rows: int):
    """The `Speed` of training on batches of a shape, and of sampling so many rows at once."""
    train, first = _train(algorithm, policy, encoder, shape)
    column, second = _sample(policy, encoder, rows)
    return Speed(train / (shape[0] * shape[1]), column, rows, (first + second) / 2)


def _train(
    algorithm: Algorithm, policy: FittedPolicy, encoder: TextEncoder, shape: tuple[int, int]
) -> tuple[float, float]:
    """Seconds of a step from the parameters of the policy, and of its compilation."""
    ones = np.ones(shape, np.int32)
    position = np.broadcast_to(np.arange(shape[1], dtype=np.int32), shape)
    mask = np.ones((shape[0], encoder.max_steps), bool)
    batch = TraceBatch(ones, ones, position, 0 * ones, mask, np.zeros(shape[0], np.int32))
    key, mesh = jax.random.key(0), make_mesh()
    state, frozen = split(place(mesh, init_at(algorithm, key, policy.params)))
    step, batch = compile_step(algorithm.step, mesh), shard_batch(mesh, batch)
    first, state = _timed(lambda: step(state, frozen, batch, key)[0])
    seconds = []
    for _ in range(STEPS):
        each, state = _timed(lambda now=state: step(now, frozen, batch, key)[0])
        seconds.append(each)
    return float(np.median(seconds)), max(first - float(np.median(seconds)), 0.0)


def _sample(policy: FittedPolicy, encoder: TextEncoder, rows: int) -> tuple[float, float]:
    """Seconds of a token of all rows, and of the compilation: every sample ends with its first token."""
    prompts = max(rows // 64, 1)
    slots = rows // prompts
    ids = np.ones((prompts, encoder.most_prompt), np.int32)
    lengths = np.full(prompts, ids.shape[1], np.int32)
    stop = tuple(range(policy.model.network.vocab_size))

    def draw(columns: int) -> Any:
        sampling = Sampling(columns * slots, slots, encoder.most_response, stop)
        return policy.model.sample(policy.params, jax.random.key(0), ids, lengths, sampling)

    first, _ = _timed(lambda: draw(COLUMNS))
    seconds, _ = _timed(lambda: draw(COLUMNS))
    return seconds / COLUMNS, max(first - seconds, 0.0)


def _timed(work) -> tuple[float, Any]:
    begun = time.perf_counter()
    result = jax.block_until_ready(work())
    return time.perf_counter() - begun, result
