"""The claims of tracking shuffled objects, as a Markov reward reads them: each claim of a step with its premises.

    who has what now        Ax By Cz, AC, A         z           Alice and Claire swap: Alice: yellow
    who swaps               AC                      AC          Alice and Claire swap
    who has it at last      Ax By Cz, , A           x           At the end of the event, Alice has the yellow present.
    the answer              xyz, x                  1           So the answer is (A)

People are A to E; each thing has a random letter. The swap is the one that is due in the story. The state before it is
the last state that the trace names; people whom the trace does not name hold what the swap gives them.
"""

import re
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from irl.domains.bigbench_mistake.tracking import Parsed, parsed, short_forms
from irl.text.windows import UNREAD, StepWindow

_CLAIM = re.compile(r"\b(Alice|Bob|Claire|Dave|Eve|[A-E])\b(?::| has| gets| is playing| is dancing with)\s*([^,.:;]+)")
_PAIR = re.compile(r"\b(Alice|Bob|Claire|Dave|Eve|[A-E]) and (Alice|Bob|Claire|Dave|Eve|[A-E])\b")
_ANSWER = re.compile(r"answer is \(?([A-G])\)?")
_OTHER = "?"

_State = dict[str, str]
"""Who (A to E) has what (a letter)."""


def tracking_claims(problem: str, steps: Sequence[str]) -> list[tuple[StepWindow, ...]]:
    """The windows of every step; the score of a step is that of its worst. InputError: a problem of another task."""
    task = parsed(problem)
    letters = _letters(problem, task.things)
    state = {name[0]: letters[thing] for name, thing in zip(task.names, task.things, strict=True)}
    first = int(_PAIR.search(steps[0]) is None)  # a line that says no swap tells the start
    by_step = []
    for index, step in enumerate(steps):
        due = task.swaps[index - first] if 0 <= index - first < len(task.swaps) else ()
        windows, state = _read(step, state, "".join(name[0] for name in due), task, letters)
        by_step.append(tuple(StepWindow(before, (), claim, closes=True) for before, claim in windows))
    return by_step


def _letters(problem: str, things: Sequence[str]) -> dict[str, str]:
    """A random letter for each thing, a function of the problem: a trace has one reading."""
    order = np.random.default_rng(zlib.crc32(problem.encode())).permutation(26)
    return {thing: chr(97 + order[i]) for i, thing in enumerate(things)}


def _read(
    step: str, state: _State, due: str, task: Parsed, letters: Mapping[str, str]
) -> tuple[list[tuple[str, str]], _State]:
    had = " ".join(name + thing for name, thing in state.items())
    claims = [(name[0], _thing(text, letters)) for name, text in _CLAIM.findall(step)]
    windows = [(f"{had}, {due}, {name}", thing) for name, thing in claims]
    pair = _PAIR.search(step)
    if due and pair is not None:
        windows.append(("".join(sorted(due)), "".join(sorted(pair[1][0] + pair[2][0]))))
    answer = _ANSWER.search(step)
    if answer is not None:
        held = dict(claims).get(task.asked[0], state.get(task.asked[0], _OTHER))
        windows.append((f"{''.join(letters[thing] for thing in task.things)}, {held}", str(ord(answer[1]) - 64)))
    if not windows:
        windows = [(f"{had}, {due}, ", step[:UNREAD])]
    return windows, _after(state, due) | dict(claims)


def _after(state: _State, due: str) -> _State:
    if len(due) != 2:
        return state
    return {**state, due[0]: state[due[1]], due[1]: state[due[0]]}


def _thing(text: str, letters: Mapping[str, str]) -> str:
    """The thing that a text names, by any of its short forms."""
    forms = [(form, letter) for thing, letter in letters.items() for form in short_forms(thing)]
    fits = [(len(form), letter) for form, letter in forms if re.search(rf"\b{re.escape(form)}\b", text, re.IGNORECASE)]
    return max(fits)[1] if fits else _OTHER
