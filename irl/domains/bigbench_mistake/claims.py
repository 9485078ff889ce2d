"""The claims of the steps of a trace, for all three tasks: dyck_claims.py, tracking_claims.py, sorting_claims.py.

A claim is a window of its own (irl/text/windows.py): its premises in few characters, and the claim itself. Names are
random or left out, so that a model generalises over them. Truth is not checked. The first characters of a step that
cannot be parsed are one claim.
"""

import re
from collections.abc import Callable, Sequence

import numpy as np
from tokenizers import Tokenizer

from irl.domains.bigbench_mistake.dyck import BRACKETS
from irl.domains.bigbench_mistake.dyck_claims import dyck_claims
from irl.domains.bigbench_mistake.sorting_claims import sorting_claims
from irl.domains.bigbench_mistake.states import OPTIONS
from irl.domains.bigbench_mistake.tracking_claims import tracking_claims
from irl.domains.bigbench_mistake.truth import dyck_holds, sorting_holds, tracking_holds
from irl.text.readings import Draw, Reading, RightTraces
from irl.text.tokenize import END, character_tokenizer
from irl.text.windows import StepWindow
from irl.types import InputError, LabelledSteps
from reward_models.ranges import Rows
from reward_models.records import record

Steps = list[tuple[StepWindow, ...]]
"""The claims of every step of a trace."""

DYCK, TRACKING, SORTING = "Dyck languages", "tracking shuffled objects", "word sorting"
_READ: dict[str, Callable[[str, Sequence[str]], Steps]] = {
    DYCK: dyck_claims,
    TRACKING: tracking_claims,
    SORTING: sorting_claims,
}
_HOLDS: dict[str, Callable[[StepWindow], bool]] = {
    DYCK: dyck_holds,
    TRACKING: tracking_holds,
    SORTING: sorting_holds,
}
_WORD = re.compile(r"[a-z0-9][a-z0-9'&.-]*")


def claims(problem: str, steps: Sequence[str]) -> Steps:
    """The claims of every step; a step may have none. InputError: a problem of another task."""
    return _READ[task_of(problem)](problem, steps)


def holds(problem: str, claim: StepWindow) -> bool:
    """Whether a claim is true by the rules of the task: an oracle for evaluation only."""
    return _HOLDS[task_of(problem)](claim)


def task_of(problem: str) -> str:
    """InputError: a problem of another task."""
    words = problem.split()
    if OPTIONS in problem:
        return TRACKING
    if words and set(words) <= set(BRACKETS):
        return DYCK
    if len(words) > 1 and all(map(_WORD.fullmatch, words)):
        return SORTING
    raise InputError(f"expected a problem of {DYCK}, {TRACKING} or {SORTING}, got {problem[:60]!r}")


@record
class Claims(Reading):
    """Claims of right traces: what the soft Q-function of claims learns from."""

    per_trace: Rows = 6
    """Claims that an epoch learns from each trace, of different steps: traces differ much in length."""

    name = "mistakes"
    scores = "claims"
    judged = (*map(chr, range(32, 127)), END)
    longest = 160
    lack = "claim nothing"
    wanted = "claims something of a stack, of who has what or of an order of words"

    def tokenizer(self) -> Tokenizer:
        return character_tokenizer()

    def read(self, prompt: str, steps: Sequence[str], *, ended: bool = True) -> Steps:
        return claims(prompt, steps)

    def draw(self, traces: RightTraces, seed: int) -> Draw:
        def drawn(seed: int, epoch: int) -> list[StepWindow]:
            rng = np.random.default_rng([seed, 11, epoch])
            return [claim for trace in traces.demonstrations(seed + 1000 * epoch) for claim in self._some(trace, rng)]

        return drawn

    def _some(self, trace: LabelledSteps, rng: np.random.Generator) -> list[StepWindow]:
        """Claims of as many steps, drawn at random."""
        steps = [step for step in claims(trace.prompt, trace.steps) if step]
        return [steps[i][rng.integers(len(steps[i]))] for i in rng.permutation(len(steps))[: self.per_trace]]
