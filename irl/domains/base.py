"""What a reasoning domain offers. One domain, one file, one class with these methods."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from irl.types import Problem, Trace, Verdict


@runtime_checkable
class Environment(Protocol):
    """A source of problems with experts and an exact checker.

    Learners from demonstrations may call `problems`, `expert` and `split_steps`; `verify` belongs to evaluators
    and to algorithms that declare outcome or step labels. `answer_key` is what votes are counted by. A domain that
    names the state before a step also has the methods of `HasStates` (irl/text/windows.py).
    """

    def verifies(self) -> bool:
        """Whether `verify` can judge a text. Without a verifier everything but accuracy is reported."""
        ...

    def problems(self, split: str) -> Sequence[Problem]:
        """Problems of the split `train` or `test`; the two share none."""
        ...

    def canonical(self, prompt: str) -> str:
        """The form by which prompts are compared: equal forms may not occur in both training and test data.

        Any text has one. Spelling and everything else that does not make a problem new is removed.
        """
        ...

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        """One demonstration, drawn from the expert's distribution."""
        ...

    def split_steps(self, text: str) -> tuple[str, ...]:
        """The steps of a free text: the one place that knows where steps end in this domain."""
        ...

    def answer_key(self, problem: Problem, text: str) -> str | None:
        """The final answer in a canonical form for voting, None when there is none."""
        ...

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Exact judgement of a trace and of each of its steps."""
        ...


@runtime_checkable
class HasDemonstrations(Protocol):
    """A domain with a fixed set of demonstrations instead of an expert that writes any number of them."""

    def demonstrations(self, split: str) -> Sequence[Trace]:
        """Every demonstration of a split."""
        ...


@runtime_checkable
class ReadsTexts(Protocol):
    """The part of a domain that reads texts: all that a scorer needs of it."""

    def canonical(self, prompt: str) -> str: ...

    def split_steps(self, text: str) -> tuple[str, ...]: ...

    def answer_key(self, problem: Problem, text: str) -> str | None: ...
