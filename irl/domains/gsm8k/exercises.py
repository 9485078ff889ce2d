"""Correct calculations like those of the solutions, with other numbers: training data for arithmetic."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import NamedTuple

import numpy as np
from tokenizers import Tokenizer

from irl.domains.gsm8k.calculations import evaluate, other_number, replaced, same_numbers, written
from irl.domains.gsm8k.equations import Equation, equation_windows, equations
from irl.text.readings import Draw, Reading, RightTraces
from irl.text.tokenize import END, number_tokenizer
from irl.text.windows import StepWindow
from irl.types import InputError
from reward_models.ranges import Rows, Share
from reward_models.records import record


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


@record
class Calculations(Reading):
    """Written calculations, each in both orders of its digits; right ones of demonstrations are learned from."""

    epoch: Rows = 40_000
    """Calculations of an epoch; every epoch has others."""
    renumber: Share = 0.85
    """Share of the calculations that are carried over to other numbers."""

    name = "equations"
    scores = "calculations"
    judged = (*"0123456789.", END)
    longest = 96
    lack = "write no calculation"
    wanted = "writes a calculation, such as 48/2 = 24 or <<48/2=24>>"

    def tokenizer(self) -> Tokenizer:
        return number_tokenizer()

    def read(self, prompt: str, steps: Sequence[str], *, ended: bool = True) -> list[tuple[StepWindow, ...]]:
        return [tuple(window for each in equations(step) for window in equation_windows(each)) for step in steps]

    def draw(self, traces: RightTraces, seed: int) -> Draw:
        """Raises InputError where no demonstration has a right calculation."""
        pool = exercises(step for trace in traces.demonstrations(seed) for step in trace.steps)
        if not pool:
            raise InputError("calculations: no right <<calculation>> in the demonstrations; remove this judge")

        def windows(seed: int, epoch: int) -> list[StepWindow]:
            rng = np.random.default_rng([seed, 7, epoch])
            made = drawn(pool, self.epoch, self.renumber, rng)
            backwards = rng.random(len(made)) < 0.5
            return [equation_windows(each)[int(back)] for each, back in zip(made, backwards, strict=True)]

        return windows
