"""The reward model of a folder of any kind, as `score`, `rerank` and `evaluate` take it.

A folder is one of ours (a run's `model`, or its claims), a Hugging Face folder, or a PEFT folder of adapters.
"""

import datetime
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from experiments.commands.candidate_files import is_hugging_face, load_answers, load_conversations
from experiments.text_rewards.adapters import base_of, holds_adapters, load_adapters
from irl.domains.base import ReadsTexts
from irl.rewards.claims import holds_claims, load_claims, without_claims
from irl.rewards.questions import MAX_TOKENS, AnswerScorer, Question
from irl.types import InputError


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


def _no_remark(questions: Iterable[Question], path: Path) -> str:
    return ""


class Model(NamedTuple):
    """What scores answers, and what is known of their domain."""

    scorer: AnswerScorer
    environment: ReadsTexts | None = None
    """The domain of the traces, where the folder names one."""
    remark: Callable[[Iterable[Question], Path], str] = _no_remark
    """What the model cannot judge in the questions of a file. InputError where that is all of them."""


def open_model(options: ModelOptions) -> Model:
    """The reward model of a folder of any kind. InputError for a folder or an option that does not fit."""
    folder = options.model
    if holds_adapters(folder):
        return Model(_adapters(options))
    if options.base is not None:
        raise InputError(f"{folder}: --base is for PEFT folders (adapter_config.json); leave it out")
    if is_hugging_face(folder):
        return Model(load_conversations(folder, max_tokens=options.max_tokens, **options.for_hugging_face))
    if options.for_hugging_face != ModelOptions(model=folder).for_hugging_face:
        names = "--date, --label, --dtype, --step-tokens and --step-marker"
        raise InputError(f"{folder}: {names} are for Hugging Face folders; leave them out")
    if holds_claims(folder):
        claims = load_claims(folder, options.max_tokens)
        return Model(claims, remark=lambda questions, path: without_claims(claims.reading, questions, path))
    answers, environment = load_answers(folder, options.max_tokens)
    return Model(answers, environment)


def _adapters(options: ModelOptions) -> AnswerScorer:
    if (options.step_tokens, options.step_marker) != (None, None):
        told = "--step-tokens and --step-marker: adapters have a head and do not judge in words"
        raise InputError(f"{options.model}: {told}; leave them out")
    return load_adapters(
        options.model,
        base=options.base,
        dtype=options.dtype,
        label=options.label,
        date=options.date,
        max_tokens=options.max_tokens,
    )


def model_folders(options: ModelOptions) -> list[Path]:
    """The folder, and that of the base of adapters."""
    adapters = holds_adapters(options.model)
    return [options.model, base_of(options.model, options.base)] if adapters else [options.model]
