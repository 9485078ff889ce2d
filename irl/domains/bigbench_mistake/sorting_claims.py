"""The claims of word sorting, as a Markov reward reads them: each claim of a step with its premises, in few characters.

    a letter of a word      half 1                  h8          "half": "h" (8)
    an order by letters     Kh Bo Th                hKT oB      (8) ["horizontal" ? "half"] < (15) "ouch"
    what is sorted next     KT1 B                   KT2KT       this subpart ["half" ? "horizontal"], second letters
    a list after that       KT B/KT/K T             K T B       "half" < "horizontal" < "ouch"
    the end                 K T B                   =KTB        The answer is half horizontal ouch

A word is spelled only in claims about its letters. Elsewhere it has a random name from A to Z, a group is its sorted
names, and numbers of letters are letters. The number of letters compared so far follows a group in a list. Claims are
not checked here: a list that a step omits is the list before it with the sorted group in place of the unsorted one.
"""

import re
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from irl.domains.bigbench_mistake.word_faults import ORDINALS
from irl.text.windows import UNREAD, StepWindow

_SPELLED = re.compile(r'"([^"]*)":\s*"([^"]*)"\s*\((\d+)\)')
_ENTRY = re.compile(r'(?:\((\d+)\)\s*)?(\[[^\]]*\]|"[^"]*")')
_WORD = re.compile(r'"([^"]*)"')
_SUBPART = re.compile(r"this subpart (.*?) by looking at their (\w+) letters")
_ANSWER = "answer is"
_NAMES = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OTHER = "?"

Words = tuple[str, ...]


class _State(NamedTuple):
    """The state before a step."""

    entries: tuple[Words, ...] = ()
    """The list so far."""
    looked: dict[frozenset[str], int] = {}  # noqa: RUF012
    """How many letters of a group have been looked at; one where it is not said."""
    spelled: tuple[tuple[str, str], ...] = ()
    """Words and numbers of the last step that spelled some."""
    group: Words = ()
    """What is being sorted, by which letter."""
    letter: int = 1


def sorting_claims(problem: str, steps: Sequence[str]) -> list[tuple[StepWindow, ...]]:
    """The windows of every step of a trace; the score of a step is that of its worst window."""
    names, state, by_step = _Names(problem), _State(), []
    for step in steps:
        windows, state = _read(step, state, names)
        by_step.append(tuple(StepWindow(before, (), claim, closes=True) for before, claim in windows))
    return by_step


class _Names:
    """A random letter for each word, a function of the problem: a trace has one reading."""

    def __init__(self, problem: str):
        order = np.random.default_rng(zlib.crc32(problem.encode())).permutation(len(_NAMES))
        self._free = [_NAMES[i] for i in order]
        self._names: dict[str, str] = {}
        for word in problem.split():
            self(word)

    def __call__(self, word: str) -> str:
        if word not in self._names:
            self._names[word] = self._free.pop() if self._free else _OTHER
        return self._names[word]

    def one_by_one(self, words: Sequence[str]) -> str:
        return "".join(map(self, words))

    def group(self, words: Sequence[str]) -> str:
        """The names of a group in alphabetical order: the order inside a group is free."""
        return "".join(sorted(map(self, words)))

    def list(self, entries: Sequence[Words]) -> str:
        return " ".join(map(self.group, entries))


_Windows = list[tuple[str, str]]


def _read(step: str, state: _State, names: _Names) -> tuple[_Windows, _State]:
    subpart = _SUBPART.search(step)
    if _ANSWER in step:
        words = step.partition(_ANSWER)[2].replace(",", " ").split()
        return [(_list(state, names), "=" + names.one_by_one(words))], state
    if subpart is not None and subpart[2] in ORDINALS:
        return _subpart(step, tuple(_WORD.findall(subpart[1])), ORDINALS.index(subpart[2]), state, names)
    if _SPELLED.search(step):
        return _spelled(step, 0, state)
    if _ENTRY.search(step):
        return _order(step, state, names) if state.group else _first(step, state, names)
    return [(_list(state, names), step[:UNREAD])], state


def _spelled(step: str, letter: int, state: _State) -> tuple[_Windows, _State]:
    spelled = _SPELLED.findall(step)
    windows = [(f"{word} {letter + 1}", f"{letters}{number}") for word, letters, number in spelled]
    return windows, state._replace(spelled=tuple((word, _by_letter(number)) for word, _, number in spelled))


def _subpart(step: str, group: Words, letter: int, state: _State, names: _Names) -> tuple[_Windows, _State]:
    windows, after = _spelled(step.partition("letters")[2], letter, state)
    claim = f"{names.group(group)}{letter + 1}{names.group([word for word, _ in after.spelled])}"
    return [(_list(state, names), claim), *windows], after._replace(group=group, letter=letter + 1)


def _first(step: str, state: _State, names: _Names) -> tuple[_Windows, _State]:
    chain = _entries(step)
    entries = tuple(words for _, words in chain)
    return [(_numbered(state, names), _chain(chain, names))], state._replace(entries=entries)


def _order(step: str, state: _State, names: _Names) -> tuple[_Windows, _State]:
    ordered, _, rest = step.partition("subpart")
    chain, whole = _entries(ordered), tuple(words for _, words in _entries(rest))
    windows = [(_numbered(state, names), _chain(chain, names))]
    after = tuple(words for _, words in chain)
    if whole:
        before = "/".join((names.list(state.entries), names.group(state.group), names.list(after)))
        windows.append((before, names.list(whole)))
    entries = whole or _replaced(state.entries, state.group, after)
    looked = state.looked | {frozenset(words): state.letter for words in after}
    return windows, state._replace(entries=entries, looked=looked)


def _replaced(entries: tuple[Words, ...], group: Words, by: tuple[Words, ...]) -> tuple[Words, ...]:
    return tuple(new for words in entries for new in (by if set(words) == set(group) else (words,)))


def _entries(text: str) -> list[tuple[str, Words]]:
    return [(entry[1] or "", tuple(_WORD.findall(entry[2]))) for entry in _ENTRY.finditer(text)]


def _numbered(state: _State, names: _Names) -> str:
    return " ".join(f"{names(word)}{number}" for word, number in state.spelled)


def _chain(chain: Sequence[tuple[str, Words]], names: _Names) -> str:
    return " ".join(f"{_by_letter(number)}{names.group(words)}" for number, words in chain)


def _list(state: _State, names: _Names) -> str:
    def group(words: Words) -> str:
        return names.group(words) + (str(state.looked.get(frozenset(words), 1)) if len(words) > 1 else "")

    return " ".join(map(group, state.entries))


def _by_letter(number: str) -> str:
    return chr(96 + int(number)) if number and len(number) < 10 and 0 < int(number) < 27 else number or "-"
