r"""The calculations of a text, each in a window of its own, as a Markov reward reads them.

The correctness of 48/2 = 24 depends on nothing before it. Each calculation is read twice: `48/2=` is followed by the
result as written, `=48/2` by its digits in reverse order. Carries propagate from the last digit, and the first digit
shows the magnitude (Lee et al. 2023, arXiv 2307.03381, on the order of digits); a result must be likely in both orders.

Annotations <<48/2=24>> are taken where a text has them. Elsewhere a calculation is found around an equals
sign: "5 x $2.50 = $12.5", "120 + 80 = 200"; units, thousands' commas and other signs for times and division are
brought to one form. Nothing is evaluated here.
"""

import re
from collections.abc import Iterator
from typing import NamedTuple

from irl.data.gsm8k import calculations
from irl.text.windows import StepWindow

_NUMBER = r"(?>\$?\s?\d[\d,]*+(?:\.\d++)?|\$?\s?\.\d++)"
_SIGN = r"\s*+[-+*/x×÷·−–]\s*+"
_TERM = rf"\({{0,9}}+\s*+{_NUMBER}\s*+\)*+"
_CHAIN = re.compile(rf"(?<![\w.%,])(?!\s){_TERM}(?:{_SIGN}{_TERM})++")
_RESULT = re.compile(rf"\s*+=\s*+({_NUMBER})(?!\w|\s*[-+*/%×÷·−–(])")
_OPEN = "-+*/x×÷·−–%^"
_SIGNS = str.maketrans({"x": "*", "×": "*", "·": "*", "÷": "/", "−": "-", "–": "-", "$": "", ",": "", " ": ""})
_PLAIN = re.compile(r"[\d.+*/()-]+")


class Equation(NamedTuple):
    """expression = result, without spaces, units and commas."""

    expression: str
    result: str


def equations(text: str) -> list[Equation]:
    """The calculations of a text, in order: its annotations, or the equations of a text without any."""
    annotated = calculations(text)
    if annotated:
        pairs = [(calc.expression, calc.result) for calc in annotated]
    else:
        pairs = list(_written(text))
    plain = (Equation(_plain(expression), _plain(result)) for expression, result in pairs)
    return [each for each in plain if _readable(each)]


def _written(text: str) -> Iterator[tuple[str, str]]:
    """Chains of terms and operators before an equals sign and a number, in time linear in the text."""
    for chain in _CHAIN.finditer(text):
        result = _RESULT.match(text, chain.end())
        if result and text[: chain.start()].rstrip()[-1:] not in (*_OPEN,):
            yield chain[0], result[1]


def equation_windows(equation: Equation) -> tuple[StepWindow, StepWindow]:
    """The two readings of a calculation."""
    expression, result = equation
    return (
        StepWindow(f"{expression}=", (), result, closes=True),
        StepWindow(f"={expression}", (), result[::-1], closes=True),
    )


def _plain(text: str) -> str:
    return "".join(text.translate(_SIGNS).split())


def _readable(equation: Equation) -> bool:
    expression, result = equation
    balanced = expression.count("(") == expression.count(")")
    return bool(_PLAIN.fullmatch(expression) and re.fullmatch(r"\d*\.?\d+", result) and balanced)
