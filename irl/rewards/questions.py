"""Questions with answers to score, from records of any format, and what a scorer returns for them.

An answer that a model cannot score has a reason in the place of its score: it is empty, has no step, is too long, is
written in characters that the tokenizer does not know, or its prompt is not one of the model's domain. The other
answers of the question are scored.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from irl.domains.base import ReadsTexts
from irl.types import (
    Candidates,
    Comparison,
    InputError,
    LabelledResponse,
    LabelledSteps,
    Message,
    Preference,
    RankedResponses,
    Trace,
)
from reward_models.types import ScoreSpec

RAISE_LIMIT = "shorten it, or raise --max-tokens"
CHARACTERS_PER_TOKEN = 32
"""A text with more characters per allowed token is refused before the tokenizer allocates memory for it."""

END_FOLDER = "ending"
"""Folder of the soft Q-function of ends (ending.py), inside the model folder that it belongs to."""
NO_END = (
    "warning: the model judges single steps and not where a candidate ends, so a candidate that stops early can win; "
    f"score complete candidates only, or copy the folder {END_FOLDER!r} of a run on such traces into the model folder"
)

_STEP_BREAK = "\n\n"

Readable = TypeVar("Readable")


class Answer(NamedTuple):
    """A text to score and what it is called: a number, "chosen" or "rejected"."""

    name: int | str
    text: str
    parts: tuple[str, ...] = ()
    """Its steps where the record has them, with what stands between; together they are `text`."""


class Question(NamedTuple):
    """Answers to one prompt; `messages` are its turns where it came as a conversation."""

    id: str
    prompt: str
    messages: tuple[Message, ...]
    answers: tuple[Answer, ...]


def question_of(record: Any, id: str) -> Question:
    """What is to be scored in a record of `read_records`, in its order; `id` is for records without one."""
    match record:
        case Candidates():
            texts = [candidate.text for candidate in record.candidates]
            return Question(record.id, record.prompt, record.messages, _numbered(texts))
        case Preference():
            answers = Answer("chosen", record.chosen), Answer("rejected", record.rejected)
            return Question(record.id or id, record.prompt, record.messages, answers)
        case RankedResponses():
            return Question(record.id or id, record.prompt, record.messages, _numbered(record.responses))
        case LabelledResponse():
            return Question(record.id or id, record.prompt, record.messages, _numbered([record.completion]))
        case Comparison():
            return Question(record.id, record.prompt, (), _numbered([record.first, record.second]))
        case LabelledSteps():
            return Question(record.id, record.prompt, (), (steps_answer(record.steps, _STEP_BREAK),))
        case Trace():
            return Question(record.problem_id, record.prompt, (), (steps_answer([s.text for s in record.steps], "\n"),))
    raise InputError(f"{id}: expected a record with answers to score, got {type(record).__name__}")


def ask(prompt: str, texts: Sequence[str]) -> Question:
    """Texts to score as answers to a prompt."""
    return Question("", prompt, (), _numbered(texts))


def _numbered(texts: Sequence[str]) -> tuple[Answer, ...]:
    return tuple(Answer(index, text) for index, text in enumerate(texts))


def steps_answer(steps: Sequence[str], between: str) -> Answer:
    """An answer of steps, with what stands between them."""
    parts = (*(step + between for step in steps[:-1]), steps[-1])
    return Answer(0, "".join(parts), parts)


def split_parts(text: str) -> tuple[str, ...]:
    """Paragraphs of a text that has several, else its lines, each with the breaks behind it.

    A part without a word belongs to the one before, at the start to the one behind.
    """
    parts = _cut(text, _STEP_BREAK)
    return tuple(parts if len(parts) > 1 else _cut(text, "\n"))


def _cut(text: str, at: str) -> list[str]:
    pieces = text.split(at)
    parts: list[str] = []
    for piece in (*(piece + at for piece in pieces[:-1]), pieces[-1]):
        if parts and not (piece.strip() and parts[-1].strip()):
            parts[-1] += piece
        else:
            parts.append(piece)
    return parts


class TextScores(NamedTuple):
    """One entry per text, in the order given."""

    trace: np.ndarray
    """Float[texts]"""
    steps: list[list[float]]
    step_texts: list[tuple[str, ...]]


class AnswerScores(NamedTuple):
    """One entry per answer, in order."""

    trace: np.ndarray
    """Float[answers]; -inf where there is no score."""
    steps: list[list[float]]
    step_texts: list[tuple[str, ...]]
    reasons: list[str]
    """Why an answer has no score; empty where it has one."""


class AnswerScorer(ABC):
    """A reward model of any kind."""

    spec: ScoreSpec
    domain: ReadsTexts | None = None
    """The domain of the traces, where the model names one."""
    judges_end: bool = True
    """Whether the score of an answer depends on where the answer ends."""

    @abstractmethod
    def answers(self, questions: Sequence[Question]) -> AnswerScores:
        """An entry per answer. InputError for a score that is not finite: the weights are to blame, not the answer."""

    def unread(self, questions: Iterable[Question], file: Path) -> str:
        """The answers of a file in which the model reads nothing. InputError where those are all."""
        return ""

    def remark(self, questions: Iterable[Question], file: Path) -> str:
        """What the model cannot judge in the questions of a file. InputError where that is all of them."""
        return "\n".join(filter(None, (self.unread(questions, file), "" if self.judges_end else NO_END)))


class ScoresTexts(Protocol):
    """A reward as the stages of a run use it: scores of (prompt, text) pairs."""

    @property
    def spec(self) -> ScoreSpec: ...

    def __call__(
        self, prompts: Sequence[str], texts: Sequence[str], ended: Sequence[bool] | None = None
    ) -> TextScores: ...


class AnswersAsTexts:
    """Any scorer of answers as one of (prompt, text) pairs, of which equal ones are scored once.

    Every text is read as a whole answer; one that the model cannot read scores -inf.
    """

    def __init__(self, scorer: AnswerScorer):
        self._scorer, self.spec = scorer, scorer.spec

    def __call__(self, prompts: Sequence[str], texts: Sequence[str], ended: Sequence[bool] | None = None) -> TextScores:
        number: dict[tuple[str, str], int] = {}
        index = [number.setdefault(pair, len(number)) for pair in zip(prompts, texts, strict=True)]
        scores = self._scorer.answers([ask(prompt, [text]) for prompt, text in number])
        steps, texts_of = [scores.steps[i] for i in index], [scores.step_texts[i] for i in index]
        return TextScores(scores.trace[np.array(index, int)], steps, texts_of)


def answer_names(questions: Iterable[Question]) -> list[str]:
    """What errors call each answer."""
    return [f"{question.id}, candidate {answer.name}" for question in questions for answer in question.answers]


def require_text(answer: Answer) -> None:
    """InputError for an answer that has nothing to score."""
    if not answer.text.strip():
        raise InputError("an empty answer has no score; leave it out, or write what was answered")


def require_length(text: str, max_tokens: int | None) -> None:
    """InputError for a text that is over the limit whatever its tokens are."""
    if max_tokens is not None and len(text) > CHARACTERS_PER_TOKEN * max_tokens:
        raise InputError(f"{len(text)} characters are over the limit of {max_tokens} tokens; {RAISE_LIMIT}")


def require_tokens(tokens: int, max_tokens: int | None) -> None:
    """InputError for more tokens than the limit."""
    if max_tokens is not None and tokens > max_tokens:
        raise InputError(f"{tokens} tokens are over the limit of {max_tokens}; {RAISE_LIMIT}")


def check_finite(names: Iterable[str], scores: Sequence[Sequence[float]]) -> None:
    """InputError that names the first text with a score that is not a finite number."""
    for name, row in zip(names, scores, strict=True):
        bad = next((score for score in row if not math.isfinite(score)), None)
        if bad is not None:
            advice = "the model overflows: score in float32, or take an earlier checkpoint"
            raise InputError(f"{name}: the score is {bad}, not a finite number; {advice}")


def score_readable(
    questions: Sequence[Question],
    read: Sequence[Readable | str],
    score: Callable[[Sequence[Readable], Sequence[str]], TextScores],
) -> AnswerScores:
    """The scores of all answers of which some cannot be read.

    Args:
        questions: The questions.
        read: What the model reads of every answer, or the reason why it cannot.
        score: Scores of what it reads; the second argument is how errors call each answer.
    """
    named = zip(answer_names(questions), read, strict=True)
    kept = [(name, entry) for name, entry in named if not isinstance(entry, str)]
    scores = score([entry for _, entry in kept], [name for name, _ in kept])
    scored = iter(zip(scores.trace, scores.steps, scores.step_texts, strict=True))
    entries = [(-np.inf, [], ()) if isinstance(entry, str) else next(scored) for entry in read]
    return AnswerScores(
        trace=np.array([trace for trace, _, _ in entries], np.float64),
        steps=[steps for _, steps, _ in entries],
        step_texts=[texts for _, _, texts in entries],
        reasons=[entry if isinstance(entry, str) else "" for entry in read],
    )
