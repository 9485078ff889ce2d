"""Windows: the text by which each step of a trace is judged.

A reward r(s, a) of classical inverse reinforcement learning reads the state and the action, not the history. Where a
domain can name the state before a step (in Countdown: the numbers that are left), the window of the step is that state
and the step. The third step of one trace and the first step of another can then have the same window, and the reward
cannot judge a calculation by its history or by the goal.
Where the state is the whole history (an answer must agree with all steps), the window is the trace so far, without the
goal. A second window holds the goal and the value that the step claims. The two are scored separately because a model
that sees the goal beside the steps assigns a high probability to any claim that the goal was reached.

Ending a trace is an action too. The window of the last step closes with the end token, the window of every other step
with a newline. Demonstrations end with an answer, so a reward of demonstrations makes any other end unlikely, and a
trace that stops early has a lower score. A trace that is still being written (a beam) has no end, and no such cost.
"""

import string
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, NamedTuple, Protocol, runtime_checkable

from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace, Place, Room, fill_rows
from reward_models.types import TraceBatch

UNREAD = 40
"""Most characters of an unreadable step in a window."""
ENDING = 32
"""Characters at the end of a step that show whether a trace ends after it."""
SILENT = "".join({*string.punctuation, *string.whitespace} - {*"\"'"})
"""Characters behind the last word that say nothing about the end; quotation marks belong to the word."""


class StepWindow(NamedTuple):
    """A step to judge and the text it is judged by."""

    prompt: str
    before: tuple[str, ...]
    step: str
    closes: bool
    """Whether the trace ends with this step: the window closes with the end token instead of a newline."""


Asked = tuple[str, Sequence[str], bool]
"""A trace to score: its prompt, its steps, and whether it ends with the last of them."""
Parts = list[tuple[EncodedTrace, int]]
"""What a reward reads of a trace: sequences, each with the number of its first step."""


class Windows(ABC):
    """What the steps of a trace are judged by. A domain writes its own."""

    name: ClassVar[str]
    """In manifest.json."""

    @abstractmethod
    def read(self, prompt: str, steps: Sequence[str], *, ended: bool = True) -> list[tuple[StepWindow, ...]]:
        """The windows of each step of a trace; `ended` says whether the trace ends with its last step."""

    def parts(self, encoder: TextEncoder, traces: Iterable[Asked]) -> list[Parts]:
        """The encoded windows of each trace; equal windows are encoded once."""
        number: dict[StepWindow, int] = {}
        places = [
            [
                (number.setdefault(window, len(number)), index)
                for index, step in enumerate(self.read(prompt, steps, ended=ended))
                for window in step
            ]
            for prompt, steps, ended in traces
        ]
        rows = encode_windows(encoder, list(number))
        return [[(rows[i], index) for i, index in trace] for trace in places]


class WholeTrace(Windows):
    """Each step after the prompt and all steps before it; one sequence holds the windows of all steps."""

    name = "whole trace"

    def read(self, prompt: str, steps: Sequence[str], *, ended: bool = True) -> list[tuple[StepWindow, ...]]:
        last = len(steps) - 1
        return [(StepWindow(prompt, tuple(steps[:i]), step, ended and i == last),) for i, step in enumerate(steps)]

    def parts(self, encoder: TextEncoder, traces: Iterable[Asked]) -> list[Parts]:
        """The trace itself."""
        asked = list(traces)
        ended = [ended for _, _, ended in asked]
        rows = encoder.many([prompt for prompt, _, _ in asked], [steps for _, steps, _ in asked], ended)
        return [[(row, 0)] for row in rows]


WHOLE_TRACE = WholeTrace()


class States(Windows):
    """The windows of a domain that can name the state before a step.

    The first window of a step is its own, a second one is the claim that the step makes about the goal. The score of a
    step is the sum over its windows.
    """

    name = "states"

    @abstractmethod
    def state_before(self, prompt: str, steps: Sequence[str], index: int) -> str | None:
        """The state as a prompt; None for a step that must agree with all steps before it."""

    def without_goal(self, prompt: str) -> str:
        """The prompt of a window with all steps before it."""
        return prompt

    def goal_claim(self, prompt: str, steps: Sequence[str], index: int) -> tuple[str, str] | None:
        """The goal, and what a step without a state claims about the goal."""
        return None

    def read(self, prompt: str, steps: Sequence[str], *, ended: bool = True) -> list[tuple[StepWindow, ...]]:
        windows: list[tuple[StepWindow, ...]] = []
        for index, step in enumerate(steps):
            closes, state = ended and index == len(steps) - 1, self.state_before(prompt, steps, index)
            if state is not None:
                windows.append((StepWindow(state, (), step, closes),))
                continue
            whole = StepWindow(self.without_goal(prompt), tuple(steps[:index]), step, closes)
            claim = self.goal_claim(prompt, steps, index)
            windows.append((whole,) if claim is None else (whole, StepWindow(claim[0], (), claim[1], True)))
        return windows


@runtime_checkable
class HasWindows(Protocol):
    """A domain whose steps are judged in windows of its own: at least one for each step."""

    @property
    def windows(self) -> Windows: ...


def windows_of(domain: object) -> Windows:
    """The windows of a domain; the whole trace where the domain has none of its own."""
    return domain.windows if isinstance(domain, HasWindows) else WHOLE_TRACE


def smaller_contexts(prompt: str, steps: Sequence[str]) -> Iterator[StepWindow]:
    """The steps of a whole demonstration with nothing before them, and with the previous step (the prompt) alone.

    A reward that judges whole traces learns from these too: shown the history alone, it explains a step by the history.
    """
    for index, step in enumerate(steps):
        closes = index == len(steps) - 1
        yield StepWindow("", (), step, closes)
        yield StepWindow(steps[index - 1] if index else prompt, (), step, closes)


def ending_window(step: str, closes: bool) -> StepWindow:
    """The decision to end a trace after a step (`closes`) or to continue it, given the last characters of that step.

    Punctuation and space behind it, such as those that close JSON or a block of code, are left out.
    """
    return StepWindow(step.rstrip(SILENT)[-ENDING:], (), "", closes)


def encode_windows(encoder: TextEncoder, windows: Sequence[StepWindow]) -> list[EncodedTrace]:
    """Rows in which only the judged step is response: it has the step id 0, its context has -1."""
    texts = [(*window.before, window.step) for window in windows]
    rows = encoder.many([window.prompt for window in windows], texts, [window.closes for window in windows])
    return [
        EncodedTrace(row.tokens, [0 if step == len(window.before) else -1 for step in row.step_id])
        for window, row in zip(windows, rows, strict=True)
    ]


def fill_trace_rows(encoder: TextEncoder, traces: Sequence[Parts], length: int, prompt_id: Sequence[int]) -> TraceBatch:
    """A row for each trace, its parts as segments: the score of a step is the sum over its windows."""
    placed = []
    for row, parts in enumerate(traces):
        start = 0
        for number, (part, step) in enumerate(parts):
            placed.append((part, Place(row, step, start, number + 1)))
            start += len(part.tokens)
    room = Room(len(traces), length, encoder.max_steps)
    return fill_rows(placed, room, pad=encoder.pad, prompt_id=prompt_id)
