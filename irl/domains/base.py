"""The capabilities of a reasoning domain: one domain, one file, one class with the methods of its capabilities.

Learners from demonstrations may call `problems`, `expert` and `split_steps`; `verify` belongs to evaluators and to
algorithms that declare outcome or step labels. A domain whose steps are judged in windows of its own has the property
`windows` (irl/text/windows.py).
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from irl.domains.judged import JudgedPair
from irl.types import Problem, Trace, Verdict


@runtime_checkable
class Problems(Protocol):
    """A source of problems."""

    def problems(self, split: str) -> Sequence[Problem]:
        """Problems of the split `train` or `test`; the two share none."""
        ...


@runtime_checkable
class Experts(Protocol):
    """A domain that demonstrates solutions."""

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        """One demonstration, drawn from the expert's distribution."""
        ...


@runtime_checkable
class ReadsTexts(Protocol):
    """The part of a domain that reads texts: all that a scorer needs of it."""

    def canonical(self, prompt: str) -> str:
        """The form by which prompts are compared: equal forms may not occur in both training and test data.

        Any text has one. Spelling and everything else that does not make a problem new is removed.
        """
        ...

    def split_steps(self, text: str) -> tuple[str, ...]:
        """The steps of a free text: the one place that knows where steps end in this domain."""
        ...

    def answer_key(self, problem: Problem, text: str) -> str | None:
        """The final answer in a canonical form for voting, None when there is none."""
        ...


@runtime_checkable
class Verifier(Protocol):
    """An exact checker."""

    def verifies(self) -> bool:
        """Whether `verify` can judge a text. Without a verifier everything but accuracy is reported."""
        ...

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Exact judgement of a trace and of each of its steps."""
        ...


@runtime_checkable
class Environment(Problems, Experts, ReadsTexts, Verifier, Protocol):
    """What the stages of a run on traces need."""


@runtime_checkable
class HasDemonstrations(Protocol):
    """A domain with a fixed set of demonstrations instead of an expert that writes any number of them."""

    def demonstrations(self, split: str) -> Sequence[Trace]:
        """Every demonstration of a split."""
        ...


@runtime_checkable
class HasLabels(Protocol):
    """A domain whose traces are labelled."""

    def judged(self, split: str) -> Sequence[JudgedPair]:
        """Pairs of a better and a worse trace of a split. Information level: that of each pair."""
        ...


@runtime_checkable
class HasOtherTargets(Protocol):
    """A domain whose expert can pursue any target."""

    def free_play(self, rng: np.random.Generator, *, size: int) -> Trace:
        """A demonstration from `size` random numbers to a target of the expert's choice."""
        ...


class Removed(NamedTuple):
    """How many traces of a file were left out because their prompts are in a held-out set."""

    data: str
    held_out: str
    records: int
    total: int


@runtime_checkable
class ReadsFiles(Protocol):
    """A domain that is read from files, which may not change between the parts of a run."""

    @property
    def files(self) -> Sequence[str]:
        """The files."""
        ...

    def removed(self) -> Sequence[Removed]:
        """What was left out so that the splits share no prompt."""
        ...

    def summary(self) -> Sequence[str]:
        """Sentences on the splits, for the screen and the report."""
        ...
