"""Judges: stages that learn scores of steps. A new judge is a file with a record of this class."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.step_data import StepData
from experiments.text_rewards.step_evaluation import Steps
from irl.types import LabelledSteps
from reward_models.types import Aggregate, Information

StepScorer = Callable[[Sequence[LabelledSteps]], Steps]
"""The scores of the steps of traces, whose labels are not read."""


@dataclass(frozen=True, kw_only=True)
class StepScores:
    """What a judge has learned."""

    name: str
    information: Information
    trained_on: str
    """A sentence for the model cards."""
    members: Sequence[StepScorer]
    """One per seed."""
    models: Sequence[Path]
    """Their folders."""
    aggregate: Aggregate
    """How the score of a trace follows from those of its steps."""

    def unreadable(self, traces: Sequence[LabelledSteps]) -> list[str]:
        """Why each trace cannot be read; empty where it can."""
        return [""] * len(traces)

    def step_baselines(self, traces: Sequence[LabelledSteps]) -> dict[str, Steps]:
        """Scores of steps that are reported beside the learned ones."""
        return {}

    def trace_baselines(self, traces: Sequence[LabelledSteps]) -> dict[str, np.ndarray]:
        """Scores of whole traces that are reported beside the learned ones."""
        return {}


class Judge(ABC):
    """The config class of a judge: a record."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    @abstractmethod
    def name(self) -> str:
        """The name of the score."""

    @abstractmethod
    def fit(self, run: RunFolder, data: StepData, seeds: Sequence[int]) -> StepScores:
        """Train, or read back, a member for each seed. The seed of `run` draws what the members share."""
