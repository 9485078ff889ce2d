"""Tracking shuffled objects: who has what after some swaps, one swap per step.

    At the start: Alice: red, Bob: blue, Claire: yellow.
    Alice and Claire swap: Alice: yellow, Bob: blue, Claire: red.
    At the end of the event, Alice has the yellow present. So the answer is (C)

Mistakes (`KINDS`) occur in the result of a swap or in the answer. Later swaps are correct from the wrong state.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from irl.domains.bigbench_mistake.planted import Planted, drawn_order
from irl.types import InputError, LabelledSteps

COLOURS = ("black", "blue", "brown", "green", "orange", "pink", "purple", "red", "white", "yellow")
NAMES = ("Alice", "Bob", "Claire", "Dave", "Eve")


@dataclass(frozen=True)
class Story:
    """The vocabulary of one kind of problem."""

    people: str
    has: str
    things: tuple[str, ...]
    then: str
    swap: str
    """What the problem says of a swap."""
    end: str
    brief: tuple[str, ...]
    """What the steps say of it."""


STORIES = (
    Story(
        people="are friends and avid readers who occasionally trade books. At the start of the semester, they each buy "
        "one new book:",
        has="gets",
        things=(
            "Catch-22",
            "Frankenstein",
            "Lolita",
            "Moby Dick",
            "The Fellowship of the Ring",
            "The Great Gatsby",
            "Hound of the Baskervilles",
            "The Odyssey",
            "The Pearl",
            "Ulysses",
        ),
        then="As the semester proceeds, they start trading around the new books.",
        swap="swap books",
        end="At the end of the semester, {} has",
        brief=("swap books", "swap"),
    ),
    Story(
        people="are dancers at a square dance. At the start of a song, they each have a partner:",
        has="is dancing with",
        things=("Helga", "Izzi", "Jamie", "Karl", "Lola", "Melissa", "Ophelia", "Patrick", "Rodrigo", "Sam"),
        then="Throughout the song, the dancers often trade partners.",
        swap="switch partners",
        end="At the end of the dance, {} is dancing with",
        brief=("switch partners",),
    ),
    Story(
        people="are on the same team in a soccer match. At the start of the match, they are each assigned to a "
        "position:",
        has="is playing",
        things=(
            "benchwarmer",
            "center midfielder",
            "cheerleader",
            "fullback",
            "goalkeeper",
            "left midfielder",
            "left winger",
            "right midfielder",
            "right winger",
            "striker",
        ),
        then="As the game progresses, pairs of players occasionally swap positions.",
        swap="trade positions",
        end="At the end of the match, {} is playing",
        brief=("trade positions",),
    ),
    Story(
        people="are holding a white elephant gift exchange. At the start of the event, they are each holding a present "
        "of a different color:",
        has="has a",
        things=tuple(f"{colour} present" for colour in COLOURS),
        then="As the event progresses, pairs of people swap gifts.",
        swap="swap their gifts",
        end="At the end of the event, {} has the",
        brief=("swap",),
    ),
    Story(
        people="are playing a game. At the start of the game, they are each holding a ball:",
        has="has a",
        things=tuple(f"{colour} ball" for colour in COLOURS),
        then="As the game progresses, pairs of players trade balls.",
        swap="swap balls",
        end="At the end of the game, {} has the",
        brief=("swap balls",),
    ),
)
_SWAP = re.compile(r"(?:First|Then|Finally), (\w+) and (\w+) (?:swap|switch|trade) [a-z ]+\.")
_HAS = re.compile(r"(\w+) (?:gets|is playing|is dancing with|has a) ([^,.]+)")


class Parsed(NamedTuple):
    """A parsed problem."""

    story: Story
    names: tuple[str, ...]
    things: tuple[str, ...]
    swaps: tuple[tuple[str, str], ...]
    asked: str
    end: str


class Style(NamedTuple):
    """The wording of the steps."""

    brief: str
    """The words for a swap."""
    short: int = 1
    """Books by their titles (0), by the word that matters (1), by no more than its beginning (2)."""
    letters: bool = False
    """People by their first letters."""
    names_swap: bool = True
    """Whether a line names the swap before its result."""
    start: bool = True
    """Whether the start has a line."""
    pair: bool = False
    """Only those who swapped are listed."""


def problem(like: str, rng: np.random.Generator) -> str:
    """A story of the same kind and size."""
    old = parsed(like)
    things = [str(thing) for thing in rng.choice(old.story.things, len(old.names), replace=False)]
    if old.story.swap == "swap their gifts":
        things = [thing.replace("present", "ball") if rng.random() < 0.25 else thing for thing in things]
    pairs = [tuple(str(n) for n in rng.choice(old.names, 2, replace=False)) for _ in old.swaps]
    swaps = [f"{first} and {second} {old.story.swap}." for first, second in pairs]
    order = ["First, ", *["Then, "] * (len(pairs) - 2), "Finally, "][-len(pairs) :]
    holds = [f"{name} {old.story.has} {thing}" for name, thing in zip(old.names, things, strict=True)]
    events = " ".join(word + swap for word, swap in zip(order, swaps, strict=True))
    options = "".join(f"\n({letter}) {thing}." for letter, thing in zip("ABCDEFG", things, strict=False))
    end = old.story.end.format(rng.choice(old.names))
    return f"{_all(old.names)} {old.story.people} {_all(holds)}.\n{old.story.then} {events} {end}\nOptions:{options}"


def parsed(problem: str) -> Parsed:
    """The parts of a problem. InputError: a problem of another task."""
    question, _, _ = problem.partition("\nOptions:")
    start, _, rest = question.partition("\n")
    story = next((story for story in STORIES if story.people in start), None)
    end = rest.rpartition(". ")[2]
    if story is None or not end.startswith("At the end"):
        raise InputError(f"expected a problem of tracking shuffled objects, got {problem[:60]!r}")
    holds = _HAS.findall(start.partition(story.people)[2])
    asked = next(word for word in end.split() if word in NAMES)
    names, things = zip(*holds, strict=True)
    return Parsed(story, names, things, tuple(_SWAP.findall(rest)), asked, end)


def drawn_style(problem: Parsed, rng: np.random.Generator) -> Style:
    """Games of ball have more styles than the other stories."""
    game = problem.story is STORIES[-1]
    letters, start = game and rng.random() < 0.35, not game or rng.random() < 0.75
    return Style(
        brief=str(rng.choice(problem.story.brief)),
        short=int(rng.choice(3, p=(0.4, 0.5, 0.1))),
        letters=letters,
        names_swap=not letters or rng.random() < 0.3,
        start=start or letters,
        pair=not start and not letters and rng.random() < 0.5,
    )


def write(problem: str, style: Style) -> tuple[str, ...]:
    """The correct steps in one style."""
    task, state = parsed(problem), _start(problem)
    states = _states(state, task.swaps)
    return (*_lines(task, (state, *states), style), _answer(task, states[-1][task.asked], style))


def written(problem: str, rng: np.random.Generator) -> Planted:
    """The correct steps."""
    return Planted(problem, write(problem, drawn_style(parsed(problem), rng)), None)


def flawed(problem: str, at: float, rng: np.random.Generator) -> Planted:
    """The steps with a mistake in the swap at the share `at` of the trace, or in the answer at its last step."""
    task, start = parsed(problem), _start(problem)
    style, states = drawn_style(task, rng), _states(start, task.swaps)
    swap = max(1, min(int(at * (len(states) + 2)), len(states) + 1))
    wrong = swap if style.start else swap - 1
    if swap == len(states) + 1:
        other = str(rng.choice([thing for thing in task.things if thing != states[-1][task.asked]]))
        return Planted(problem, (*_lines(task, (start, *states), style), _answer(task, other, style)), wrong, "answer")
    before, pair = [start, *states[: swap - 1]], task.swaps[swap - 1]
    for kind in drawn_order(WEIGHTS, rng):
        state = KINDS[kind](before[-1], pair, rng)
        if any(state[name] != states[swap - 1][name] for name in (pair if style.pair else task.names)):
            break
    rest = _states(state, task.swaps[swap:])
    lines = _lines(task, (*before, state, *rest), style)
    return Planted(problem, (*lines, _answer(task, [state, *rest][-1][task.asked], style)), wrong, kind)


def renamed(trace: LabelledSteps, rng: np.random.Generator) -> LabelledSteps:
    """The things of the story by other names, and the people where no step has their first letters alone."""
    task = parsed(trace.prompt)
    kinds = [thing.partition(" ")[0] if task.story.has == "has a" else thing for thing in task.story.things]
    titles = {old: str(new) for old, new in zip(kinds, rng.permutation(kinds), strict=True)}
    people = {name: name for name in task.names}
    if not any(re.match(r"[A-E]\b", step) for step in trace.steps):
        people = {old: str(new) for old, new in zip(task.names, rng.permutation(task.names), strict=True)}
    short = 0 if all(thing.partition(" ball")[0] in trace.steps[0] for thing in task.things) else 1
    states = {_short(old, level): _short(new, short) for old, new in titles.items() for level in (2, 1, 0)}
    steps = [*(_put(states | people, step) for step in trace.steps[:-1]), _put(titles | people, trace.steps[-1])]
    return replace(trace, prompt=_put(titles | people, trace.prompt), steps=tuple(steps))


def _put(mapping: Mapping[str, str], text: str) -> str:
    """All words of the mapping at once; the white elephant is no colour."""
    words = "|".join(re.escape(word) for word in sorted(mapping, key=len, reverse=True))
    return re.sub(rf"\b(?:{words})\b(?! elephant)", lambda match: mapping[match.group()], text)


State = dict[str, str]


def _start(problem: str) -> State:
    task = parsed(problem)
    return dict(zip(task.names, task.things, strict=True))


def _swapped(state: State, pair: tuple[str, str]) -> State:
    first, second = pair
    return {**state, first: state[second], second: state[first]}


def _states(state: State, swaps: Sequence[tuple[str, str]]) -> list[State]:
    """The state after every swap."""
    states = []
    for pair in swaps:
        state = _swapped(state, pair)
        states.append(state)
    return states


def _all(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])}, and {words[-1]}"


def short_forms(thing: str) -> tuple[str, ...]:
    """The names of a thing: in full, and in fewer words."""
    return tuple(dict.fromkeys(_short(thing, level) for level in (0, 1, 2)))


def _short(thing: str, short: int = 1) -> str:
    """A colour without what has it; the word that a book goes by."""
    words = thing.split()
    if words[-1] in ("ball", "present"):
        return words[0]
    if short == 0 or thing not in STORIES[0].things:
        return thing
    main = thing.removeprefix("The ").removeprefix("Great ").partition(" of ")[0]
    return main if short == 1 else re.split("[ -]", main)[0]


def _lines(task: Parsed, states: Sequence[State], style: Style) -> list[str]:
    swaps = [f"{a[0]} and {b[0]} swap" if style.letters else f"{a} and {b} {style.brief}" for a, b in task.swaps]
    listed = [task.names, *(pair if style.pair else task.names for pair in task.swaps)]
    lines = []
    for number, (names, state) in enumerate(zip(listed, states, strict=True)):
        text = _listed(names, state, style)
        words = swaps[number - 1] if number else "" if style.letters else "At the start"
        lines.append(f"{words}: {text}" if words and style.names_swap else text)
    return [line if style.letters else f"{line}." for line in lines[0 if style.start else 1 :]]


def _listed(names: Sequence[str], state: State, style: Style) -> str:
    people = ((name[0] if style.letters else name, _short(state[name], style.short)) for name in names)
    return ", ".join(f"{name}: {thing}" for name, thing in people)


def _answer(task: Parsed, thing: str, style: Style) -> str:
    answer = f"So the answer is ({'ABCDEFG'[task.things.index(thing)]})"
    return answer if style.letters else f"{task.end} {thing}. {answer}"


def _rotated(state: State, pair: tuple[str, str], rng: np.random.Generator) -> State:
    """Three things go round, two of them the pair's."""
    first, second = pair if rng.random() < 0.5 else pair[::-1]
    third = str(rng.choice([name for name in state if name not in pair]))
    return {**state, first: state[second], second: state[third], third: state[first]}


def _other_pair(state: State, pair: tuple[str, str], rng: np.random.Generator) -> State:
    """One of the pair swaps with somebody else."""
    kept = str(rng.choice(pair))
    return _swapped(state, (kept, str(rng.choice([name for name in state if name not in pair]))))


def _copied(state: State, pair: tuple[str, str], rng: np.random.Generator) -> State:
    """One thing is there twice."""
    after = _swapped(state, pair)
    lost = str(rng.choice(list(state)))
    return {**after, lost: str(rng.choice([after[name] for name in state if name != lost]))}


def _unmoved(state: State, pair: tuple[str, str], rng: np.random.Generator) -> State:
    return state


def _scrambled(state: State, pair: tuple[str, str], rng: np.random.Generator) -> State:
    return dict(zip(state, (str(thing) for thing in rng.permutation(list(state.values()))), strict=True))


def _further(state: State, pair: tuple[str, str], rng: np.random.Generator) -> State:
    """The swap, and one more."""
    after = _swapped(state, pair)
    return _other_pair(after, pair, rng)


KINDS: dict[str, Callable[[State, tuple[str, str], np.random.Generator], State]] = {
    "rotated": _rotated,
    "other pair": _other_pair,
    "copied": _copied,
    "unmoved": _unmoved,
    "scrambled": _scrambled,
    "further": _further,
}
"""Kind: the wrong state behind a swap."""
WEIGHTS = {"rotated": 38, "other pair": 18, "copied": 24, "unmoved": 8, "scrambled": 6, "further": 6}
"""How often, about as among first mistakes of the real traces."""
