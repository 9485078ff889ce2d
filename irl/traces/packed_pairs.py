"""Pairs of sequences packed into rows (packing.py): a source of `PackedPairBatch`es.

Every sequence is one step of its row. Every epoch is shuffled and packed anew; its plan follows from seed and epoch
alone.
"""

from collections.abc import Sequence
from functools import lru_cache, partial

import numpy as np

from irl.traces.encode import EncodedTrace
from irl.traces.packing import Room, Unit, check_fits, count_steps, fill_rows, measure, plan_batches
from irl.traces.pipeline import Json, PyTree, epoch_order
from irl.types import InputError
from reward_models.types import PackedPairBatch


class PackedPairs:
    """A `Source` of PackedPairBatches, all of one shape: `rows` rows of `length` tokens.

    A row holds at most `slots` sequences. InputError names a pair that is longer than a row, or of several steps.
    """

    def __init__(
        self,
        chosen: Sequence[EncodedTrace],
        rejected: Sequence[EncodedTrace],
        *,
        rows: int,
        length: int,
        seed: int,
        slots: int = 32,
        weight: np.ndarray | None = None,
        margin: np.ndarray | None = None,
    ):
        self._room = Room(rows, length, slots)
        self._sides = (chosen, rejected)
        _check(chosen, rejected, self._room)
        count = len(chosen)
        self._weight = np.ones(count, np.float32) if weight is None else np.asarray(weight, np.float32)
        self._margin = np.zeros(count, np.float32) if margin is None else np.asarray(margin, np.float32)
        self._identity = {"pairs": count, **self._room._asdict(), "seed": seed}
        self._plan = lru_cache(maxsize=1)(partial(plan_epoch, *measure(self._sides), self._room, seed))
        self._epoch, self._index = 0, 0

    def next(self, state: PyTree = None) -> PackedPairBatch:
        """The next batch; `state` is not looked at."""
        if self._index >= len(self._plan(self._epoch)):
            self._epoch, self._index = self._epoch + 1, 0
        batch = self._plan(self._epoch)[self._index]
        self._index += 1
        return self._arrays(batch)

    def batches_per_epoch(self) -> int:
        """Of the first epoch; others differ by a few."""
        return len(self._plan(0))

    def get_state(self) -> Json:
        return {"epoch": self._epoch, "index": self._index, "data": dict(self._identity)}

    def set_state(self, state: Json) -> None:
        if state["data"] != self._identity:
            difference = f"was saved for {state['data']}, but the data is {self._identity} now"
            raise InputError(f"data position {difference}; resume with the same settings, or start a new run")
        self._epoch, self._index = state["epoch"], state["index"]

    def _arrays(self, batch: list[Unit]) -> PackedPairBatch:
        rows, _, slots = self._room
        names = np.zeros((2, rows * slots // 2), np.int32)
        weight, margin = np.zeros((2, rows * slots // 2), np.float32)
        for index, unit in enumerate(batch):
            names[:, index] = [place.row * slots + place.slot for place in unit.places]
        numbers = [unit.number for unit in batch]
        weight[: len(batch)], margin[: len(batch)] = self._weight[numbers], self._margin[numbers]
        placed = (
            (side[unit.number], place) for unit in batch for side, place in zip(self._sides, unit.places, strict=True)
        )
        return PackedPairBatch(fill_rows(placed, self._room), names[0], names[1], weight, margin)


def plan_epoch(sizes: np.ndarray, steps: np.ndarray, room: Room, seed: int, epoch: int) -> list[list[Unit]]:
    """The batches of an epoch."""
    return plan_batches(epoch_order(sizes.shape[1], seed, epoch).tolist(), sizes, steps, room)


def _check(chosen: Sequence[EncodedTrace], rejected: Sequence[EncodedTrace], room: Room) -> None:
    if len(chosen) != len(rejected) or not chosen:
        raise InputError(f"pairs: expected as many chosen as rejected, got {len(chosen)} and {len(rejected)}")
    if room.slots < 2:
        raise InputError(f"slots: expected 2 or more, for a pair, got {room.slots}")
    for number, pair in enumerate(zip(chosen, rejected, strict=True)):
        for name, row in zip(("chosen", "rejected"), pair, strict=True):
            check_fits(f"pair {number}, {name}", row, room)
            if count_steps(row) > 1:
                raise InputError(f"pair {number}, {name}: expected a single step, got {count_steps(row)}")
