"""Game of 24 and Countdown: combine every number once with + - * / to reach a target.

Traces have the format of the Tree-of-Thoughts prompts (Yao et al. 2023, arXiv 2305.10601), so that the same code reads
samples of language models:

    10 - 4 = 6 (left: 5 6 6)
    6 * 5 = 30 (left: 6 30)
    30 - 6 = 24 (left: 24)
    Answer: (10 - 4) * 5 - 6 = 24

A prompt is the numbers (`4 5 6 10`, target 24) or the numbers and a target (`4 5 6 10 (target: 31)`).
No training split has a hand of the published test (ranked 901 to 1000 by human difficulty), with any target.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Annotated

import numpy as np
from annotated_types import Ge, Le

from irl.canonical import canonical_text
from irl.domains.countdown.solver import (
    Number,
    Operation,
    State,
    format_number,
    good_moves,
    insert,
    operations,
    remove,
    solvable,
)
from irl.domains.countdown.verifier import canonical_answer, verify_text
from irl.text.windows import States, Windows
from irl.types import InputError, Problem, Step, Trace, Verdict
from reward_models.ranges import Seed
from reward_models.records import record

# Ranks 901 to 1000 of the public list of the 1,362 solvable hands; one character a number, A to D are 10 to 13.
_TEST_HANDS = """
456A 1247 258B 344D 6789 1BBD 18AB 2369 1359 337C 4579 128D 4669 1448 15AB 346B 2489 145D 227C 3367
159D 567D 558A 246C 678B 799D 369C 69CD 479D 568C 2467 25AA 667C 699B 58BC 568A 6BCD 2288 27CD 268C
349D 45AC 127B 4568 6ACD 1399 144B 239A 123D 1666 1229 136B 5ACD 2366 67AC 788C 3468 179B 236D 225C
268D 88AC 138D 447A 17AD 19AD 334B 2577 39AD 2347 448C 126A 15CC 5668 778B 137A 339C 357A 4ACD 23AC
3466 5888 688C 2349 267B 59CC 127C 2456 558D 233A 348C 246B 2289 1567 58AB 449C 2566 249C 48BD 49AD
"""
TEST_HANDS: tuple[State, ...] = tuple(tuple(int(c, 14) for c in hand) for hand in _TEST_HANDS.split())
TARGET = 24
_LEFT = re.compile(r"left:?\s*([^()]+)")
_HAND = re.compile(r"\W*(\d+(?:[\s,;|]+\d+)*)(?:\W*target\W*\d+)?\W*")
"""A prompt in canonical text, with any separators and brackets."""
_PROMPT = re.compile(r"^\s*(\d{1,9}(?:\s+\d{1,9})*)\s*(?:\(target:\s*(\d{1,9})\))?\s*$")


@lru_cache(maxsize=1)
def solvable_hands() -> tuple[State, ...]:
    """The 1,362 hands of four numbers from 1 to 13 that make 24, ascending."""
    hands = itertools.combinations_with_replacement(range(1, 14), 4)
    return tuple(hand for hand in hands if solvable(hand, TARGET))


def parse_prompt(prompt: str) -> tuple[State, int]:
    """The numbers (ascending) and the target of a prompt; InputError on anything else."""
    match = _PROMPT.match(prompt)
    if not match:
        raise InputError(f"prompt {prompt[:80]!r}: expected numbers such as '4 5 6 10' or '4 5 6 10 (target: 31)'")
    return tuple(sorted(int(n) for n in match[1].split())), int(match[2] or TARGET)


def render_prompt(numbers: Sequence[Number], target: Number = TARGET) -> str:
    hand = " ".join(format_number(n) for n in numbers)
    return hand if target == TARGET else f"{hand} (target: {format_number(target)})"


def problem_of(hand: State, target: Number = TARGET) -> Problem:
    prompt = render_prompt(hand, target)
    return Problem(id=prompt, prompt=prompt)


@record
class Countdown:
    """Environment of the Game of 24. `train` is every solvable hand outside the published test of 100."""

    held_out: Annotated[int, Ge(0), Le(1261)] = 0
    """This many training hands are kept aside as the split `validation` (drawn by `seed`)."""
    seed: Seed = 0

    def verifies(self) -> bool:
        return True

    def problems(self, split: str) -> tuple[Problem, ...]:
        match split:
            case "test":
                return tuple(problem_of(hand) for hand in TEST_HANDS)
            case "train" | "validation":
                hands = [hand for hand in solvable_hands() if hand not in set(TEST_HANDS)]
                order = np.random.default_rng(self.seed).permutation(len(hands))
                kept = order[self.held_out :] if split == "train" else order[: self.held_out]
                return tuple(problem_of(hands[i]) for i in sorted(kept))
        raise InputError(f"Countdown.problems: expected split train, validation or test, got {split!r}")

    def canonical(self, prompt: str) -> str:
        """The numbers in ascending order: a hand of the test with another order or target is the same hand."""
        text = canonical_text(prompt)
        if (hand := _HAND.fullmatch(text)) is None:
            return text
        numbers = (number.lstrip("0") or "0" for number in re.findall(r"\d+", hand[1]))
        return " ".join(sorted(numbers, key=lambda number: (len(number), number)))

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        """A random walk over the operations that keep the target in reach, written in a random style."""
        state, target = parse_prompt(problem.prompt)
        moves = []
        while len(state) > 1:
            choices = good_moves(state, target)
            if not choices:
                raise InputError(f"problem {problem.id!r}: {problem.prompt!r} has no solution")
            operation, state = choices[rng.integers(len(choices))]
            moves.append(operation)
        return render_trace(problem, moves, rng)

    def free_play(self, rng: np.random.Generator, *, size: int = 4, largest: int = 200) -> Trace:
        """A demonstration for another target: random operations on a random hand, whose result is the target.

        A hand of fewer than four numbers is a possible state of a longer game: one number is up to 169.
        Targets are whole, from 1 to `largest`; the hands of the published test are never drawn.
        """
        while True:
            numbers = [int(n) for n in rng.integers(1, 14, size=size)]
            if size < 4:
                numbers[0] = int(rng.integers(1, rng.integers(14, 170)))
            hand = tuple(sorted(numbers))
            moves, state = _random_moves(hand, largest, rng)
            target = state[0]
            if hand not in _TEST_SET and len(state) == 1 and isinstance(target, int) and 1 <= target <= largest:
                return render_trace(problem_of(hand, target), moves, rng)

    def split_steps(self, text: str) -> tuple[str, ...]:
        lines = (line.strip() for line in text.replace("\r", "\n").split("\n"))
        return tuple(line for line in lines if line and not _is_header(line))

    @property
    def windows(self) -> Windows:
        return NumbersLeft()

    def answer_key(self, problem: Problem, text: str) -> str | None:
        return canonical_answer(self.split_steps(text))

    def verify(self, problem: Problem, text: str) -> Verdict:
        numbers, target = parse_prompt(problem.prompt)
        return verify_text(numbers, target, self.split_steps(text))


class NumbersLeft(States):
    """The numbers left by the step before. An answer has no state: it must agree with all steps and with the target."""

    def state_before(self, prompt: str, steps: Sequence[str], index: int) -> str | None:
        if steps[index].lower().startswith("answer"):
            return None
        if index == 0:
            return self.without_goal(prompt)
        left = _LEFT.search(steps[index - 1])
        return left[1].strip() if left else steps[index - 1]

    def without_goal(self, prompt: str) -> str:
        return render_prompt(parse_prompt(prompt)[0])

    def goal_claim(self, prompt: str, steps: Sequence[str], index: int) -> tuple[str, str] | None:
        """The target, and the value that an answer claims."""
        _, equals, value = steps[index].rpartition("=")
        return f" (target: {parse_prompt(prompt)[1]})", f" = {value.strip()}" if equals else steps[index]


_TEST_SET = frozenset(TEST_HANDS)


def _random_moves(hand: State, largest: int, rng: np.random.Generator) -> tuple[list[Operation], State]:
    """Random operations until one number is left, or a number is negative, large or has an odd denominator."""
    moves: list[Operation] = []
    state = hand
    while len(state) > 1:
        choices = list(operations(state))
        operation, state = choices[rng.integers(len(choices))]
        moves.append(operation)
        if not 0 <= operation.result <= largest or operation.result.denominator > 13:
            break
    return moves, state


def _is_header(line: str) -> bool:
    return line.lower().rstrip(":") in ("steps", "step")


def render_trace(problem: Problem, moves: Sequence[Operation], rng: np.random.Generator) -> Trace:
    """Write moves as text. The style (operand order, parentheses) is drawn once or per step from `rng`."""
    state, target = parse_prompt(problem.prompt)
    spare_parentheses = bool(rng.integers(2))
    terms: list[tuple[Number, str, str]] = [(n, format_number(n), "") for n in state]
    lines = []
    for move in moves:
        left, symbol, right, result = _ordered(move, rng)
        after = remove(state, left, right)
        assert after is not None, f"illegal move {move} in {state}"
        state = insert(after, result)
        lines.append(
            f"{format_number(left)} {symbol} {format_number(right)} = {format_number(result)}"
            f" (left: {' '.join(map(format_number, state))})"
        )
        first, second = _take(terms, left), _take(terms, right)
        terms.append((result, _join(first, symbol, second, spare_parentheses), symbol))
    lines.append(f"Answer: {terms[0][1]} = {format_number(target)}")
    steps = tuple(Step(text=line) for line in lines)
    return Trace(problem_id=problem.id, prompt=problem.prompt, steps=steps)


def _ordered(move: Operation, rng: np.random.Generator) -> Operation:
    if move.symbol in "+*" and rng.integers(2):
        return Operation(move.right, move.symbol, move.left, move.result)
    return move


def _take(terms: list[tuple[Number, str, str]], number: Number) -> tuple[str, str]:
    """The newest expression of value `number`: (text, its last operation)."""
    index = max(i for i, entry in enumerate(terms) if entry[0] == number)
    _, text, symbol = terms.pop(index)
    return text, symbol


def _join(left: tuple[str, str], symbol: str, right: tuple[str, str], spare: bool) -> str:
    return f"{_wrap(left, symbol, False, spare)} {symbol} {_wrap(right, symbol, True, spare)}"


def _wrap(part: tuple[str, str], outer: str, is_right: bool, spare: bool) -> str:
    text, inner = part
    if not inner:
        return text
    needed = (inner in "+-" and outer in "*/") or (is_right and outer in "-/" and (inner in "+-") == (outer in "+-"))
    return f"({text})" if needed or not spare else text


def demonstrations(environment: Countdown, problems: Sequence[Problem], count: int, seed: int) -> Iterator[Trace]:
    """`count` expert traces, going round the problems in a fresh order each time."""
    rng = np.random.default_rng(seed)
    while count > 0:
        for index in rng.permutation(len(problems))[:count]:
            yield environment.expert(problems[index], rng)
            count -= 1
