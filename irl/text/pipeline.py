"""Batches for the training loop by Grain: seeded, reshuffled every epoch, checkpointable, sharded by process.

Grain carries the position and its state; the order is a NumPy permutation per epoch. Grain's own `shuffle`
(0.2.18) was measured and left out: it draws rows one by one from a 16-bit domain, so a batch of 128 rows out
of 5,000 costs 1.4 ms and each row of a 50-row data set 0.4 ms; its order of few rows is visibly not uniform;
and epoch 1 of `shuffle(seed=0)` is epoch 0 of `shuffle(seed=1)`.
"""

import functools
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from irl.types import InputError

PyTree = Any
Json = dict[str, Any]


@runtime_checkable
class Source(Protocol):
    """Where the training loop gets its batches. Its state is JSON, and the checkpoint keeps it."""

    def next(self, state: PyTree) -> PyTree:
        """The next batch. Offline data ignores the learner's `state`; rollouts sample with it."""
        ...

    def get_state(self) -> Json:
        """The position in the stream of batches."""
        ...

    def set_state(self, state: Json) -> None:
        """Go on exactly where `get_state` was taken."""
        ...


class ArraySource:
    """Shuffled batches of rows of a pytree of arrays (a `TraceBatch`, say), epoch after epoch, without end.

    `batch_size` counts the rows over all processes: with `shard = (index, count)` this process receives its
    `batch_size / count` rows, and the shards of a step put together are the batch of a single process.
    An epoch is a fresh permutation of all rows, cut into `steps_per_epoch` whole batches; the few rows left
    over are others in every epoch. A batch holds no row twice. The state is the same in every process.

    Messages name the rows `of` and the `option` that sets the batch size.
    """

    def __init__(
        self,
        arrays: PyTree,
        batch_size: int,
        seed: int,
        shard: tuple[int, int] = (0, 1),
        *,
        of: str = "rows",
        option: str = "batch_size",
    ):
        self._arrays = jax.tree.map(np.asarray, arrays)
        rows = number_of_rows(self._arrays)
        _check_settings(rows, batch_size, seed, shard, of, option)
        index, count = shard
        share = batch_size // count
        self.steps_per_epoch = rows // batch_size
        self._batch_size = batch_size
        self._mine = slice(index * share, (index + 1) * share)
        self._order = functools.lru_cache(maxsize=1)(functools.partial(epoch_order, rows, seed))
        self._identity = {"rows": rows, "batch_size": batch_size, "seed": seed}
        import grain  # here, so that --help does not wait for it

        batches = grain.MapDataset.range(sys.maxsize).map(self._batch)
        in_this_thread = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        self._iterator = iter(batches.to_iter_dataset(in_this_thread))

    def next(self, state: PyTree = None) -> PyTree:
        """The next batch as NumPy arrays, copied out of the data; `state` is not looked at."""
        return next(self._iterator)

    def get_state(self) -> Json:
        """The position, and what it is a position in."""
        return {"position": self._iterator.get_state(), "data": dict(self._identity)}

    def set_state(self, state: Json) -> None:
        """Go on where `get_state` was taken; InputError when that was with other data or settings."""
        check_same_data(state, self._identity)
        self._iterator.set_state(state["position"])

    def _batch(self, step: int) -> PyTree:
        epoch, step_in_epoch = divmod(step, self.steps_per_epoch)
        start = step_in_epoch * self._batch_size
        rows = self._order(epoch)[start : start + self._batch_size][self._mine]
        return jax.tree.map(lambda array: array[rows], self._arrays)


class EpochSource(ABC):
    """A `Source` that plans the batches of every epoch anew. The plan is a function of the number of the epoch."""

    def __init__(self, identity: Json):
        self._identity, self._epoch, self._index = identity, 0, 0
        self._planned = functools.lru_cache(maxsize=1)(self._plan)

    @abstractmethod
    def _plan(self, epoch: int) -> Sequence[Any]:
        """The batches of an epoch, in a form that `_arrays` understands."""

    @abstractmethod
    def _arrays(self, batch: Any) -> PyTree:
        """The arrays of a batch."""

    def next(self, state: PyTree = None) -> PyTree:
        """The next batch; `state` is ignored."""
        if self._index >= len(self._planned(self._epoch)):
            self._epoch, self._index = self._epoch + 1, 0
        self._index += 1
        return self._arrays(self._planned(self._epoch)[self._index - 1])

    def batches_per_epoch(self) -> int:
        """Of the current epoch; others may differ by a few."""
        return len(self._planned(self._epoch))

    def get_state(self) -> Json:
        return {"epoch": self._epoch, "index": self._index, "data": dict(self._identity)}

    def set_state(self, state: Json) -> None:
        """Continue from a state. InputError: the state is of other data or settings."""
        check_same_data(state, self._identity)
        self._epoch, self._index = state["epoch"], state["index"]


def check_same_data(state: Json, identity: Json) -> None:
    """Raises InputError if a saved position is one of other data or settings."""
    if state["data"] != identity:
        difference = f"was saved for {state['data']}, but the data is {identity} now"
        raise InputError(f"data position {difference}; resume with the same settings, or start a new run")


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Int[rows]: the permutation of an epoch, independent between epochs and between seeds."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(epoch,))).permutation(rows)


def number_of_rows(arrays: PyTree) -> int:
    """The leading dimension that all arrays share; InputError naming the field that differs."""
    paths = jax.tree_util.tree_leaves_with_path(arrays)
    named = [(jax.tree_util.keystr(path, simple=True, separator=".") or "array", leaf) for path, leaf in paths]
    if not named:
        raise InputError("expected arrays with one row per example, got no array")
    for name, leaf in named:
        if np.ndim(leaf) == 0:
            raise InputError(f"field {name}: expected an array with one row per example, got a single number")
    (first, reference), *others = named
    for name, leaf in others:
        if len(leaf) != len(reference):
            lengths = f"{len(leaf)} rows, but {first} has {len(reference)}"
            raise InputError(f"field {name}: {lengths}; give every array one row per example")
    return len(reference)


def _check_settings(rows: int, batch_size: int, seed: int, shard: tuple[int, int], of: str, option: str) -> None:
    index, count = shard
    if not 0 <= index < count:
        raise InputError(f"shard: expected (index, count) with 0 <= index < count, got {shard}")
    if batch_size < 1 or batch_size % count:
        raise InputError(f"{option}: expected a positive multiple of {count} processes, got {batch_size}")
    if batch_size > rows:
        raise InputError(f"{option}: {batch_size} exceeds the {rows} {of}; lower it or give more data")
    if seed < 0:
        raise InputError(f"seed: expected 0 or more, got {seed}")


class Together:
    """Several sources drawn from in step: a batch is the tuple of their batches."""

    def __init__(self, *sources: Source):
        self._sources = sources

    def next(self, state: PyTree = None) -> tuple[PyTree, ...]:
        return tuple(source.next(state) for source in self._sources)

    def get_state(self) -> Json:
        return {"sources": [source.get_state() for source in self._sources]}

    def set_state(self, state: Json) -> None:
        for source, saved in zip(self._sources, state["sources"], strict=True):
            source.set_state(saved)
