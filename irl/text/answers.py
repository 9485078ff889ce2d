r"""The final answer of a text, by the marks that people use: `\boxed{}`, `####`, "the answer is", the last number.

Answers are compared in a normal form: numbers by value and without their unit, other text without case, spaces and
final punctuation. The normal form knows nothing of algebra: x + 1 and 1 + x are two answers (irl/text/math_answers.py).
"""

import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache

from irl.types import InputError

FindAnswer = Callable[[str], str | None]

_NUMBER = r"-?(?:\d[\d,]*(?:\.\d+)?|\.\d+)"
_STATED = re.compile(r"\banswer\s*(?:is|:|=)+\s*:?\s*(.+)", re.IGNORECASE)
_LAST_NUMBER = re.compile(rf"{_NUMBER}(?:\s*/\s*{_NUMBER})?")
_FRACTION = re.compile(r"\\[dt]?frac\s*(?:\{([^{}]+)\}|(\d))\s*(?:\{([^{}]+)\}|(\d))")
_WORDS = re.compile(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[!,;: ]|\\(?:left|right)\b|~|\^\\circ|\^\{\\circ\}|\\(?=[$%])")
_NAMED_VALUE = re.compile(r"[A-Za-z]\s*=\s*(?=[^=]+$)")
_UNIT = re.compile(
    rf"({_NUMBER}(?:\s*/\s*{_NUMBER})?)\s*(?!(?:and|or|to|of)\b)[A-Za-z]{{2,}}\.?(?:[ /][A-Za-z]+\.?){{0,2}}"
)
"""A number with one to three words: 5 cm, 18 dollars, 60 miles per hour."""


def boxed(text: str) -> str | None:
    r"""The content of the last `\boxed{...}`, with nested braces."""
    start = text.rfind("\\boxed{")
    if start < 0:
        return None
    depth, first = 0, start + len("\\boxed{")
    for index in range(first, len(text)):
        if text[index] == "{":
            depth += 1
        elif text[index] == "}":
            if depth == 0:
                return text[first:index]
            depth -= 1
    return None


def after_hashes(text: str) -> str | None:
    """The rest of the line after the last `####`."""
    _, mark, rest = text.rpartition("####")
    return rest.strip().split("\n")[0] if mark and rest.strip() else None


def stated(text: str) -> str | None:
    """What follows the last "the answer is" or "Answer:", to the end of its line."""
    answers = _STATED.findall(text)
    return answers[-1].strip() if answers else None


def last_number(text: str) -> str | None:
    """The last number of the text, or a quotient of two."""
    numbers = _LAST_NUMBER.findall(text)
    return numbers[-1] if numbers else None


def marked(text: str) -> str | None:
    r"""The answer in `\boxed{}`, else after `####`, else after "the answer is"."""
    return next((answer for rule in (boxed, after_hashes, stated) if (answer := rule(text)) is not None), None)


def no_answer(text: str) -> str | None:
    """No text has an answer."""
    return None


NAMED: dict[str, FindAnswer] = {
    "marked": marked,
    "boxed": boxed,
    "hashes": after_hashes,
    "stated": stated,
    "last number": last_number,
    "none": no_answer,
}


@lru_cache(maxsize=32)
def answer_rule(rule: str) -> FindAnswer:
    """The function from a text to its final answer in normal form, None where the text has none.

    Args:
        rule: A name of `NAMED`, or a regular expression whose last match is the answer: its first group, or all of it.

    Raises:
        InputError: The expression is malformed.
    """
    if rule in NAMED:
        named = NAMED[rule]
        return lambda text: _normal_or_none(named(text))
    try:
        pattern = re.compile(rule)
    except re.error as error:
        names = ", ".join(map(repr, NAMED))
        raise InputError(f"answer: {rule!r} is not a regular expression ({error}); expected one or {names}") from None

    def find(text: str) -> str | None:
        matches = list(pattern.finditer(text))
        return _normal_or_none(matches[-1][1 if pattern.groups else 0]) if matches else None

    return find


def _normal_or_none(answer: str | None) -> str | None:
    return normal_form(answer) or None if answer is not None else None


def normal_form(answer: str) -> str:
    """The form in which answers are compared: equal numbers have equal forms.

    Examples: `$1,200.50.` and `1200.5`; `\\frac{1}{2}`, `\\frac12`, `1/2` and `0.5`; `5 cm` and `5`; `x = 3` and `3`;
    `The Dog.` and `the dog`.
    """
    text = _SPACING.sub("", _WORDS.sub(r" \1", answer.strip().strip("$*` \t")))
    text = _FRACTION.sub(r"(\1\2)/(\3\4)", text).replace("$", "").rstrip(".!;, ").strip()
    named = _NAMED_VALUE.match(text)
    text = text[named.end() :] if named else text
    with_unit = _UNIT.fullmatch(text)
    text = with_unit[1] if with_unit else text
    number = _value(text.replace(",", "").replace("(", "").replace(")", "").replace(" ", "").rstrip("%"))
    return number if number is not None else " ".join(text.lower().split())


def _value(text: str) -> str | None:
    """An exact number as text; None for what is no number."""
    if not re.fullmatch(r"[-+]?[\d.]+(?:/[-+]?[\d.]+)?", text) or len(text) > 100:
        return None
    try:
        numerator, _, denominator = text.partition("/")
        return str(Fraction(Decimal(numerator)) / Fraction(Decimal(denominator or "1")))
    except (ArithmeticError, ValueError):
        return None
