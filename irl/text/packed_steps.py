"""Traces with labelled steps, packed into rows (packing.py): a source of `LabelledBatch`es.

An epoch's traces are asked for anew, so that corruptions can be drawn afresh every time; shuffling and packing follow
from seed and epoch alone. Outcomes are not known here (NaN).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from irl.text.packing import EncodedTrace, Room, Unit, check_fits, count_steps, fill_rows, measure, plan_batches
from irl.text.pipeline import EpochSource, PyTree, epoch_order
from irl.types import InputError
from reward_models.types import LabelledBatch, TraceBatch


class LabelledRows(NamedTuple):
    """Traces and a label for each of their steps: 1 right, 0 wrong, a probability between them, NaN not known."""

    traces: Sequence[EncodedTrace]
    labels: Sequence[Sequence[float]]


class PackedSteps(EpochSource):
    """A `Source` of LabelledBatches, all of one shape: `rows` rows of `length` tokens and at most `slots` steps.

    `draw(epoch)` gives the traces of an epoch; asked twice, it must give the same. InputError names what does not fit.
    """

    def __init__(
        self, draw: Callable[[int], LabelledRows], *, rows: int, length: int, seed: int, slots: int = 64, name: str = ""
    ):
        self._draw, self._room, self._seed = draw, Room(rows, length, slots), seed
        super().__init__({"name": name, **self._room._asdict(), "seed": seed})

    def _plan(self, epoch: int) -> list[tuple[LabelledRows, list[Unit]]]:
        data = self._draw(epoch)
        _check(data, self._room)
        order = epoch_order(len(data.traces), self._seed, epoch).tolist()
        return [(data, batch) for batch in plan_batches(order, *measure([data.traces]), self._room)]

    def _arrays(self, batch: tuple[LabelledRows, list[Unit]]) -> LabelledBatch:
        data, units = batch
        labels = np.full((self._room.rows, self._room.slots), np.nan, np.float32)
        for number, (place,) in units:
            of_trace = data.labels[number]
            labels[place.row, place.slot : place.slot + len(of_trace)] = of_trace
        traces = fill_rows(((data.traces[number], place) for number, (place,) in units), self._room)
        return LabelledBatch(traces, np.full(self._room.rows, np.nan, np.float32), labels)


class PackedTexts(PackedSteps):
    """A `Source` of packed TraceBatches without labels, for likelihoods."""

    def __init__(self, draw: Callable[[int], Sequence[EncodedTrace]], *, rows: int, length: int, seed: int, name: str):
        def labelled(epoch: int) -> LabelledRows:
            texts = draw(epoch)
            return LabelledRows(texts, [[1.0]] * len(texts))

        super().__init__(labelled, rows=rows, length=length, seed=seed, name=name)

    def next(self, state: PyTree = None) -> TraceBatch:
        return super().next(state).traces


def _check(data: LabelledRows, room: Room) -> None:
    if not data.traces or len(data.traces) != len(data.labels):
        given = f"got {len(data.traces)} traces and {len(data.labels)} rows of labels"
        raise InputError(f"labelled traces: expected one row of labels for each of one or more traces, {given}")
    for number, (trace, labels) in enumerate(zip(data.traces, data.labels, strict=True)):
        check_fits(f"trace {number}", trace, room)
        if len(labels) != count_steps(trace):
            raise InputError(f"trace {number}: expected {count_steps(trace)} labels, one per step, got {len(labels)}")
