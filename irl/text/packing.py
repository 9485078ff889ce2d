"""Sequences packed into rows of one length, so that next to nothing is computed on padding.

A unit is a group of sequences that must share a batch: one trace, or the two sides of a pair. Sequences in a row are
segments that do not see each other; their steps stand one after another in the row's slots. A batch takes units, in the
given order, for as long as every part finds a row with room (the fullest that fits); the unit that no longer does opens
the next batch.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from irl.text.encode import EncodedTrace
from irl.types import InputError
from reward_models.types import TraceBatch


class Place(NamedTuple):
    """Where a sequence lies in a batch: its row, the slot of its first step, its first token."""

    row: int
    slot: int
    start: int


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
        found = Place(row, filled[row], used[row])
        used[row] += size
        filled[row] += count
        return found

    def place_all(unit: int) -> tuple[Place, ...] | None:
        places = []
        for size, count in zip(sizes[:, unit].tolist(), steps[:, unit].tolist(), strict=True):
            found = place(size, count)
            if found is None:
                return None
            places.append(found)
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


def fill_rows(placed: Iterable[tuple[EncodedTrace, Place]], room: Room) -> TraceBatch:
    """The rows that hold these sequences."""
    size = room.rows, room.length
    tokens, segment, position = (np.zeros(size, np.int32) for _ in range(3))
    step_id = np.full(size, -1, np.int32)
    step_mask = np.zeros((room.rows, room.slots), bool)
    for sequence, (row, slot, start) in placed:
        span = slice(start, start + len(sequence.tokens))
        step = np.asarray(sequence.step_id)
        tokens[row, span] = sequence.tokens
        segment[row, span] = slot + 1
        position[row, span] = np.arange(len(sequence.tokens))
        step_id[row, span] = np.where(step >= 0, step + slot, -1)
        step_mask[row, slot : slot + count_steps(sequence)] = True
    return TraceBatch(tokens, segment, position, step_id, step_mask, np.arange(room.rows, dtype=np.int32))


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
