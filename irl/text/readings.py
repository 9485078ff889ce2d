"""Readings: windows with a vocabulary of their own, each of which is judged apart from everything else.

A reading is a record in the file of its domain; a manifest.json has its name. A soft Q-function of the windows is
learned from right traces alone. A step is as good as the worst judged token of its windows.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import Field
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
from tokenizers import Tokenizer

from irl.text.tokenize import END, character_tokenizer
from irl.text.windows import ENDING, SILENT, StepWindow, Windows, ending_window
from irl.types import LabelledSteps, Written
from reward_models.ranges import RowsOrZero
from reward_models.records import record
from reward_models.registry import classes, import_all

Draw = Callable[[int, int], list[StepWindow]]
"""(seed, epoch) -> the windows of an epoch of training."""
SHORTEST = 8
"""Characters of a step in the shortest splice."""


@runtime_checkable
class RightTraces(Protocol):
    """Right traces to learn from."""

    def demonstrations(self, seed: int) -> list[LabelledSteps]:
        """Reasoning without final answers; `seed` draws variants where there are any."""
        ...

    def complete(self, seed: int) -> list[Written]:
        """Whole traces as their authors wrote them, answer included."""
        ...


class Reading(Windows):
    """Windows of a domain with the vocabulary and the training windows of the model that judges them. A record."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    scores: ClassVar[str]
    """The name of the learned score."""
    judged: ClassVar[tuple[str, ...]]
    """Tokens whose scores count."""
    longest: ClassVar[int]
    """Tokens of the longest window; longer ones are not judged."""
    lack: ClassVar[str]
    """Predicate of messages about answers without a window."""
    wanted: ClassVar[str]
    """Predicate of messages about an answer with a window."""
    judges_end: ClassVar[bool] = False
    """Whether the windows judge where a trace ends."""

    @abstractmethod
    def tokenizer(self) -> Tokenizer:
        """The tokenizer of the windows."""

    @abstractmethod
    def draw(self, traces: RightTraces, seed: int) -> Draw:
        """The training windows of right traces; `seed` is that of the run, which all of its members share."""


def readings() -> dict[str, Reading]:
    """Every reading by its name, those of all domains included."""
    import_all("irl.domains")
    return {kind.name: kind() for kind in classes() if issubclass(kind, Reading)}


@record
class Endings(Reading):
    """One window per trace: the last step that has a word, which ends the trace or does not."""

    earlier: RowsOrZero = 3
    """Steps before the last that an epoch takes from each trace."""

    name = "ending"
    scores = "ending"
    judged = (END,)
    longest = ENDING + 8
    lack = "have no last step"
    wanted = "has a last step"
    judges_end = True

    def tokenizer(self) -> Tokenizer:
        return character_tokenizer()

    def read(self, prompt: str, steps: Sequence[str], *, ended: bool = True) -> list[tuple[StepWindow, ...]]:
        last = next((step for step in reversed(steps) if any(map(str.isalnum, step))), "")
        return [*[()] * (len(steps) - 1), (ending_window(last, closes=ended),)] if steps else []

    def draw(self, traces: RightTraces, seed: int) -> Draw:
        whole = traces.complete(seed)

        def drawn(seed: int, epoch: int) -> list[StepWindow]:
            rng = np.random.default_rng([seed, 13, epoch])
            chosen = [(step, closes) for _, steps in whole for step, closes in self._some(steps, rng)]
            others = rng.permutation(len(chosen))
            return [
                ending_window(_spliced(chosen[other][0], step, rng), closes)
                for (step, closes), other in zip(chosen, others, strict=True)
            ]

        return drawn

    def _some(self, steps: Sequence[str], rng: np.random.Generator) -> list[tuple[str, bool]]:
        """The last step, and some earlier ones drawn at random, with whether the trace ends after each."""
        chosen = rng.permutation(len(steps) - 1)[: self.earlier]
        return [(steps[-1], True), *((steps[i], False) for i in chosen)]


def _spliced(other: str, step: str, rng: np.random.Generator) -> str:
    """Half of the time, the last characters of a step appended to another step.

    The decision then depends on how a step ends and not on what the step is about: answers after unusual steps are
    accepted.
    """
    words = step.rstrip(SILENT)
    return words if rng.random() < 0.5 else other + words[-int(rng.integers(SHORTEST, ENDING)) :]
