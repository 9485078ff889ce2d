"""Exact rational arithmetic of the number games: reachable targets, and every solution.

Numbers are Python ints, or Fractions where they are not whole, so nothing is rounded. States without negative numbers
get no negative intermediate numbers: every solution with one can be rewritten without it. A state that has a negative
number, written by a policy, also gets the smaller number minus the larger.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

Number = int | Fraction
State = tuple[Number, ...]
"""Numbers still to be used, ascending."""


class Operation(NamedTuple):
    """`left symbol right = result`."""

    left: Number
    symbol: str
    right: Number
    result: Number


def combine(left: Number, symbol: str, right: Number) -> Number | None:
    """The exact result; None for a division by zero."""
    match symbol:
        case "+":
            return left + right
        case "-":
            return left - right
        case "*":
            return left * right
        case "/":
            return whole(Fraction(left) / Fraction(right)) if right else None
    raise ValueError(f"unknown operation {symbol!r}")


def whole(value: Fraction | int) -> Number:
    """The value, as an int if it is whole."""
    return int(value) if value == int(value) else Fraction(value)


def remove(state: State, left: Number, right: Number) -> State | None:
    """The state without one `left` and one `right`; None if it does not have both."""
    rest = list(state)
    for number in (left, right):
        if number not in rest:
            return None
        rest.remove(number)
    return tuple(rest)


def insert(state: State, number: Number) -> State:
    return tuple(sorted((*state, number)))


def operations(state: State) -> Iterator[tuple[Operation, State]]:
    """Every distinct operation on two numbers of the state, and its result state; the larger operand is first."""
    seen, signed = set(), min(state, default=0) < 0
    for i in range(len(state)):
        for j in range(i + 1, len(state)):
            small, large = state[i], state[j]
            if (small, large) in seen:
                continue
            seen.add((small, large))
            rest = state[:i] + state[i + 1 : j] + state[j + 1 :]
            for left, symbol, right in _ways(small, large, signed):
                result = combine(left, symbol, right)
                if result is not None:
                    result = whole(result)
                    yield Operation(left, symbol, right, result), insert(rest, result)


def _ways(small: Number, large: Number, signed: bool) -> Iterator[tuple[Number, str, Number]]:
    yield large, "+", small
    yield large, "-", small
    yield large, "*", small
    yield large, "/", small
    if small != large:
        yield small, "/", large
    if signed:
        yield small, "-", large


@lru_cache(maxsize=2_000_000)
def solvable(state: State, target: Number) -> bool:
    """Whether some sequence of operations turns the state into the target alone."""
    if len(state) == 1:
        return state[0] == target
    if len(state) == 2:
        return _pair_makes(state[0], state[1], target)
    return any(solvable(after, target) for _, after in operations(state))


def _pair_makes(small: Number, large: Number, target: Number) -> bool:
    return (
        small + large == target
        or large - small == target
        or small * large == target
        or large == small * target != 0
        or small == large * target != 0
        or (large != 0 and small == 0 == target)
    )


@lru_cache(maxsize=200_000)
def good_moves(state: State, target: Number) -> tuple[tuple[Operation, State], ...]:
    """The operations after which the target can still be reached."""
    return tuple((op, after) for op, after in operations(state) if solvable(after, target))


def solutions(state: State, target: Number) -> Iterator[tuple[Operation, ...]]:
    """Every solution, as a sequence of operations."""
    if len(state) == 1:
        if state[0] == target:
            yield ()
        return
    for operation, after in good_moves(state, target):
        for rest in solutions(after, target):
            yield (operation, *rest)


def format_number(number: Number) -> str:
    """`7`, or `8/3` if the number is not whole."""
    return str(number) if isinstance(number, int) else f"{number.numerator}/{number.denominator}"
