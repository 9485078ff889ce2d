"""Word sorting: words are ordered by their first letters, then groups of one letter by the next, until none is left.

    half ouch horizontal    I should start by looking at the first letter of the words in the list. The first letter:
                            "half": "h" (8). "ouch": "o" (15). "horizontal": "h" (8).
                            We now have: (8) ["half" ? "horizontal"] < (15) "ouch".
                            Now let's sort this subpart ["half" ? "horizontal"] by looking at their second letters. The
                            second letter: "half": "a" (1). "horizontal": "o" (15).
                            We now have: (1) "half" < (15) "horizontal" for the subpart. Hence, we have "half" <
                            "horizontal" < "ouch".
                            I have now sorted all the words. The answer is half horizontal ouch

The order inside a group is free. Mistakes (`FIRST`, `SORTED`, `WHOLE`, `ANSWERED`) occur in letters and numbers, in the
order of words, in the whole list after a subpart, in the answer, or in the choice of the subpart. Later steps follow
the rules from the wrong list.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from irl.domains.bigbench_mistake.planted import Planted, drawn_order
from irl.domains.bigbench_mistake.word_faults import (
    ANSWERED,
    FIRST,
    KINDS,
    ORDINALS,
    SORTED,
    WHOLE,
    Group,
    Sorted,
    Spelled,
    Words,
    is_open,
    misread,
)
from irl.types import LabelledSteps

HEAD = "I should start by looking at the first letter of the words in the list."
ANSWER = "The answer is "
_QUOTED = re.compile(r'"([^"]*)"')


class Style(NamedTuple):
    """The wording of the steps."""

    shuffled: bool = False
    """Groups in any order; else as their words came."""
    brief: bool = False
    """The whole list is only written once a letter's words are sorted."""
    numbered: bool = False
    """Numbers stand in the whole list where no subpart has been sorted yet."""


def problem(like: str, rng: np.random.Generator, words: Sequence[str]) -> str:
    """As many of `words`, none of which begins another."""
    size = len(like.split())
    chosen: list[str] = []
    for index in rng.permutation(len(words)).tolist():
        word = words[index]
        if not any(word.startswith(other) or other.startswith(word) for other in chosen):
            chosen.append(word)
        if len(chosen) == size:
            break
    return " ".join(chosen)


def invented(words: Sequence[str], count: int, rng: np.random.Generator) -> list[str]:
    """New words in which every three neighbouring letters are neighbours in one of `words`."""
    follow: dict[str, list[str]] = {}
    for word in words:
        text = f"^^{word}$"
        for i in range(2, len(text)):
            follow.setdefault(text[i - 2 : i], []).append(text[i])
    new: list[str] = []
    while len(new) < count:
        text = "^^"
        while text[-1] != "$":
            choice = follow[text[-2:]]
            text += choice[rng.integers(len(choice))]
        if 3 < len(text) - 3 < 15:
            new.append(text[2:-1])
    return new


def drawn_style(rng: np.random.Generator) -> Style:
    return Style(shuffled=rng.random() < 0.6, brief=rng.random() < 0.2, numbered=rng.random() < 0.06)


def write(problem: str, style: Style, rng: np.random.Generator) -> tuple[str, ...]:
    """The correct steps in one style."""
    trace = _trace(tuple(problem.split()), style, rng)
    assert trace is not None
    return tuple(trace.lines)


def written(problem: str, rng: np.random.Generator) -> Planted:
    """The correct steps."""
    return Planted(problem, write(problem, drawn_style(rng), rng), None)


def flawed(problem: str, at: float, rng: np.random.Generator) -> Planted:
    """The steps with a mistake in the step at the share `at` of the trace, the first step excepted."""
    words, style = tuple(problem.split()), drawn_style(rng)
    right = _trace(words, style, rng)
    assert right is not None
    line = max(1, min(int(at * len(right.lines)), len(right.lines) - 1))
    for kind in drawn_order(KINDS[right.sorts[line]], rng):
        trace = _trace(words, style, rng, (line, kind))
        if trace is not None:
            return Planted(problem, tuple(trace.lines), line, kind)
    return Planted(problem, tuple(right.lines), None)


def renamed(trace: LabelledSteps, rng: np.random.Generator) -> LabelledSteps:
    """The words with other ends behind the letters that are looked at; as it is where a step has a word of its own."""
    words = trace.prompt.split()
    if not {word for step in trace.steps for word in _QUOTED.findall(step) if len(word) > 1} <= set(words):
        return trace
    looked = max(
        (i for i, name in enumerate(ORDINALS) if any(f"The {name} letter:" in s for s in trace.steps)), default=0
    )
    kept = looked + 2
    ends = [word[kept:] for word in words if len(word) > kept]
    mapping = {word: word[:kept] + ends[rng.integers(len(ends))] if len(word) > kept else word for word in words}
    if len(set(mapping.values())) < len(words):
        return trace
    old_words = re.compile(
        r"(?<![\w'&])(?:" + "|".join(re.escape(w) for w in sorted(words, key=len, reverse=True)) + r")(?![\w'&])"
    )
    head, _, answer = trace.steps[-1].rpartition(ANSWER)
    steps = [_QUOTED.sub(lambda m: f'"{mapping.get(m.group(1), m.group(1))}"', step) for step in trace.steps]
    if head or trace.steps[-1].startswith(ANSWER):
        steps[-1] = head + ANSWER + old_words.sub(lambda m: mapping[m.group()], answer)
    return replace(trace, prompt=" ".join(mapping[word] for word in words), steps=tuple(steps))


class _Trace(NamedTuple):
    lines: list[str]
    sorts: list[str]
    """What each line is: spelled, first, subpart, order, answer."""


def _trace(words: Words, style: Style, rng: np.random.Generator, fault: tuple[int, str] | None = None) -> _Trace | None:
    """The steps; with a fault (line, kind) in one of them, or None where it has no room for that."""
    trace = _Trace([f"{HEAD} The first letter: {_spelling(_spelled(words, 0))}"], ["spelled"])
    chain = _by_number(_spelled(words, 0), style, rng)
    if fault is not None and fault[0] == 1:
        other = FIRST[fault[1]](chain, rng)
        if other is None:
            return None
        chain = other
    trace.lines.append(f"We now have: {_chain(chain)}.")
    trace.sorts.append("first")
    entries = [Group(words, 1) for _, words in chain]
    while True:
        kind = fault[1] if fault is not None and fault[0] == len(trace.lines) else ""
        open = [i for i, group in enumerate(entries) if is_open(group)]
        if kind == "left":
            for i in open[:1]:
                entries[i] = Group(entries[i].words, len(ORDINALS))
            open = open[1:]
        if not open:
            break
        stepped = _subpart(entries, open[0], style, rng, trace, fault)
        if stepped is None:
            return None
        entries = stepped
    answer = [word for group in entries for word in group.words]
    if kind == "left" and answer == sorted(words):
        return None
    if kind in ANSWERED:
        answer = ANSWERED[kind](answer, rng)
    trace.lines.append(f"I have now sorted all the words. {ANSWER}{' '.join(answer)}")
    trace.sorts.append("answer")
    return trace


def _subpart(
    entries: list[Group], at: int, style: Style, rng: np.random.Generator, trace: _Trace, fault: tuple[int, str] | None
) -> list[Group] | None:
    """Two lines on the group at `at`; the list behind them, or None where the fault has no room."""
    kind = {fault[0] - len(trace.lines): fault[1]} if fault is not None else {}
    group = entries[at]
    right = _spelled(group.words, group.depth)
    spelled = misread(right, group.depth, rng) if kind.get(0) == "misread" else right
    if spelled is None:
        return None
    nth = ORDINALS[group.depth]
    looked = f"by looking at their {nth} letters. The {nth} letter: {_spelling(spelled)}"
    trace.lines.append(f"Now let's sort this subpart {_quoted(group.words)} {looked}")
    trace.sorts.append("subpart")
    ordered = _by_number(spelled, style, rng)
    chain = SORTED[kind[1]](ordered, group, rng) if kind.get(1) in SORTED else ordered
    if chain is None:
        return None
    after = [*entries[:at], *(Group(words, group.depth + 1) for _, words in chain), *entries[at + 1 :]]
    hidden = style.brief and any(is_open(other) and other.depth > 1 for other in after)
    if kind.get(1) in WHOLE:
        changed = None if hidden else WHOLE[kind[1]](entries, after, at, rng)
        if changed is None:
            return None
        after = changed
    whole = "" if hidden else f" Hence, we have {_whole(after, style)}."
    trace.lines.append(f"We now have: {_chain(chain)} for the subpart.{whole}")
    trace.sorts.append("order")
    return after


def _spelled(words: Words, depth: int) -> Spelled:
    return tuple((word, letter, ord(letter) - 96) for word in words for letter in [word[min(depth, len(word) - 1)]])


def _by_number(spelled: Spelled, style: Style, rng: np.random.Generator) -> Sorted:
    groups: dict[int, list[str]] = {}
    for word, _, number in spelled:
        groups.setdefault(number, []).append(word)
    return tuple((number, _ordered(groups[number], style, rng)) for number in sorted(groups))


def _ordered(words: list[str], style: Style, rng: np.random.Generator) -> Words:
    return tuple(words[i] for i in rng.permutation(len(words))) if style.shuffled and len(words) > 1 else tuple(words)


def _spelling(spelled: Spelled) -> str:
    return " ".join(f'"{word}": "{letter}" ({number}).' for word, letter, number in spelled)


def _quoted(words: Words) -> str:
    text = " ? ".join(f'"{word}"' for word in words)
    return text if len(words) == 1 else f"[{text}]"


def _chain(chain: Sorted) -> str:
    return " < ".join(f"({number}) {_quoted(words)}" for number, words in chain)


def _whole(entries: Sequence[Group], style: Style) -> str:
    parts = []
    for group in entries:
        number = f"({ord(group.words[0][0]) - 96}) " if style.numbered and group.depth == 1 else ""
        parts.append(number + _quoted(group.words))
    return " < ".join(parts)
