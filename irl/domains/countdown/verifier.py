"""Exact verdicts on Countdown traces, from our policies or from any language model.

No text raises an error: an unreadable text is malformed, with a reason.
"""

import re
from collections.abc import Sequence
from fractions import Fraction

from irl.domains.countdown.solver import Number, combine, remove, solvable, whole
from irl.types import StepVerdict, Verdict

_NUMBER = r"-?\d+(?:\.\d+|/\d+)?"
_STEP = re.compile(rf"^\(?({_NUMBER})\)?\s*([-+*/×÷x])\s*\(?({_NUMBER})\)?\s*=\s*({_NUMBER})\s*\(left:?\s*([^()]*)\)?")
_TOKEN = re.compile(r"\s*(?:(\d+(?:\.\d+)?)|(.))")
_SYMBOLS = {"×": "*", "x": "*", "÷": "/"}
MAX_EXPRESSION = 400
"""Characters; longer answers are malformed."""
MAX_NUMBER = 100
"""Characters; longer numbers are malformed."""
MAX_PARENTHESES = 100
"""More in one answer are malformed (guards the recursion of the parser)."""


class _Unreadable(Exception):
    pass


def parse_number(text: str) -> Number | None:
    """`7`, `-7`, `1.5`, `8/3` exactly; None for anything else."""
    text = text.strip("() ")
    if len(text) > MAX_NUMBER or not re.fullmatch(_NUMBER, text):  # Fraction also reads 1e9999999, without end
        return None
    try:
        return whole(Fraction(text))
    except (ValueError, ZeroDivisionError):
        return None


def parse_expression(text: str) -> tuple[Number, tuple[Number, ...], tuple | Number]:
    """(value, numbers used, syntax tree) of `(10 - 4) * 5 - 6`; raises on anything else."""
    if len(text) > MAX_EXPRESSION:
        raise _Unreadable(f"expression of {len(text)} characters")
    if text.count("(") > MAX_PARENTHESES:
        raise _Unreadable(f"{text.count('(')} parentheses")
    tokens = [number or _SYMBOLS.get(other, other) for number, other in _TOKEN.findall(text.strip()) if number or other]
    tree, rest = _sum(tokens)
    if rest:
        raise _Unreadable(f"unexpected {rest[0]!r}")
    return _value(tree), tuple(_leaves(tree)), tree


def _sum(tokens: list[str]):
    tree, tokens = _product(tokens)
    while tokens and tokens[0] in ("+", "-"):
        right, rest = _product(tokens[1:])
        tree, tokens = (tokens[0], tree, right), rest
    return tree, tokens


def _product(tokens: list[str]):
    tree, tokens = _atom(tokens)
    while tokens and tokens[0] in ("*", "/"):
        right, rest = _atom(tokens[1:])
        tree, tokens = (tokens[0], tree, right), rest
    return tree, tokens


def _atom(tokens: list[str]):
    if not tokens:
        raise _Unreadable("expression ends too early")
    head, rest = tokens[0], tokens[1:]
    if head == "(":
        tree, rest = _sum(rest)
        if not rest or rest[0] != ")":
            raise _Unreadable("unbalanced parenthesis")
        return tree, rest[1:]
    if not head[0].isdigit() or not head[0].isascii():
        raise _Unreadable(f"unexpected {head!r}")
    return whole(Fraction(head)), rest


def _value(tree) -> Number:
    if not isinstance(tree, tuple):
        return tree
    symbol, left, right = tree
    result = combine(_value(left), symbol, _value(right))
    if result is None:
        raise _Unreadable("division by zero")
    return result


def _leaves(tree):
    if not isinstance(tree, tuple):
        yield tree
    else:
        yield from _leaves(tree[1])
        yield from _leaves(tree[2])


def _canonical(tree) -> str:
    """Operands of + and * sorted, chains of + - and of * / flattened: equal calculations get equal keys."""
    if not isinstance(tree, tuple):
        return str(tree)
    level = "+-" if tree[0] in "+-" else "*/"
    plus: list[str] = []
    minus: list[str] = []
    _flatten(tree, level, plus, minus)
    return "(" + level[0].join(sorted(plus)) + "".join(level[1] + term for term in sorted(minus)) + ")"


def _flatten(tree, level: str, plus: list[str], minus: list[str]) -> None:
    if isinstance(tree, tuple) and tree[0] in level:
        _flatten(tree[1], level, plus, minus)
        flipped = tree[0] == level[1]
        _flatten(tree[2], level, minus if flipped else plus, plus if flipped else minus)
    else:
        plus.append(_canonical(tree))


def answer_expression(lines: Sequence[str]) -> str | None:
    """The expression after the last `Answer:`, up to the equals sign."""
    for line in reversed(lines):
        if line.lower().startswith("answer:"):
            return line[len("answer:") :].split("=")[0].strip()
    return None


def canonical_answer(lines: Sequence[str]) -> str | None:
    """The key by which votes are counted; None if there is no readable answer."""
    expression = answer_expression(lines)
    try:
        return None if expression is None else _canonical(parse_expression(expression)[2])
    except _Unreadable:
        return None


def verify_text(numbers: Sequence[Number], target: Number, lines: Sequence[str]) -> Verdict:
    """Judge a trace: the answer decides the outcome, each step is judged on its own."""
    steps, state = [], tuple(sorted(numbers))
    for line in lines:
        if line.lower().startswith("answer:"):
            steps.append(_judge_answer(numbers, target, line, state))
        else:
            verdict, state = _judge_step(line, state, target, len(numbers))
            steps.append(verdict)
    outcome, reason = _judge_outcome(numbers, target, lines)
    return Verdict(outcome=outcome, steps=tuple(steps), reason=reason)


def _judge_outcome(numbers: Sequence[Number], target: Number, lines: Sequence[str]) -> tuple[str, str]:
    expression = answer_expression(lines)
    if expression is None:
        return "malformed", "no line starts with 'Answer:'"
    try:
        value, used, _ = parse_expression(expression)
    except _Unreadable as error:
        return "malformed", f"answer {expression[:60]!r} is not an expression: {error}"
    if sorted(used) != sorted(numbers):
        return "wrong", f"the answer uses {' '.join(map(str, sorted(used)))}"
    if value != target:
        return "wrong", f"the answer is worth {value}"
    return "correct", ""


def _judge_answer(numbers, target, line: str, state) -> StepVerdict:
    """Legal: all numbers once and it follows a state that is the target; arithmetic: worth the target."""
    try:
        value, used, _ = parse_expression(answer_expression([line]) or "")
    except _Unreadable:
        return StepVerdict(legal=False, arithmetic=False, solvable=False)
    legal, right = sorted(used) == sorted(numbers), value == target
    return StepVerdict(legal=legal, arithmetic=right, solvable=legal and right)


def _judge_step(line: str, state, target, most: int) -> tuple[StepVerdict, tuple[Number, ...]]:
    """The verdict, and the state that the line itself claims (so that one error is counted once).

    A state of `most` numbers or more cannot follow a step and is not searched.
    """
    match = _STEP.match(line)
    wrong = StepVerdict(legal=False, arithmetic=False, solvable=False)
    if not match:
        return wrong, state
    left, right, result = (parse_number(match[i]) for i in (1, 3, 4))
    parts = [part for part in re.split(r"[\s,]+", match[5].strip()) if part]
    claimed = [number for number in map(parse_number, parts) if number is not None]
    if left is None or right is None or result is None or len(claimed) < len(parts):
        return wrong, state
    exact = combine(left, _SYMBOLS.get(match[2], match[2]), right)
    rest = remove(state, left, right)
    after = tuple(sorted(claimed))
    legal = rest is not None and after == tuple(sorted((*rest, result)))
    arithmetic = exact is not None and exact == result
    can = legal and arithmetic and len(after) < most and solvable(after, target)
    return StepVerdict(legal=legal, arithmetic=arithmetic, solvable=can), after
