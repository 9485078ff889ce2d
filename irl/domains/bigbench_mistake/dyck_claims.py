"""The claims of Dyck languages, as a Markov reward reads them: each claim of a step with its premises.

    a bracket          {[ ]         ] {         ] ; stack: {
    the end            {[ .         . {[        Now, we have reached the end. The final stack is "{ [".
    what is popped     pop {[       [{          We will need to pop out "[", "{" one by one in that order.
    what closes it     close [{     ]}          So, we need "]", "}".
    the answer         close [{     ]}          So the answer is ] }

The index of a step gives the bracket that is due, and the line before has the stack. The first two lines claim nothing.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

from irl.domains.bigbench_mistake.dyck import BRACKETS, HEAD
from irl.text.windows import UNREAD, StepWindow

_QUOTED = re.compile(r'"([^"]*)"')
_STACK = "stack:"
_ANSWER = "answer is"
_MOST = 60
"""Brackets of a claim; a text that repeats itself lists more."""


class _State(NamedTuple):
    stack: str = ""
    popped: str = ""


def dyck_claims(problem: str, steps: Sequence[str]) -> list[tuple[StepWindow, ...]]:
    """The claims of every step of a trace; the score of a step is that of its worst claim."""
    symbols, state = problem.split(), _State()
    by_step: list[tuple[StepWindow, ...]] = []
    for index, step in enumerate(steps):
        if index < len(HEAD):
            by_step.append(())
            continue
        number = index - len(HEAD)
        claims, state = _read(step, symbols[number] if number < len(symbols) else ".", state)
        by_step.append(tuple(StepWindow(before, (), claim, closes=True) for before, claim in claims))
    return by_step


def _read(step: str, due: str, state: _State) -> tuple[list[tuple[str, str]], _State]:
    """The claims of a step, and the state after it."""
    before = f"{state.stack} {due}"
    if _STACK in step:
        bracket, _, stack = step.partition(_STACK)
        return [(before, f"{_brackets(bracket)} {_brackets(stack)}")], _State(_brackets(stack))
    claims = []
    reasoning, answered, answer = step.partition(_ANSWER)
    quoted = _brackets("".join(_QUOTED.findall(reasoning)))
    if "final stack" in reasoning:
        stack = quoted or _brackets(reasoning)
        claims.append((before, f". {stack}"))
        state = _State(stack, stack[::-1])
    elif "pop" in reasoning:
        claims.append((f"pop {state.stack}", quoted))
        state = state._replace(popped=quoted)
    elif "need" in reasoning:
        claims.append((f"close {state.popped}", quoted or _brackets(reasoning)))
    if answered:
        claims.append((f"close {state.popped}", _brackets(answer)))
    return claims or [(before, step[:UNREAD])], state


def _brackets(text: str) -> str:
    return "".join(c for c in text if c in BRACKETS)[:_MOST]
