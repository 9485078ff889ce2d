"""Host-side records, checked when they are built. Strings live here; arrays live in `reward_models.types`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reward_models.records import InputError as InputError

Written = tuple[str, Sequence[str]]
"""A prompt and the step texts of a trace."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _text(value: Any, record: str, name: str, *, empty: bool = False) -> None:
    _require(isinstance(value, str), f"{record}.{name}: expected a string, got {type(value).__name__}")
    _require(empty or bool(value.strip()), f"{record}.{name}: expected text, got an empty string")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A prompt and, where an environment can check it, whatever its verifier needs (never shown to a learner)."""

    id: str
    prompt: str
    truth: Mapping[str, Any] = field(default_factory=dict, repr=False, hash=False, compare=False)

    def __post_init__(self):
        _text(self.id, "Problem", "id")
        _text(self.prompt, "Problem", "prompt")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One reasoning step: its text and, when somebody judged it, whether it is right."""

    text: str
    label: bool | None = None

    def __post_init__(self):
        _text(self.text, "Step", "text")
        ok = self.label is None or isinstance(self.label, bool)
        _require(ok, f"Step.label: expected true, false or nothing, got {self.label!r}")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Steps that answer a prompt. `source` says who wrote it: expert, policy, corruption, a model's name."""

    problem_id: str
    prompt: str
    steps: tuple[Step, ...]
    source: str = "expert"

    def __post_init__(self):
        _text(self.problem_id, "Trace", "problem_id")
        _text(self.prompt, "Trace", "prompt")
        _require(len(self.steps) > 0, f"Trace.steps: trace of problem {self.problem_id!r} has no steps")

    @property
    def text(self) -> str:
        return "\n".join(step.text for step in self.steps)


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation. `role` is what a chat template knows: system, user, assistant, ..."""

    role: str
    content: str

    def __post_init__(self):
        _text(self.role, "Message", "role")
        _text(self.content, "Message", "content", empty=True)


@dataclass(frozen=True, kw_only=True)
class Preference:
    """`chosen` is preferred to `rejected` for the same prompt; `margin` in reward units when known.

    `messages` are the turns of the prompt where it came as a conversation: a chat template reads those, everybody
    else reads their plain text, `prompt`. `subset` is the part of a benchmark the pair belongs to.
    """

    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None
    id: str = ""
    subset: str = ""
    messages: tuple[Message, ...] = ()

    def __post_init__(self):
        _text(self.prompt, "Preference", "prompt")
        _text(self.chosen, "Preference", "chosen")
        _text(self.rejected, "Preference", "rejected")
        ok = self.margin is None or (isinstance(self.margin, (int, float)) and self.margin == self.margin)
        _require(ok, f"Preference.margin: expected a finite number, got {self.margin!r}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two responses to one prompt and how many judges preferred each or saw a tie."""

    id: str
    prompt: str
    first: str
    second: str
    first_votes: int
    tie_votes: int
    second_votes: int

    def __post_init__(self):
        _text(self.id, "Comparison", "id")
        _text(self.prompt, "Comparison", "prompt")
        _text(self.first, "Comparison", "first")
        _text(self.second, "Comparison", "second")
        votes = (self.first_votes, self.tie_votes, self.second_votes)
        ok = min(votes) >= 0 and sum(votes) > 0
        _require(ok, f"Comparison votes: expected counts of 0 or more and at least one judge, got {votes}")


@dataclass(frozen=True, kw_only=True)
class LabelledResponse:
    """One response and whether it is a good one, without another to compare it with."""

    prompt: str
    completion: str
    label: bool
    messages: tuple[Message, ...] = ()
    id: str = ""

    def __post_init__(self):
        _text(self.prompt, "LabelledResponse", "prompt")
        _text(self.completion, "LabelledResponse", "completion")
        _require(isinstance(self.label, bool), f"LabelledResponse.label: expected true or false, got {self.label!r}")


@dataclass(frozen=True, kw_only=True)
class RankedResponses:
    """Responses to one prompt with their ranks: lower is better, equal ranks are ties."""

    prompt: str
    responses: tuple[str, ...]
    ranks: tuple[int, ...]
    messages: tuple[Message, ...] = ()
    id: str = ""

    def __post_init__(self):
        _text(self.prompt, "RankedResponses", "prompt")
        for index, response in enumerate(self.responses):
            _text(response, "RankedResponses", f"responses[{index}]")
        _require(len(self.responses) > 1, f"RankedResponses: expected 2 or more responses, got {len(self.responses)}")
        same = len(self.responses) == len(self.ranks)
        _require(same, f"RankedResponses: expected {len(self.responses)} ranks, got {len(self.ranks)}")


@dataclass(frozen=True, kw_only=True)
class LabelledSteps:
    """A solution in steps with a label for each: 1 right, 0 wrong, between them a probability, None not known.

    `correct` says whether its final answer is right; it is for evaluation alone.
    """

    id: str
    prompt: str
    steps: tuple[str, ...]
    labels: tuple[float | None, ...]
    subset: str = ""
    source: str = ""
    correct: bool | None = None

    def __post_init__(self):
        _text(self.id, "LabelledSteps", "id")
        _text(self.prompt, "LabelledSteps", "prompt")
        _require(len(self.steps) > 0, "LabelledSteps.steps: expected at least one step, got none")
        for index, step in enumerate(self.steps):
            _text(step, "LabelledSteps", f"steps[{index}]")
        same = len(self.steps) == len(self.labels)
        _require(same, f"LabelledSteps.labels: expected {len(self.steps)}, one per step, got {len(self.labels)}")
        for index, label in enumerate(self.labels):
            ok = label is None or 0.0 <= label <= 1.0
            _require(ok, f"LabelledSteps.labels[{index}]: expected a number from 0 to 1 or nothing, got {label!r}")

    @property
    def first_error(self) -> int | None:
        """Index of the first step that is labelled below one half; None where there is none."""
        wrong = (i for i, label in enumerate(self.labels) if label is not None and label < 0.5)
        return next(wrong, None)


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One proposed answer. `correct` is for evaluation alone."""

    text: str
    correct: bool | None = None

    def __post_init__(self):
        _text(self.text, "Candidate", "text", empty=True)
        ok = self.correct is None or isinstance(self.correct, bool)
        _require(ok, f"Candidate.correct: expected true, false or nothing, got {self.correct!r}")


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """All proposed answers to one prompt; `messages` and `subset` as in `Preference`."""

    id: str
    prompt: str
    candidates: tuple[Candidate, ...]
    subset: str = ""
    messages: tuple[Message, ...] = ()

    def __post_init__(self):
        _text(self.id, "Candidates", "id")
        _text(self.prompt, "Candidates", "prompt")
        _require(len(self.candidates) > 0, f"Candidates.candidates: problem {self.id!r} has no candidates")


@dataclass(frozen=True, kw_only=True)
class StepVerdict:
    """What an exact checker says of a step."""

    legal: bool
    """It uses what is there and leaves what must remain."""
    arithmetic: bool
    """Its calculation is right."""
    solvable: bool
    """The goal can still be reached after it."""

    @property
    def right(self) -> bool:
        return self.legal and self.arithmetic


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What an exact checker says of a trace. For evaluation and for declared information levels only."""

    outcome: str
    """correct | wrong | malformed"""
    steps: tuple[StepVerdict, ...] = ()
    reason: str = ""

    def __post_init__(self):
        ok = self.outcome in ("correct", "wrong", "malformed")
        _require(ok, f"Verdict.outcome: expected correct, wrong or malformed, got {self.outcome!r}")

    @property
    def correct(self) -> bool:
        return self.outcome == "correct"
