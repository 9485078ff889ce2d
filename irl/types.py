"""Host-side records, checked when they are built. Strings live here; arrays live in `reward_models.types`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class InputError(Exception):
    """Something a person handed us is not right; the message says what, where and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """


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
class Preference:
    """`chosen` is preferred to `rejected` for the same prompt; `margin` in reward units when known."""

    prompt: str
    chosen: str
    rejected: str
    margin: float | None = None

    def __post_init__(self):
        _text(self.prompt, "Preference", "prompt")
        _text(self.chosen, "Preference", "chosen")
        _text(self.rejected, "Preference", "rejected")
        ok = self.margin is None or (isinstance(self.margin, (int, float)) and self.margin == self.margin)
        _require(ok, f"Preference.margin: expected a finite number, got {self.margin!r}")


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
    """All proposed answers to one prompt."""

    id: str
    prompt: str
    candidates: tuple[Candidate, ...]

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
