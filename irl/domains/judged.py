"""Pairs of a better and a worse trace of one prompt, from the labels of records.

Pairs are formed by the correct and wrong traces of a prompt, from any records, and by the preferred and the rejected
response of a record. A wrong step forms another pair: the trace before the step, and the trace with it.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from irl.canonical import canonical_text
from irl.data.detect import Record
from irl.text.steps import SplitSteps
from irl.types import Candidates, LabelledResponse, LabelledSteps, Preference, RankedResponses, Trace
from reward_models.types import Information

PAIRS = 2
"""Wrong traces that a right trace is paired with, at most."""


class JudgedPair(NamedTuple):
    """Two traces of a prompt, as steps."""

    prompt: str
    better: tuple[str, ...]
    worse: tuple[str, ...]
    ended: bool
    """Whether they are whole traces; otherwise both are still being written."""
    information: Information


def judged_pairs(records: Iterable[Record], split: SplitSteps, between: str) -> list[JudgedPair]:
    """The pairs of all records; `between` joins steps to a text."""
    pairs: list[JudgedPair] = []
    whole: dict[str, dict[bool, dict[str, str]]] = {}
    for entry in records:
        pairs += _within(entry, split, between)
        for text, is_right in _outcomes(entry, between):
            whole.setdefault(canonical_text(entry.prompt), {True: {}, False: {}})[is_right][text] = entry.prompt
    for sides in whole.values():
        wrong = list(sides[False])
        for number, (right, prompt) in enumerate(sides[True].items()):
            chosen = dict.fromkeys(wrong[(number * PAIRS + k) % len(wrong)] for k in range(PAIRS) if wrong)
            pairs += [JudgedPair(prompt, split(right), split(text), True, "outcome labels") for text in chosen]
    return [pair for pair in pairs if pair.prompt.strip() and pair.better and pair.worse]


def _within(entry: Record, split: SplitSteps, between: str) -> Iterator[JudgedPair]:
    """The pairs of a single record."""
    match entry:
        case Preference():
            yield JudgedPair(entry.prompt, split(entry.chosen), split(entry.rejected), True, "preferences")
        case RankedResponses():
            best = min(entry.ranks)
            good = entry.responses[entry.ranks.index(best)]
            for text, rank in zip(entry.responses, entry.ranks, strict=True):
                if rank > best:
                    yield JudgedPair(entry.prompt, split(good), split(text), True, "preferences")
        case LabelledSteps() | Trace():
            steps, error = _steps(entry)
            if error:
                before, after = (split(between.join(steps[:count])) for count in (error, error + 1))
                yield JudgedPair(entry.prompt, before, after, False, "step labels")


def _outcomes(entry: Record, between: str) -> Iterator[tuple[str, bool]]:
    """Whole traces of a record, and whether they are correct."""
    match entry:
        case Candidates():
            for each in entry.candidates:
                if each.correct is not None:
                    yield each.text, each.correct
        case LabelledResponse():
            yield entry.completion, entry.label
        case LabelledSteps() | Trace():
            steps, error = _steps(entry)
            right = entry.correct if isinstance(entry, LabelledSteps) else None
            if error is not None or right is not None:
                yield between.join(steps), error is None and right is not False
            elif isinstance(entry, LabelledSteps) or all(step.label for step in entry.steps):
                yield between.join(steps), True


def _steps(entry: LabelledSteps | Trace) -> tuple[tuple[str, ...], int | None]:
    """The texts of the steps, and the index of the first that is wrong."""
    if isinstance(entry, LabelledSteps):
        return entry.steps, entry.first_error
    wrong = (index for index, step in enumerate(entry.steps) if step.label is False)
    return tuple(step.text for step in entry.steps), next(wrong, None)
