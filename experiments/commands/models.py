"""The options of every command that reads a model folder."""

import datetime
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from irl.rewards import AnswerScorer, open_scorer
from irl.rewards.questions import END_FOLDER, MAX_TOKENS
from irl.types import InputError
from reward_models.folders.opening import folders_of


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """The model folder and how to read it."""

    model: Path
    """A reward model folder, such as runs/quickstart/model or the calculations-seed-0 of a run, a Hugging Face folder
    as it was downloaded, or a PEFT folder of low-rank adapters."""
    max_tokens: int = MAX_TOKENS
    """Most tokens that the model reads for one candidate, prompt included. A longer candidate gets no score: memory
    grows linearly with this limit, time with its square."""
    date: datetime.date | None = None
    """Hugging Face folders: the date for a chat template that asks for it, YYYY-MM-DD."""
    label: int | None = None
    """Hugging Face folders: which label is the score, where the head has several."""
    step_tokens: str | None = None
    """Hugging Face language models that judge steps: the token for a right step and the one for a wrong step, such as
    "+,-". Every step is a user's turn and the token the assistant's (RLHFlow), unless there is a --step-marker. The
    score of a step is the probability of the first token among the two, that of an answer their mean."""
    step_marker: str | None = None
    """With --step-tokens: the word behind every step where the model says whether it is right, such as "ки"
    (Math-Shepherd). The score of an answer is that of its lowest step."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Hugging Face folders: what the network computes in."""
    base: Path | None = None
    """PEFT folders: the Hugging Face folder of their base, where it is not the one that adapter_config.json names."""

    def __post_init__(self):
        if self.max_tokens < 1:
            raise InputError(f"--max-tokens {self.max_tokens}: expected 1 or more")

    @property
    def for_hugging_face(self) -> dict[str, Any]:
        """The options that only Hugging Face folders have."""
        names = ("date", "label", "dtype", "step_tokens", "step_marker")
        return {name: getattr(self, name) for name in names}

    def open(self) -> AnswerScorer:
        """The scorer of the folder. InputError for a folder or an option that does not fit."""
        return open_scorer(self.model, base=self.base, max_tokens=self.max_tokens, **self.for_hugging_face)

    def folders(self) -> list[Path]:
        """The folder, that of the base of adapters, and that of the score of ends."""
        end = self.model / END_FOLDER
        return [*folders_of(self.model, self.base), *([end] if end.is_dir() else [])]
