"""Mistakes in the lines of word sorting (word_sorting.py): each maps a correct value to a wrong one, or to None.

misread      a letter or a number of one word             FIRST        the order by first letters
SORTED       the order of a subpart                       WHOLE        the whole list behind a subpart
ANSWERED     the answer
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")

Words = tuple[str, ...]
Spelled = tuple[tuple[str, str, int], ...]
"""Word, letter, number."""
Sorted = tuple[tuple[int, Words], ...]
"""Number of a letter, words that have it."""
Entries = list["Group"]


class Group(NamedTuple):
    """Words in a place of the list; sorted when there is one. `depth` letters are the same."""

    words: Words
    depth: int


def is_open(group: Group) -> bool:
    """Whether the group is not sorted yet."""
    return len(set(group.words)) > 1 and group.depth < len(ORDINALS)


def misread(spelled: Spelled, depth: int, rng: np.random.Generator) -> Spelled | None:
    """Another letter of one of the words, near the one that counts; or the right one with another number."""
    at = int(rng.integers(len(spelled)))
    word, letter, number = spelled[at]
    near = [c for i, c in enumerate(word) if c != letter and abs(i - depth) < 4]
    if not near:
        return None
    other = near[rng.integers(len(near))]
    wrong = (
        (word, other, ord(other) - 96)
        if rng.random() < 0.85
        else (word, letter, max(1, number + 2 * int(rng.integers(2)) - 1))
    )
    return None if wrong == spelled[at] else (*spelled[:at], wrong, *spelled[at + 1 :])


def _without(chain: Sorted, word: str) -> Sorted:
    kept = ((number, tuple(w for w in words if w != word)) for number, words in chain)
    return tuple((number, words) for number, words in kept if words)


def _any_word(chain: Sorted, rng: np.random.Generator) -> str:
    words = [word for _, words in chain for word in words]
    return words[rng.integers(len(words))]


def _lost(chain: Sorted, rng: np.random.Generator) -> Sorted | None:
    return _without(chain, _any_word(chain, rng)) if len(chain) > 1 else None


def _misplaced(chain: Sorted, rng: np.random.Generator) -> Sorted | None:
    """A word in the group of another letter."""
    word = _any_word(chain, rng)
    left = _without(chain, word)
    fit = [i for i, (number, _) in enumerate(left) if number != ord(word[0]) - 96]
    if not fit:
        return None
    at = fit[rng.integers(len(fit))]
    return (*left[:at], (left[at][0], (*left[at][1], word)), *left[at + 1 :])


def _twice(chain: Sorted, rng: np.random.Generator) -> Sorted | None:
    """A word in its own place and in that of another letter."""
    word = _any_word(chain, rng)
    fit = [i for i, (number, _) in enumerate(chain) if number != ord(word[0]) - 96]
    if not fit:
        return None
    at = fit[rng.integers(len(fit))]
    return (*chain[:at], (chain[at][0], (*chain[at][1], word)), *chain[at + 1 :])


def _moved(chain: Sorted, rng: np.random.Generator) -> Sorted | None:
    """A place of the order elsewhere in it."""
    if len(chain) < 2:
        return None
    at = int(rng.integers(len(chain)))
    rest = [*chain[:at], *chain[at + 1 :]]
    to = [i for i in range(len(chain)) if i != at]
    rest.insert(to[rng.integers(len(to))], chain[at])
    return tuple(rest)


def _flat(chain: Sorted, group: Group, rng: np.random.Generator) -> Sorted | None:
    """Words with one letter in an order."""
    flat = tuple((number, (word,)) for number, words in chain for word in words)
    return None if len(flat) == len(chain) else flat


def _unordered(chain: Sorted, group: Group, rng: np.random.Generator) -> Sorted | None:
    return _moved(chain, rng)


def _stale(chain: Sorted, group: Group, rng: np.random.Generator) -> Sorted | None:
    """The words as they stood, the first by the letter before."""
    if [word for _, words in chain for word in words] == list(group.words) or len(chain) < len(group.words):
        return None
    number = {word: number for number, words in chain for word in words}
    first, *rest = group.words
    return ((ord(first[group.depth - 1]) - 96, (first,)), *((number[word], (word,)) for word in rest))


def _lost_word(chain: Sorted, group: Group, rng: np.random.Generator) -> Sorted | None:
    return _lost(chain, rng)


def _unchanged(before: Entries, after: Entries, at: int, rng: np.random.Generator) -> Entries | None:
    """The subpart unchanged, and marked as sorted."""
    if len(after) == len(before):
        return None
    return [*before[:at], before[at]._replace(depth=len(ORDINALS)), *before[at + 1 :]]


def _displaced(before: Entries, after: Entries, at: int, rng: np.random.Generator) -> Entries | None:
    """A part of the subpart elsewhere in the list."""
    part = at + int(rng.integers(len(after) - len(before) + 1))
    rest = [*after[:part], *after[part + 1 :]]
    places = [i for i in range(len(after)) if i != part]
    if not places:
        return None
    rest.insert(places[rng.integers(len(places))], after[part])
    return rest


def _reversed(before: Entries, after: Entries, at: int, rng: np.random.Generator) -> Entries | None:
    """Two parts of the subpart the wrong way round."""
    size = len(after) - len(before) + 1
    if size < 2:
        return None
    first = at + int(rng.integers(size - 1))
    return [*after[:first], after[first + 1], after[first], *after[first + 2 :]]


def _dropped(before: Entries, after: Entries, at: int, rng: np.random.Generator) -> Entries | None:
    lost = int(rng.integers(len(after)))
    return [*after[:lost], *after[lost + 1 :]] if len(after) > 1 else None


def _unbracketed(before: Entries, after: Entries, at: int, rng: np.random.Generator) -> Entries | None:
    """The other groups in an arbitrary order."""
    open = [i for i, group in enumerate(after) if is_open(group)]
    if not open:
        return None
    flat = set(open) if rng.random() < 0.4 else {open[rng.integers(len(open))]}
    return [
        part
        for i, group in enumerate(after)
        for part in ([Group((word,), group.depth) for word in group.words] if i in flat else [group])
    ]


def _exchanged(words: list[str], rng: np.random.Generator) -> list[str]:
    if len(words) < 2:
        return words
    at = int(rng.integers(len(words) - 1))
    return [*words[:at], words[at + 1], words[at], *words[at + 2 :]]


def _forgotten(words: list[str], rng: np.random.Generator) -> list[str]:
    at = int(rng.integers(len(words)))
    return [*words[:at], *words[at + 1 :]]


FIRST: dict[str, Callable[[Sorted, np.random.Generator], Sorted | None]] = {
    "lost": _lost,
    "misplaced": _misplaced,
    "twice": _twice,
    "moved": _moved,
}
SORTED: dict[str, Callable[[Sorted, Group, np.random.Generator], Sorted | None]] = {
    "flat": _flat,
    "unordered": _unordered,
    "stale": _stale,
    "lost word": _lost_word,
}
WHOLE: dict[str, Callable[[Entries, Entries, int, np.random.Generator], Entries | None]] = {
    "unchanged": _unchanged,
    "displaced": _displaced,
    "reversed": _reversed,
    "dropped": _dropped,
    "unbracketed": _unbracketed,
}
ANSWERED: dict[str, Callable[[list[str], np.random.Generator], list[str]]] = {
    "exchanged": _exchanged,
    "forgotten": _forgotten,
}
KINDS: dict[str, Mapping[str, float]] = {
    "first": {"lost": 60, "misplaced": 20, "twice": 10, "moved": 10},
    "subpart": {"left": 50, "misread": 50},
    "order": {
        "flat": 10,
        "unordered": 12,
        "stale": 15,
        "lost word": 3,
        "unchanged": 15,
        "displaced": 12,
        "reversed": 12,
        "dropped": 12,
        "unbracketed": 18,
    },
    "answer": {"exchanged": 50, "forgotten": 50},
}
"""Sort of line: kinds of mistakes in it and how often, about as among first mistakes of the real traces."""
