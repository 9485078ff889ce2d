"""Pairs of sequences packed into rows (packing.py): a source of `PackedPairBatch`es.

Every sequence is one step of its row. Every epoch is shuffled and packed anew; its plan follows from seed and epoch
alone. Where prompts are shared, both sides of a pair stand in one row behind one copy of their prompt (Wang and Hegde
2024, arXiv 2410.20305); scores and gradients are those of two whole sequences.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from irl.text.packing import EncodedTrace, Place, Room, Unit, check_fits, count_steps, fill_rows, measure, plan_batches
from irl.text.pipeline import EpochSource, epoch_order
from irl.types import InputError
from reward_models.types import PackedPairBatch, TraceBatch


class PackedPairs(EpochSource):
    """A `Source` of PackedPairBatches, all of one shape: `rows` rows of `length` tokens.

    A row holds at most `slots` sequences. `share_prompts` is for networks that understand a prefix (`sees_prefix`): a
    pair takes three slots of a row then, or stands apart where it is too long for one. InputError names a pair with a
    side longer than a row, or of several steps.
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
        share_prompts: bool = False,
        weight: np.ndarray | None = None,
        margin: np.ndarray | None = None,
    ):
        self._room = Room(rows, length, slots)
        self._sides = (chosen, rejected)
        _check(chosen, rejected, self._room)
        count = len(chosen)
        self._weight = np.ones(count, np.float32) if weight is None else np.asarray(weight, np.float32)
        self._margin = np.zeros(count, np.float32) if margin is None else np.asarray(margin, np.float32)
        self._share_prompts = share_prompts
        self._shared = _shared_prompts(self._sides, self._room) if share_prompts else np.zeros(count, int)
        sizes, steps = measure(self._sides)
        together = self._shared > 0  # one part of three slots
        sizes = np.where(together, [sizes.sum(0) - self._shared, 0 * self._shared], sizes)
        steps = np.where(together, [[3], [0]], steps)
        self._seed, self._measured = seed, (sizes, steps)
        super().__init__({"pairs": count, **self._room._asdict(), "seed": seed, "share_prompts": share_prompts})

    def _plan(self, epoch: int) -> list[list[Unit]]:
        return plan_batches(epoch_order(len(self._weight), self._seed, epoch).tolist(), *self._measured, self._room)

    def _arrays(self, batch: list[Unit]) -> PackedPairBatch:
        rows, _, slots = self._room
        names = np.zeros((2, rows * slots // 2), np.int32)
        weight, margin = np.zeros((2, rows * slots // 2), np.float32)
        for index, unit in enumerate(batch):
            names[:, index] = [place.row * slots + place.slot for place in self._places(unit)]
        numbers = [unit.number for unit in batch]
        weight[: len(batch)], margin[: len(batch)] = self._weight[numbers], self._margin[numbers]
        traces = fill_rows((piece for unit in batch for piece in self._pieces(unit)), self._room)
        if self._share_prompts:
            traces = self._behind_prompts(batch, traces)
        return PackedPairBatch(traces, names[0], names[1], weight, margin)

    def _places(self, unit: Unit) -> tuple[Place, Place]:
        """Where chosen and rejected lie, or what follows their prompt."""
        shared, (first, second) = self._shared[unit.number], unit.places
        if not shared:
            return first, second
        row, slot, start, _ = first
        after_chosen = start + len(self._sides[0][unit.number].tokens)
        return Place(row, slot + 1, start + shared), Place(row, slot + 2, after_chosen)

    def _pieces(self, unit: Unit) -> Iterator[tuple[EncodedTrace, Place]]:
        """The sequences that stand in rows, a shared prompt as one of its own."""
        shared = self._shared[unit.number]
        if shared:
            yield EncodedTrace(self._sides[0][unit.number].tokens[:shared], [-1] * shared), unit.places[0]
        for side, place in zip(self._sides, self._places(unit), strict=True):
            tokens, step_id = side[unit.number]
            yield EncodedTrace(tokens[shared:], step_id[shared:]), place

    def _behind_prompts(self, batch: list[Unit], traces: TraceBatch) -> TraceBatch:
        """The same rows, with positions that go on from the shared prompts and segments that see them."""
        after, position = np.zeros_like(traces.segment), traces.position.copy()
        for unit in batch:
            shared = self._shared[unit.number]
            for side, (row, _, start, _) in zip(self._sides, self._places(unit), strict=True):
                span = slice(start, start + len(side[unit.number].tokens) - shared)
                position[row, span] += shared
                after[row, span] = unit.places[0].slot + 1 if shared else 0
        return traces._replace(position=position, after=after)


def _shared_prompts(sides: tuple[Sequence[EncodedTrace], Sequence[EncodedTrace]], room: Room) -> np.ndarray:
    """Tokens of the prompt that both sides of a pair begin with; 0 where they do not fit into one row together."""
    shared = np.array([_common_prompt(*pair) for pair in zip(*sides, strict=True)])
    whole = measure(sides)[0].sum(0) - shared
    return np.where((whole <= room.length) & (room.slots >= 3), shared, 0)


def _common_prompt(one: EncodedTrace, other: EncodedTrace) -> int:
    tokens = zip(one.tokens, other.tokens, one.step_id, other.step_id, strict=False)
    return next((i for i, (a, b, *steps) in enumerate(tokens) if a != b or max(steps) >= 0), 0)


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
        if room.rows < 2 and sum(len(row.tokens) for row in pair) > room.length:
            raise InputError(f"pair {number}: its sides do not fit into one row of {room.length}; take 2 rows or more")
