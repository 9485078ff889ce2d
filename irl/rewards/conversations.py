"""Scores of answers from models that read whole texts: from records of any format to what such a model says of them.

A question with an answer becomes one text. Where the model's folder has a chat template, it writes the turns of the
question (a prompt without turns is one user turn) and the answer as the assistant's turn, with all special tokens in
it; otherwise the text is prompt + answer, and the tokenizer adds its own special tokens. What the tokenizer would cut
off or pad is neither cut nor padded.

The answer is where the template puts it: the text is written once more with a mark in the answer's place, and what
stands before and after the mark is not the answer. A token belongs to the answer when it ends inside it, and to the
step in which it starts. Networks that are read at the ends of steps (StepEnds) get the steps of the answer: paragraphs
where it has any, else lines; each keeps the line breaks behind it. Where such a network wants a marker token, every
step ends with it instead of with line breaks. To all others an answer is one step.

As with transformers, text that spells a special token is that token.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from tokenizers import Tokenizer

from irl.data.messages import message_rows, shared_length
from irl.rewards.questions import (
    Answer,
    AnswerScorer,
    AnswerScores,
    Question,
    TextScores,
    answer_names,
    check_finite,
    require_length,
    require_text,
    require_tokens,
    score_readable,
    split_parts,
)
from irl.rewards.rows import RowScorer
from irl.text.chat import ChatTemplate, Key
from irl.text.hugging_face import extents
from irl.text.packing import EncodedTrace
from irl.text.tokenize import tokenizer_errors
from irl.types import InputError, Message
from reward_models.networks.base import Network, Params

_MARK = "WHAT-THE-ASSISTANT-SAYS"


class Written(NamedTuple):
    """The text that a model reads: the answer is text[start:end], its steps start at `cuts`."""

    text: str
    start: int
    end: int
    cuts: list[int]
    steps: tuple[str, ...]
    """What the steps are to a reader: without breaks and markers around them."""


class Encoded(NamedTuple):
    """An answer as the model reads it, and the texts of its steps."""

    row: EncodedTrace
    steps: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ConversationEncoder:
    """Questions with answers to token ids."""

    tokenizer: Tokenizer
    template: ChatTemplate | None = None
    by_step: bool = False
    marker: str | None = None
    """The token that ends every step, where the model wants one."""
    context: int | None = None
    """Tokens of the longest text the model reads."""
    max_tokens: int | None = None
    """Tokens of the longest text to read; no limit besides the context by default."""

    def __post_init__(self):
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()

    def many(self, questions: Sequence[Question]) -> tuple[list[EncodedTrace], list[tuple[str, ...]]]:
        """Token ids with steps, and the texts of the steps, of every answer; InputError names one that does not fit."""
        encoded = []
        for name, entry in zip(answer_names(questions), self.each(questions), strict=True):
            if isinstance(entry, str):
                raise InputError(f"{name}: {entry}")
            encoded.append(entry)
        return [entry.row for entry in encoded], [entry.steps for entry in encoded]

    def each(self, questions: Sequence[Question]) -> list["Encoded | str"]:
        """What the model reads of every answer, or the reason why an answer does not fit."""
        encoder = self._prepared(questions)
        written = [entry for question in questions for entry in encoder.written(question)]
        texts = [entry.text for entry in written if isinstance(entry, Written)]
        with tokenizer_errors("text"):
            encodings = iter(self.tokenizer.encode_batch(texts, add_special_tokens=self.template is None))
        return [entry if isinstance(entry, str) else self._encoded(entry, next(encodings)) for entry in written]

    def _prepared(self, questions: Sequence[Question]) -> "ConversationEncoder":
        """This encoder, with the conversations of short answers rendered together."""
        if self.template is None:
            return self
        conversations = [each for question in questions for each in self._conversations(question)]
        return replace(self, template=self.template.prepared(conversations))

    def _conversations(self, question: Question) -> Iterator[Key]:
        """What `_writer` renders for a question and its answers."""
        turns = [(turn.role, turn.content) for turn in question.messages] or [("user", question.prompt)]
        for text in (_MARK, *map(self._content, question.answers)):
            yield (*turns, ("assistant", text))

    def _content(self, answer: Answer) -> str:
        return "".join(self._answer_parts(answer))

    def _answer_parts(self, answer: Answer) -> tuple[str, ...]:
        return self._parts(answer.parts or split_parts(answer.text) if self.by_step else (answer.text,))

    def written(self, question: Question) -> Iterator[Written | str]:
        """The text of every answer of a question, or the reason why there is none."""
        try:
            write = self._writer(question)
        except InputError as error:
            yield from [str(error)] * len(question.answers)
            return
        for answer in question.answers:
            try:
                require_text(answer)
                require_length(question.prompt + answer.text, self.max_tokens)
                yield write(answer)
            except InputError as error:
                yield str(error)

    def _writer(self, question: Question) -> Callable[[Answer], Written]:
        """The function that writes the answers of a question. InputError for a question that cannot be written."""
        before, after = self._frame(question)

        def write(answer: Answer) -> Written:
            parts = self._answer_parts(answer)
            content = "".join(parts)
            text = self._write(question, content)
            if text == before + content + after:
                start = len(before)
                return Written(text, start, start + len(content), _starts(parts, start), self._steps(parts))
            return self._rewritten(text, before, after, parts)

        return write

    def _rewritten(self, text: str, before: str, after: str, parts: Sequence[str]) -> Written:
        """An answer that the template wrote in another way: mostly without the space around it."""
        start, end = shared_length(before, text), len(text) - shared_length(after[::-1], text[::-1])
        inside = text[start:end]
        if not inside.strip():
            raise InputError("the chat template leaves nothing of the answer; take the template of this model")
        lead = "".join(parts).find(inside)
        if lead == -1:
            parts, lead = split_parts(inside) if self.by_step else (inside,), 0
        cuts = [max(cut, start) for cut in _starts(parts, start - lead)]
        return Written(text, start, end, cuts, self._steps(parts))

    def _parts(self, parts: tuple[str, ...]) -> tuple[str, ...]:
        return parts if self.marker is None else tuple(part.rstrip("\n") + self.marker for part in parts)

    def _steps(self, parts: Sequence[str]) -> tuple[str, ...]:
        if not self.by_step:
            return tuple(parts)
        return tuple(part.removesuffix(self.marker or "").strip("\n") for part in parts)

    def _frame(self, question: Question) -> tuple[str, str]:
        """What stands before and after any answer."""
        before, mark, after = self._write(question, _MARK).rpartition(_MARK)
        if not mark:
            raise InputError("the chat template does not write what the assistant says; take another")
        return before, after

    def _write(self, question: Question, content: str) -> str:
        if self.template is None:
            return question.prompt + content
        turns = question.messages or (Message(role="user", content=question.prompt),)
        return self.template.render(message_rows([*turns, Message(role="assistant", content=content)]))

    def _encoded(self, written: Written, encoding: Any) -> "Encoded | str":
        try:
            return Encoded(self._row(written, encoding), written.steps)
        except InputError as error:
            return str(error)

    def _row(self, written: Written, encoding: Any) -> EncodedTrace:
        if self.context is not None and len(encoding.ids) > self.context:
            reason = f"{len(encoding.ids)} tokens are over the model's context of {self.context}"
            raise InputError(f"{reason}; shorten it or leave it out, nothing is cut")
        require_tokens(len(encoding.ids), self.max_tokens)
        starts, ends = extents(encoding)
        step = np.searchsorted(written.cuts, starts, side="right") - 1
        inside = (ends > written.start) & (starts < written.end) & (ends > starts)
        step_id = np.where(inside, np.maximum(step, 0), -1)
        for index in sorted(set(range(len(written.steps))) - set(step_id.tolist())):
            reason = f"step {index} ({written.steps[index][:40]!r}) has no token of its own"
            raise InputError(f"{reason}; the tokenizer does not fit such text")
        return EncodedTrace(encoding.ids, step_id.tolist())


def _starts(parts: Sequence[str], first: int) -> list[int]:
    """Where each part starts when the first starts at `first`."""
    return list(itertools.accumulate((len(part) for part in parts[:-1]), initial=first))


class ConversationScorer(AnswerScorer):
    """Scores of the answers of questions."""

    def __init__(
        self, network: Network, params: Params, encoder: ConversationEncoder, *, tokens_per_batch: int = 8_192
    ):
        self._score, self._encoder = RowScorer(network, params, tokens_per_batch=tokens_per_batch), encoder
        self.spec = network.spec
        self.judges_end = not encoder.by_step

    def __call__(self, questions: Sequence[Question]) -> TextScores:
        """An entry per answer, in order. InputError names an answer that does not fit."""
        rows, texts = self._encoder.many(questions)
        return self._scores([Encoded(*entry) for entry in zip(rows, texts, strict=True)], answer_names(questions))

    def answers(self, questions: Sequence[Question]) -> AnswerScores:
        """An entry per answer, in order. Those that do not fit have a reason instead of a score."""
        return score_readable(questions, self._encoder.each(questions), self._scores)

    def _scores(self, encoded: Sequence[Encoded], names: Sequence[str]) -> TextScores:
        scores = self._score([entry.row for entry in encoded])
        trace = scores.trace.astype(np.float64)
        steps = [row[: len(entry.steps)].tolist() for row, entry in zip(scores.step, encoded, strict=True)]
        check_finite(names, [[*row, score] for row, score in zip(steps, trace.tolist(), strict=True)])
        return TextScores(trace, steps, [entry.steps for entry in encoded])
