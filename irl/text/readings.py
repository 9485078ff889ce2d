"""Readings: how the steps of a trace become windows, each of which is judged apart from all else.

The file of a domain registers its reading; `reading_of` returns it for the name in a manifest.json. A soft Q-function
of the windows is learned from right traces alone; a step is as good as the worst judged token of its windows.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from tokenizers import Tokenizer

from irl.text.tokenize import END, character_tokenizer
from irl.text.windows import ENDING, StepWindow, ending_window
from reward_models.registry import import_all


class Reading(NamedTuple):
    """How steps are read."""

    name: str
    read: Callable[[str, Sequence[str]], list[tuple[StepWindow, ...]]]
    """(problem, steps) -> the windows of every step."""
    tokenizer: Callable[[], Tokenizer]
    judged: tuple[str, ...]
    """Tokens that count."""
    longest: int
    """Tokens of the longest window; longer ones are not judged."""
    lack: str
    """Predicate of messages about answers without a window."""
    wanted: str


_READINGS: dict[str, Reading] = {}


def register(reading: Reading) -> Reading:
    """Make a reading known by its name. ValueError for a name that another reading has."""
    if _READINGS.setdefault(reading.name, reading) is not reading:
        raise ValueError(f"reading {reading.name!r}: registered before; give it another name")
    return reading


def readings() -> dict[str, Reading]:
    """Every reading by its name, those of all domains included."""
    import_all("irl.domains")
    return dict(_READINGS)


def reading_of(name: str) -> Reading | None:
    """The reading of a name; None where there is none."""
    return _READINGS.get(name) or readings().get(name)


def _ending(problem: str, steps: Sequence[str]) -> list[tuple[StepWindow, ...]]:
    """A window of the last step that has a word, at the place of the last step."""
    last = next((step for step in reversed(steps) if any(map(str.isalnum, step))), "")
    return [*[()] * (len(steps) - 1), (ending_window(last, closes=True),)] if steps else []


ENDINGS = register(
    Reading(
        name="ending",
        read=_ending,
        tokenizer=character_tokenizer,
        judged=(END,),
        longest=ENDING + 8,
        lack="have no last step",
        wanted="has a last step",
    )
)
