"""The contract of every guide: candidates for each problem from a policy and a score, best first."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

import jax
import numpy as np

from irl.domains.base import ReadsTexts
from irl.policies.base import FittedPolicy
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from irl.types import Problem

ScoreRows = Callable[[Sequence[str], Sequence[EncodedTrace]], np.ndarray]
"""Prompts and encoded traces, finished or not -> their trace scores."""


class Task(NamedTuple):
    """Problems to solve, and how their texts are written and read."""

    problems: Sequence[Problem]
    encoder: TextEncoder
    domain: ReadsTexts | None = None
    """Reads the answers that votes count."""


class Candidate(NamedTuple):
    """A trace, finished where its last token is the end token."""

    row: EncodedTrace
    score: float
    finished: bool
    weight: float
    """What the guide ranks by: the score, or the votes for the answer of the trace."""


class Cost(NamedTuple):
    sampled_tokens: int
    scored_traces: int


class Pool(NamedTuple):
    """The candidates of each problem, largest weight first, and what they cost."""

    candidates: list[list[Candidate]]
    cost: Cost


class Guide(ABC):
    """The config class of a guide. Its fields are the budget."""

    uses_score: ClassVar[bool] = True
    """False: the candidates have the score 0."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name in reports."""

    @abstractmethod
    def __call__(self, policy: FittedPolicy, score: ScoreRows, task: Task, key: jax.Array) -> Pool:
        """Candidates for every problem of the task. Equal keys give equal candidates."""
