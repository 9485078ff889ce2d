"""Correct calculations like those of the solutions, with other numbers: training data for arithmetic."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from irl.domains.gsm8k.calculations import evaluate, other_number, replaced, same_numbers, written
from irl.domains.gsm8k.equations import Equation, equations


class Exercise(NamedTuple):
    """A demonstrated calculation with a correct result."""

    expression: str
    value: Fraction


def exercises(lines: Iterable[str]) -> list[Exercise]:
    """The correct calculations of annotated lines; rounded results are left out."""
    exercises = []
    for line in lines:
        for expression, result in equations(line):
            value = evaluate(expression)
            if value is not None and written(value) == result:
                exercises.append(Exercise(expression, value))
    return exercises


def drawn(pool: Sequence[Exercise], count: int, renumber: float, rng: np.random.Generator) -> list[Equation]:
    """`count` calculations of the pool, a share `renumber` of them with other numbers of their size.

    Whole results stay whole and no result becomes negative; other draws are repeated.
    """
    out: list[Equation] = []
    while len(out) < count:
        exercise = pool[int(rng.integers(len(pool)))]
        variant = _renumbered(exercise, rng) if rng.random() < renumber else _as_written(exercise)
        if variant is not None:
            out.append(variant)
    return out


def _as_written(exercise: Exercise) -> Equation | None:
    result = written(exercise.value)
    return None if result is None else Equation(exercise.expression, result)


def _renumbered(exercise: Exercise, rng: np.random.Generator) -> Equation | None:
    numbers = dict.fromkeys(same_numbers(exercise.expression))
    mapping = {number: other_number(number, rng) for number in numbers if rng.random() < 0.8}
    expression = replaced(exercise.expression, mapping)
    value = evaluate(expression)
    if value is None or (exercise.value.denominator == 1 and value.denominator != 1):
        return None
    result = written(value)
    return None if result is None else Equation(expression, result)
