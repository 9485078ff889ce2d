"""What a reasoning domain offers. One domain, one file, one class with these methods."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from irl.types import Problem, Trace, Verdict


@runtime_checkable
class Environment(Protocol):
    """A source of problems with experts and an exact checker.

    Learners from demonstrations may call `problems`, `expert` and `split_steps`; `verify` belongs to evaluators
    and to algorithms that declare outcome or step labels. `answer_key` is what votes are counted by.
    """

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

    def state_before(self, prompt: str, steps: Sequence[str], index: int) -> str | None:
        """The state in which step `index` is taken, as a prompt of its own; None where that is all before it."""
        ...

    def without_goal(self, prompt: str) -> str:
        """The prompt without what is to be reached, so that a step's windows can keep the two apart."""
        ...

    def goal_claim(self, prompt: str, steps: Sequence[str], index: int) -> tuple[str, str] | None:
        """(the goal as a prompt, what step `index` claims to have reached), None where a step claims nothing."""
        ...

    def answer_key(self, problem: Problem, text: str) -> str | None:
        """The final answer in a canonical form for voting, None when there is none."""
        ...

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Exact judgement of a trace and of each of its steps."""
        ...
