r"""Solutions whose lines have annotated calculations, <<48/2=24>>: parsed, recalculated, and with planted errors.

GSM8K's human solutions have this form (arXiv 2110.14168). Because every calculation is annotated, a solution can be
rewritten with other numbers (`renumbered`), and an error can be planted in one step and propagated through the steps
that use it (`with_error`): the step of the error is wrong, the steps before it are correct, and the steps after it are
not labelled. Only demonstrations are used: no answer of a model, no verifier.

Kinds of error, in the result r of a calculation (`KINDS`):

    slip         r off by 1 to 9                      digit       another digit in one place
    transposed   two neighbouring digits swapped      magnitude   ten times or a tenth
    carry        off by one in a place but the last   operation   as if by another of + - * /
    operand      one number of the expression is another of the problem's: the arithmetic stays right
"""

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from irl.data.gsm8k import Calculation, calculations

NUMBER = re.compile(r"(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?|(?<![\w.])\.\d+")
_ANNOTATION = re.compile(r"<<[^<>]*>>")
_OPERATIONS: dict[type, Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
_SIGN = re.compile(r"(?<=[\w.)])[-+*/]")
_SPACES, _UNITS = ("", " ", " "), ("", "", "$")
_LARGEST = 10**9
_PLACES = 4
"""Decimals that a result may have; others are not written in this text."""


Kind = Literal["slip", "digit", "transposed", "magnitude", "carry", "operation", "operand"]
"""Kind of a planted error."""


@dataclass(frozen=True)
class Solution:
    """A question and the lines of its solution, calculations included."""

    question: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Flawed:
    """A solution with an error planted in line `wrong`."""

    solution: Solution
    wrong: int
    kind: str


@dataclass(frozen=True)
class Drilled:
    """A single calculation as text, and whether it is correct."""

    text: str
    right: bool


def evaluate(expression: str) -> Fraction | None:
    """The value of an expression in + - * / and brackets; None if it is invalid or divides by zero."""
    try:
        return _value(ast.parse(expression.replace(",", "").strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError, MemoryError):
        return None


def _value(node: ast.expr) -> Fraction:
    match node:
        case ast.Constant(value=int() | float() as number) if abs(number) < _LARGEST:
            return Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return -_value(inner)
        case ast.BinOp(op=op, left=left, right=right) if type(op) in _OPERATIONS:
            return _OPERATIONS[type(op)](_value(left), _value(right))
    raise ValueError("not arithmetic")


def written(value: Fraction) -> str | None:
    """A number in the format of the solutions, without trailing zeros; None if it has too many decimals."""
    scaled = value * 10**_PLACES
    if scaled.denominator != 1 or value < 0 or value >= _LARGEST:
        return None
    text = f"{int(value)}.{int(scaled) % 10**_PLACES:0{_PLACES}d}"
    return text.rstrip("0").rstrip(".")


def same_numbers(text: str) -> list[str]:
    """The numbers of a text, without the commas between thousands."""
    return [number.replace(",", "") for number in NUMBER.findall(text)]


def recalculated(lines: Sequence[str], changed: Mapping[str, str]) -> tuple[str, ...] | None:
    """The lines with every number of `changed` replaced and all affected calculations redone.

    None if a result cannot be written. A changed result is also replaced in the lines after it.
    """
    mapping, out = dict(changed), []
    for line in lines:
        done = _recalculated_line(line, mapping)
        if done is None:
            return None
        out.append(done)
    return tuple(out)


def _recalculated_line(line: str, mapping: dict[str, str]) -> str | None:
    """One line; its changed results, which may also precede their calculation, are added to `mapping`."""
    words, calcs = _ANNOTATION.split(line), calculations(line)
    if len(words) != len(calcs) + 1:
        return None
    out = []
    for text, old in zip(words, calcs, strict=False):
        own = set(same_numbers(old.expression))
        operands = {number: new for number, new in mapping.items() if number in own}
        expression = replaced(old.expression, mapping)
        result = _result_again(old, expression)
        if result is None:
            return None
        name = old.result.replace(",", "")
        if result != old.result:
            mapping[name] = result
        else:
            mapping.pop(name, None)  # from here on this number is this result, not another that has changed
        others = {number: new for number, new in mapping.items() if number not in own}
        out.append(f"{replaced(text, operands | others)}<<{expression}={result}>>")
    return "".join((*out, replaced(words[-1], mapping)))


def _result_again(old: Calculation, expression: str) -> str | None:
    """The result of an expression; the old text if the value is the same."""
    before, value = evaluate(old.expression), evaluate(expression)
    if before == value:
        return old.result
    return None if value is None else written(value)


def replaced(text: str, mapping: Mapping[str, str]) -> str:
    """The text with the numbers of the mapping replaced."""
    return NUMBER.sub(lambda match: mapping.get(match.group().replace(",", ""), match.group()), text)


def renumbered(solution: Solution, rng: np.random.Generator, tries: int = 8) -> Solution:
    """The solution for other numbers of the question; the same solution if all tries fail.

    A number is changed if it occurs in the question and in a calculation. Whole numbers and whole results stay whole,
    and no result becomes negative.
    """
    used = {
        number for line in solution.lines for calc in calculations(line) for number in same_numbers(calc.expression)
    }
    free = sorted(set(same_numbers(solution.question)) & used)
    for _ in range(tries):
        mapping = {number: other_number(number, rng) for number in free if rng.random() < 0.8}
        if len(set(mapping.values()) | (set(free) - set(mapping))) < len(free):
            continue  # two numbers became one: their later uses could not be distinguished
        lines = recalculated(solution.lines, mapping)
        if lines is not None and _as_whole(solution.lines, lines):
            return Solution(replaced(solution.question, mapping), lines)
    return solution


def other_number(number: str, rng: np.random.Generator) -> str:
    """Another number of about the same size and the same trailing zeros."""
    if "." in number:
        whole, decimals = number.split(".")
        return f"{rng.integers(0, 2 * int(whole or 0) + 2)}.{decimals}"
    value, unit = int(number), 1
    while value and value % (unit * 10) == 0:
        unit *= 10
    return str(unit * int(rng.integers(1, 2 * (value // unit) + 4)))


def _as_whole(before: Sequence[str], after: Sequence[str]) -> bool:
    """Whether all whole results are still whole."""
    pairs = zip(_results(before), _results(after), strict=True)
    return all("." in old or "." not in new for old, new in pairs)


def _results(lines: Sequence[str]) -> list[str]:
    return [calc.result for line in lines for calc in calculations(line)]


def with_error(solution: Solution, kinds: Sequence[Kind], rng: np.random.Generator) -> Flawed | None:
    """The solution with one error of a random kind in a random calculation; None if none can be planted."""
    places = [(i, calc) for i, line in enumerate(solution.lines) for calc in calculations(line)]
    options = [(place, kind) for place in places for kind in kinds]
    for index in rng.permutation(len(options)).tolist():
        (number, calc), kind = options[index]
        line = _planted(solution, number, calc, kind, rng)
        if line is None:
            continue
        rest = _carried_on(line, solution.lines, number)
        if rest is not None:
            return Flawed(Solution(solution.question, (*solution.lines[:number], *rest)), number, kind)
    return None


def drill(
    solutions: Sequence[Solution], kinds: Sequence[Kind], flawed: float, rng: np.random.Generator
) -> list[Drilled]:
    """Every single calculation of the solutions in a random format; a share `flawed` of them is wrong."""
    drilled = []
    for solution in solutions:
        for line in solution.lines:
            for calc in calculations(line):
                drilled.append(_drilled(calc, kinds, flawed, rng))
    return [each for each in drilled if each is not None]


def _drilled(calc: Calculation, kinds: Sequence[Kind], flawed: float, rng: np.random.Generator) -> Drilled | None:
    old, true = calc.result.replace(",", ""), evaluate(calc.expression)
    if true is None or written(true) != old:
        return None
    wrong = KINDS[kinds[int(rng.integers(len(kinds)))]](old, calc.expression, rng) if rng.random() < flawed else None
    wrong = None if wrong is None or Fraction(wrong) == true else wrong
    space, unit = _SPACES[int(rng.integers(len(_SPACES)))], _UNITS[int(rng.integers(len(_UNITS)))]
    expression = _SIGN.sub(lambda sign: f"{space}{sign.group()}{space}", calc.expression.replace(" ", ""))
    return Drilled(f"{expression}{space or ' '}= {unit}{wrong or old}", wrong is None)


def _planted(
    solution: Solution, number: int, calc: Calculation, kind: Kind, rng: np.random.Generator
) -> tuple[str, str, str] | None:
    """(line, old result, new result) with the error, None if the calculation does not admit it."""
    line, old = solution.lines[number], calc.result.replace(",", "")
    true = evaluate(calc.expression)
    if true is None or written(true) != old or line.count(f"<<{calc.expression}={calc.result}>>") != 1:
        return None
    head, _, tail = line.partition(f"<<{calc.expression}={calc.result}>>")
    if kind == "operand":
        return _other_operand(solution, head, calc, tail, rng)
    new = KINDS[kind](old, calc.expression, rng)
    if new is None or new == old or Fraction(new) == true:
        return None
    return f"{head}<<{calc.expression}={new}>>{replaced(tail, {old: new})}", old, new


def _carried_on(planted: tuple[str, str, str], lines: Sequence[str], number: int) -> tuple[str, ...] | None:
    line, old, new = planted
    rest = recalculated(lines[number + 1 :], {old: new})
    return (line, *(lines[number + 1 :] if rest is None else rest))


def _other_operand(
    solution: Solution, head: str, calc: Calculation, tail: str, rng: np.random.Generator
) -> tuple[str, str, str] | None:
    """One number of the expression replaced by another number of the question, also in the words before it."""
    own = same_numbers(calc.expression)
    others = sorted(set(same_numbers(solution.question)) - set(own))
    visible = [number for number in dict.fromkeys(own) if number in same_numbers(head)]
    if not others or not visible:
        return None
    change = {visible[rng.integers(len(visible))]: others[rng.integers(len(others))]}
    expression, old = replaced(calc.expression, change), calc.result.replace(",", "")
    value = evaluate(expression)
    new = None if value is None else written(value)
    if new is None or new == old:
        return None
    return f"{replaced(head, change)}<<{expression}={new}>>{replaced(tail, {old: new})}", old, new


def _slip(old: str, expression: str, rng: np.random.Generator) -> str | None:
    unit = Fraction(1, 10 ** len(old.partition(".")[2]))
    return written(Fraction(old) + unit * int(rng.choice([-1, 1])) * int(rng.integers(1, 10)))


def _digit(old: str, expression: str, rng: np.random.Generator) -> str:
    places = [i for i, c in enumerate(old) if c.isdigit()]
    at = places[rng.integers(len(places))]
    others = [c for c in "0123456789" if c != old[at] and not (c == "0" and at == 0 and len(old) > 1)]
    return old[:at] + others[rng.integers(len(others))] + old[at + 1 :]


def _transposed(old: str, expression: str, rng: np.random.Generator) -> str | None:
    places = [i for i in range(len(old) - 1) if old[i : i + 2].isdigit() and old[i] != old[i + 1]]
    places = [i for i in places if not (i == 0 and old[1] == "0")]
    if not places:
        return None
    at = places[rng.integers(len(places))]
    return old[:at] + old[at + 1] + old[at] + old[at + 2 :]


def _magnitude(old: str, expression: str, rng: np.random.Generator) -> str | None:
    return written(Fraction(old) * (10 if rng.random() < 0.5 else Fraction(1, 10)))


def _carry(old: str, expression: str, rng: np.random.Generator) -> str | None:
    whole = len(old.partition(".")[0])
    if whole < 2:
        return None
    return written(Fraction(old) + int(rng.choice([-1, 1])) * 10 ** int(rng.integers(1, whole)))


def _operation(old: str, expression: str, rng: np.random.Generator) -> str | None:
    signs = [i for i, c in enumerate(expression) if c in "+-*/" and i > 0]
    if not signs:
        return None
    at = signs[rng.integers(len(signs))]
    others = [c for c in "+-*/" if c != expression[at]]
    value = evaluate(expression[:at] + others[rng.integers(len(others))] + expression[at + 1 :])
    return None if value is None else written(value)


def _no_result(old: str, expression: str, rng: np.random.Generator) -> str | None:
    return None


KINDS: dict[Kind, Callable[[str, str, np.random.Generator], str | None]] = {
    "slip": _slip,
    "digit": _digit,
    "transposed": _transposed,
    "magnitude": _magnitude,
    "carry": _carry,
    "operation": _operation,
    "operand": _no_result,
}
"""Kind: the wrong result in place of a right one, or None; `operand` changes the expression instead."""
