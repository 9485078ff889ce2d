"""Encoded traces in rows of one length: which row holds which, and the one builder of their arrays.

A unit is a group of sequences that must share a batch: one trace, or the two sides of a pair. Sequences in a row are
segments that do not see each other; their steps stand one after another in the row's slots. A batch takes units, in the
given order, for as long as every part finds a row with room (the fullest that fits); the unit that no longer does opens
the next batch.

`plan_batches` keeps an order and checks every row of a batch for every unit. `best_fit` packs whole data sets, where
checking every row would take minutes: longest sequence first, by buckets of free room.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from irl.types import InputError
from reward_models.types import TraceBatch


class EncodedTrace(NamedTuple):
    """Token ids of one trace with the step of each token (-1 in the prompt)."""

    tokens: list[int]
    step_id: list[int]

    @property
    def response(self) -> list[int]:
        """The tokens behind the prompt."""
        return [token for token, step in zip(self.tokens, self.step_id, strict=True) if step >= 0]


class Place(NamedTuple):
    """Where a sequence lies in a batch: its row, the slot of its first step, its first token, and its segment."""

    row: int
    slot: int = 0
    start: int = 0
    segment: int | None = None
    """By default one more than the slot."""


class Unit(NamedTuple):
    """A unit by number, with the places of its parts."""

    number: int
    places: tuple[Place, ...]


class Room(NamedTuple):
    """What a batch holds: `rows` rows of `length` tokens and `slots` steps."""

    rows: int
    length: int
    slots: int


def plan_batches(
    order: Iterable[int], sizes: Int[np.ndarray, "parts units"], steps: Int[np.ndarray, "parts units"], room: Room
) -> list[list[Unit]]:
    """Batches of units in the given order; `sizes` are tokens and `steps` steps of every part of every unit."""
    batches: list[list[Unit]] = [[]]
    used, filled = [0] * room.rows, [0] * room.rows

    def place(size: int, count: int) -> Place | None:
        fitting = [r for r in range(room.rows) if used[r] + size <= room.length and filled[r] + count <= room.slots]
        if not fitting:
            return None
        row = max(fitting, key=lambda r: used[r])
        spot = Place(row, filled[row], used[row])
        used[row] += size
        filled[row] += count
        return spot

    def place_all(unit: int) -> tuple[Place, ...] | None:
        places = []
        for size, count in zip(sizes[:, unit].tolist(), steps[:, unit].tolist(), strict=True):
            spot = place(size, count)
            if spot is None:
                return None
            places.append(spot)
        return tuple(places)

    for unit in order:
        places = place_all(unit)
        if places is None:
            batches.append([])
            used[:], filled[:] = [0] * room.rows, [0] * room.rows
            places = place_all(unit)
        assert places is not None, "every unit fits into an empty batch"
        batches[-1].append(Unit(unit, places))
    return batches


def fill_rows(
    placed: Iterable[tuple[EncodedTrace, Place]], room: Room, *, pad: int = 0, prompt_id: Sequence[int] | None = None
) -> TraceBatch:
    """The numpy arrays that hold these sequences.

    Args:
        placed: Sequences and their places, of which no two overlap.
        room: The shape.
        pad: Token id of the padding.
        prompt_id: Number of the prompt of each row; the number of the row by default.
    """
    size = room.rows, room.length
    tokens, step_id = np.full(size, pad, np.int32), np.full(size, -1, np.int32)
    segment, before = np.zeros(size, np.int32), np.zeros(size, np.int32)
    step_mask = np.zeros((room.rows, room.slots), bool)
    for sequence, (row, slot, start, number) in placed:
        span = slice(start, start + len(sequence.tokens))
        tokens[row, span] = sequence.tokens
        segment[row, span] = slot + 1 if number is None else number
        step_id[row, span] = sequence.step_id
        if start:
            before[row, span] = start
        if slot:
            step_id[row, span] += np.where(step_id[row, span] >= 0, slot, 0)
        step_mask[row, slot : slot + count_steps(sequence)] = True
    position = np.where(segment > 0, np.arange(room.length, dtype=np.int32) - before, 0)
    numbers = np.arange(room.rows) if prompt_id is None else np.asarray(prompt_id)
    return TraceBatch(tokens, segment, position, step_id, step_mask, numbers.astype(np.int32))


def one_per_row(
    rows: Sequence[EncodedTrace],
    *,
    length: int,
    slots: int,
    pad: int = 0,
    prompt_id: Sequence[int] | None = None,
) -> TraceBatch:
    """A row of `length` tokens and `slots` steps for each sequence; the number of its prompt is 0 by default."""
    numbers = [0] * len(rows) if prompt_id is None else prompt_id
    placed = ((row, Place(i)) for i, row in enumerate(rows))
    return fill_rows(placed, Room(len(rows), length, slots), pad=pad, prompt_id=numbers)


def slots_of(rows: Sequence[EncodedTrace]) -> int:
    """Slots for the steps of every row: few different numbers, so that few programs are compiled."""
    steps = max(map(count_steps, rows), default=1)
    return 1 if steps <= 1 else max(8, 1 << (steps - 1).bit_length())


def count_steps(sequence: EncodedTrace) -> int:
    return max(sequence.step_id) + 1


def check_fits(name: str, sequence: EncodedTrace, room: Room) -> None:
    """InputError for a sequence that does not fit into a row for itself."""
    advice = "leave it out, or raise the length of rows"
    if len(sequence.tokens) > room.length:
        raise InputError(f"{name}: {len(sequence.tokens)} tokens do not fit into {room.length}; {advice}")
    if count_steps(sequence) > room.slots:
        raise InputError(f"{name}: {count_steps(sequence)} steps do not fit into {room.slots}; raise the slots of rows")


def measure(parts: Sequence[Sequence[EncodedTrace]]) -> tuple[np.ndarray, np.ndarray]:
    """(tokens, steps), both Int[parts, units]."""
    sizes = np.array([[len(row.tokens) for row in part] for part in parts])
    return sizes, np.array([[count_steps(row) for row in part] for part in parts])


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: which items share a row of `capacity`."""
    open_by_room: dict[int, list[list[int]]] = {}
    bins: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        need = lengths[item]
        room = next((r for r in range(need, capacity + 1) if open_by_room.get(r)), None)
        if room is None:
            room, chosen = capacity, list[int]()
            bins.append(chosen)
        else:
            chosen = open_by_room[room].pop()
        chosen.append(item)
        open_by_room.setdefault(room - need, []).append(chosen)
    return bins
