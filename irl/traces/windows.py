"""Steps in their context: what a Markov reward r(s, a) reads.

A reward of classical inverse RL sees the state and the action, not the history that led there. Where an
environment can name the state before a step (in Countdown: the numbers that are left), the step is judged as
the only step of the problem that the state poses. So a step that comes third in one trace and first in another
is the same window, and a critic cannot learn what history or goal would make it say of a calculation.
Where the state is everything before (an answer that must agree with all steps), the window is the whole trace
without its goal, and a second window asks whether what the step claims is the goal. Apart, neither can excuse the
other: whoever sees the goal finds it likely that it was reached.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from irl.traces.encode import EncodedTrace, Encoder
from irl.traces.tokenize import END

UNREAD = 40
"""Characters of what cannot be read that stand in a window."""


class StepWindow(NamedTuple):
    """A step to judge and the text it is judged by."""

    prompt: str
    before: tuple[str, ...]
    step: str
    closes: bool
    """True where the step is the last word of its trace: it ends with the end token, others with a newline."""


@runtime_checkable
class HasStates(Protocol):
    """The part of an environment that windows need."""

    def state_before(self, prompt: str, steps: Sequence[str], index: int) -> str | None: ...

    def without_goal(self, prompt: str) -> str: ...

    def goal_claim(self, prompt: str, steps: Sequence[str], index: int) -> tuple[str, str] | None: ...


def step_windows(environment: HasStates, prompt: str, steps: Sequence[str]) -> list[tuple[StepWindow, ...]]:
    """The windows of each step of a trace; the score of a step is the sum over its windows."""
    windows: list[tuple[StepWindow, ...]] = []
    for index, step in enumerate(steps):
        state = environment.state_before(prompt, steps, index)
        if state is not None:
            windows.append((StepWindow(state, (), step, False),))
            continue
        whole = StepWindow(environment.without_goal(prompt), tuple(steps[:index]), step, True)
        claim = environment.goal_claim(prompt, steps, index)
        windows.append((whole,) if claim is None else (whole, StepWindow(claim[0], (), claim[1], True)))
    return windows


def encode_windows(encoder: Encoder, windows: Sequence[StepWindow]) -> list[EncodedTrace]:
    """Rows in which only the judged step is response: it has the step id 0, its context has -1."""
    end = encoder.special(END)
    texts = [(*w.before, w.step if w.closes else w.step + "\n") for w in windows]
    rows = encoder.many([w.prompt for w in windows], texts)
    encoded = []
    for window, row in zip(windows, rows, strict=True):
        judged = len(window.before)
        tokens, step_id = row.tokens, [0 if s == judged else -1 for s in row.step_id]
        if not window.closes:
            assert tokens[-1] == end
            tokens, step_id = tokens[:-1], step_id[:-1]
        encoded.append(EncodedTrace(tokens, step_id))
    return encoded
