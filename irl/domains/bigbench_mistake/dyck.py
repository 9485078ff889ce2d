"""Dyck languages: close the open brackets, with a stack that is written after every bracket.

    [ (            We should process each input one by one and keep track of the stack configuration.
                   stack: empty
                   [ ; stack: [
                   ( ; stack: [ (
                   Now, we have reached the end. The final stack is "[ (".
                   We will need to pop out "(", "[" one by one in that order.
                   So, we need ")", "]". So the answer is ) ]

Mistakes occur at a bracket (`MOVES`), in the last lines (`CLOSINGS`), or in the number of brackets (early, late). The
later steps follow the rules from the wrong stack; a closing bracket pops any top.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from irl.domains.bigbench_mistake.planted import Planted, drawn_order
from irl.types import LabelledSteps

CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
OPENING = {close: open for open, close in CLOSING.items()}
BRACKETS = (*CLOSING, *OPENING)
_OPENS = tuple(CLOSING)
HEAD = ("We should process each input one by one and keep track of the stack configuration.", "stack: empty")

Stack = tuple[str, ...]
Move = tuple[str, Stack, int]
"""The bracket that is written, the stack behind it, and how many brackets are read."""


class Style(NamedTuple):
    """The wording of the last lines."""

    space: bool = False
    """A space behind the final stack."""
    pair: bool = False
    """"a" and "b" for two."""
    short: bool = False
    """One bracket: the answer comes at once."""
    quoted: bool = True
    """Whether the brackets that are needed are quoted."""


def problem(like: str, rng: np.random.Generator) -> str:
    """Brackets, some of which are open at the end."""
    size = max(2, round(len(like.split()) * rng.uniform(0.8, 1.2)))
    out: list[str] = []
    stack: list[str] = []
    for number in range(size):
        opens = not stack or rng.random() < 0.7 - 0.4 * number / size or (len(stack) == 1 and number == size - 1)
        bracket = _OPENS[rng.integers(4)] if opens else CLOSING[stack.pop()]
        stack += [bracket] if opens else []
        out.append(bracket)
    return " ".join(out)


def drawn_style(rng: np.random.Generator) -> Style:
    return Style(rng.random() < 0.15, rng.random() < 0.25, rng.random() < 0.2, rng.random() < 0.97)


def write(problem: str, style: Style) -> tuple[str, ...]:
    """The correct steps in one style."""
    symbols = problem.split()
    lines, stack = _walk(symbols, (), 0)
    return (*HEAD, *lines, *_end(stack, stack[::-1], [CLOSING[s] for s in stack[::-1]], style))


def written(problem: str, rng: np.random.Generator) -> Planted:
    """The correct steps."""
    return Planted(problem, write(problem, drawn_style(rng)), None)


def flawed(problem: str, at: float, rng: np.random.Generator) -> Planted:
    """The steps with a mistake in the step at the share `at` of the trace."""
    symbols, style = problem.split(), drawn_style(rng)
    number = min(int(at * (len(symbols) + 5)), len(symbols) + 4) - 2
    if number >= len(symbols):
        return _flawed_end(problem, symbols, style, number - len(symbols), rng)
    read = max(number, 0)
    before, stack = _walk(symbols[:read], (), 0)
    for kind in drawn_order(WEIGHTS, rng):
        if kind == "early":
            steps, wrong = (*HEAD, *before, *_ended(stack, style)), len(before) + 2
            if stack:
                return Planted(problem, steps, wrong, kind)
            continue
        move = MOVES[kind](symbols, read, stack, rng)
        if move is not None and move[:2] != (symbols[read], _after(stack, symbols[read])):
            rest, last = _walk(symbols, move[1], read + move[2])
            steps = (*HEAD, *before, _line(*move[:2]), *rest, *_ended(last, style))
            return Planted(problem, steps, len(before) + 2, kind)
    raise AssertionError("a wrong bracket can always be written")


def renamed(trace: LabelledSteps, rng: np.random.Generator) -> LabelledSteps:
    """The trace with the four kinds of brackets permuted."""
    roles = [str(open) for open in rng.permutation(list(CLOSING))]
    mapping = dict(zip(CLOSING, roles, strict=True))
    mapping |= {CLOSING[old]: CLOSING[new] for old, new in mapping.items()}
    table = str.maketrans(mapping)
    return replace(trace, prompt=trace.prompt.translate(table), steps=tuple(s.translate(table) for s in trace.steps))


def _after(stack: Stack, symbol: str) -> Stack:
    return (*stack, symbol) if symbol in CLOSING else stack[:-1]


def _line(symbol: str, stack: Stack) -> str:
    return f"{symbol} ; stack: {' '.join(stack) or 'empty'}"


def _walk(symbols: Sequence[str], stack: Stack, read: int) -> tuple[list[str], Stack]:
    """The lines of the brackets from `read` on, and the stack after them."""
    lines = []
    for symbol in symbols[read:]:
        stack = _after(stack, symbol)
        lines.append(_line(symbol, stack))
    return lines, stack


def _ended(stack: Stack, style: Style) -> list[str]:
    if not stack:
        return ["Now, we have reached the end. The final stack is empty.", "So the answer is empty."]
    return _end(stack, stack[::-1], [CLOSING.get(s, s) for s in stack[::-1]], style)


def _end(stack: Sequence[str], popped: Sequence[str], needed: Sequence[str], style: Style) -> list[str]:
    """The lines after the brackets."""
    reached = f'Now, we have reached the end. The final stack is "{" ".join(stack)}{" " * style.space}".'
    answer = f"So the answer is {' '.join(needed)}"
    if style.short and len(popped) == 1:
        return [reached, f"We will need to pop out {_listed(popped, style)}. {answer}"]
    need = _listed(needed, style) if style.quoted else " ".join(needed)
    return [
        reached,
        f"We will need to pop out {_listed(popped, style)} one by one in that order.",
        f"So, we need {need}. {answer}",
    ]


def _listed(symbols: Sequence[str], style: Style) -> str:
    return (" and " if style.pair and len(symbols) == 2 else ", ").join(f'"{symbol}"' for symbol in symbols)


def _flawed_end(problem: str, symbols: list[str], style: Style, number: int, rng: np.random.Generator) -> Planted:
    """A mistake in the final stack (0; or a bracket too many before it), in what is popped (1), in the answer (2)."""
    lines, stack = _walk(symbols, (), 0)
    head, style = (*HEAD, *lines), style._replace(short=False)
    wrong = len(head) + number
    if number == 0 and rng.random() < 0.4:
        late = CLOSING[stack[-1]] if rng.random() < 0.7 else str(rng.choice(BRACKETS))
        after = _after(stack, late)
        return Planted(problem, (*head, _line(late, after), *_ended(after, style)), wrong, "late")
    last, popped = stack, stack[::-1]
    if number == 0:
        last = _other_list(stack, tuple(CLOSING), rng)
        popped = last[::-1]
    elif number == 1:
        popped = _other_list(popped, tuple(CLOSING), rng)
    needed = tuple(CLOSING[symbol] for symbol in popped)
    if number == 2:
        needed = _other_list(needed, tuple(OPENING), rng)
    return Planted(problem, (*head, *_end(last, popped, needed, style)), wrong, CLOSINGS[number])


def _other_list(symbols: Stack, choice: Sequence[str], rng: np.random.Generator) -> Stack:
    """One lost, one added, one changed, or the other way round; never the same, never none."""
    at, other = int(rng.integers(len(symbols))), str(rng.choice(choice))
    options = [
        (*symbols[:at], *symbols[at + 1 :]),
        (*symbols[:at], other, *symbols[at:]),
        (*symbols[:at], other, *symbols[at + 1 :]),
        symbols[::-1],
    ]
    fit = [option for option in options if option and option != symbols]
    return fit[0] if fit[0] == options[0] and rng.random() < 0.4 else fit[rng.integers(len(fit))]


def _skipped(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    if read + 1 >= len(symbols):
        return None
    return symbols[read + 1], _after(stack, symbols[read + 1]), 2


def _merged(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    if read + 1 >= len(symbols):
        return None
    return symbols[read + 1], _after(_after(stack, symbols[read]), symbols[read + 1]), 2


def _repeated(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    if read == 0:
        return None
    return symbols[read - 1], _after(stack, symbols[read - 1]), int(rng.integers(2))


def _other(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move:
    other = str(rng.choice([bracket for bracket in BRACKETS if bracket != symbols[read]]))
    return other, _after(stack, other), 1


def _replaced(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    """Push the bracket and lose the rest of the stack."""
    if symbols[read] not in CLOSING or not stack:
        return None
    lost = 1 if rng.random() < 0.8 else int(rng.integers(1, len(stack) + 1))
    return symbols[read], (*stack[: len(stack) - lost], symbols[read]), 1


def _unpushed(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    if symbols[read] not in CLOSING:
        return None
    return symbols[read], stack if not stack or rng.random() < 0.15 else stack[:-1], 1


def _pushed_other(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    if symbols[read] not in CLOSING:
        return None
    return symbols[read], (*stack, str(rng.choice([o for o in CLOSING if o != symbols[read]]))), 1


def _popped_more(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    if symbols[read] in CLOSING or len(stack) < 2:
        return None
    return symbols[read], stack[:-2] if rng.random() < 0.8 else stack[: rng.integers(len(stack) - 1)], 1


def _unpopped(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    return None if symbols[read] in CLOSING else (symbols[read], stack, 1)


def _pushed_closing(symbols: Sequence[str], read: int, stack: Stack, rng: np.random.Generator) -> Move | None:
    return None if symbols[read] in CLOSING else (symbols[read], (*stack, symbols[read]), 1)


MOVES: dict[str, Callable[[Sequence[str], int, Stack, np.random.Generator], Move | None]] = {
    "skipped": _skipped,
    "merged": _merged,
    "repeated": _repeated,
    "other": _other,
    "replaced": _replaced,
    "unpushed": _unpushed,
    "pushed other": _pushed_other,
    "popped more": _popped_more,
    "unpopped": _unpopped,
    "pushed closing": _pushed_closing,
}
"""Kind: the wrong line in place of a right one; None where the bracket or the stack gives no room for it."""
CLOSINGS = ("final stack", "popped", "answer")
WEIGHTS = {
    "skipped": 54,
    "merged": 8,
    "repeated": 6,
    "other": 4,
    "replaced": 39,
    "unpushed": 33,
    "pushed other": 3,
    "popped more": 31,
    "unpopped": 3,
    "pushed closing": 7,
    "early": 6,
}
"""How often, about as among first mistakes of the real traces."""
