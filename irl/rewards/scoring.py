"""Scores of texts: the way from candidates as people have them to what a reward model says of them."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import numpy as np

from irl.domains.base import ReadsTexts
from irl.limits import MAX_TOKENS
from irl.rewards.questions import (
    AnswerScorer,
    AnswerScores,
    Question,
    TextScores,
    check_finite,
    require_length,
    require_tokens,
    score_readable,
)
from irl.rewards.rows import RowScorer, step_scores
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from irl.text.tokenize import UNKNOWN
from irl.text.windows import WHOLE_TRACE, WholeTrace, Windows, windows_of
from irl.types import InputError
from reward_models.aggregation import aggregate_rows
from reward_models.networks.base import Network, Params

_KNOWN_SHARE = 0.5
"""An answer is scored when at least this share of its characters is known to the tokenizer."""


class TextScorer(AnswerScorer):
    """Scores (prompt, text) pairs; equal windows are scored once. A text without any step scores -inf.

    Every text pays, once, for ending where it ends; a text that is still being written (`ended` False) does not.

    The score of a step is the sum over its windows (irl/text/windows.py); the declared aggregate is taken here.
    """

    def __init__(
        self,
        network: Network,
        params: Params,
        encoder: TextEncoder,
        split_steps: Callable[[str], tuple[str, ...]],
        *,
        windows: Windows = WHOLE_TRACE,
        domain: ReadsTexts | None = None,
        max_tokens: int = MAX_TOKENS,
        tokens_per_batch: int = 8_192,
    ):
        """`max_tokens` limits what `answers` reads of one answer, over all windows."""
        self._score = RowScorer(network, params, pad=encoder.pad, tokens_per_batch=tokens_per_batch)
        self._encoder, self._split, self._windows, self._max_tokens = encoder, split_steps, windows, max_tokens
        self.spec, self.domain = network.spec, domain
        self._unknown = encoder.tokenizer.token_to_id(UNKNOWN)

    @cached_property
    def _single(self) -> dict[int, None]:
        """The characters that have a token of their own."""
        return {ord(token): None for token in self._encoder.tokenizer.get_vocab() if len(token) == 1}

    def __call__(
        self,
        prompts: Sequence[str],
        texts: Sequence[str],
        ended: Sequence[bool] | None = None,
        names: Sequence[str] | None = None,
    ) -> TextScores:
        """Scores of texts, one per (prompt, text).

        Args:
            prompts: The prompt of each text.
            texts: Traces as texts.
            ended: Whether each text ends its trace; all do by default.
            names: How errors call each text; by its prompt and number by default.
        """
        ends = [True] * len(texts) if ended is None else ended
        split = {text: self._split(text) for text in dict.fromkeys(texts)}
        asked = list(zip(prompts, texts, ends, strict=True))
        traces = list(dict.fromkeys(asked))
        judged = iter(self._steps([(prompt, split[text], end) for prompt, text, end in traces if split[text]]))
        steps = {trace: next(judged) if split[trace[1]] else [] for trace in traces}
        rows = [steps[trace] for trace in asked]
        trace = aggregate_rows(rows, self.spec.aggregate)
        named = _names(prompts, texts) if names is None else names
        check_finite(named, [[*row, score] if row else [] for row, score in zip(rows, trace.tolist(), strict=True)])
        return TextScores(trace, rows, [split[text] for text in texts])

    def _steps(self, traces: Sequence[tuple[str, tuple[str, ...], bool]]) -> list[list[float]]:
        """Step scores of (prompt, steps, ended) that have steps."""
        parts, counts = self._windows.parts(self._encoder, traces), [len(steps) for _, steps, _ in traces]
        return [row.tolist() for row in step_scores(parts, counts, self.score_rows, np.add)]

    def score_rows(self, rows: Sequence[EncodedTrace]) -> np.ndarray:
        """Step scores [rows, steps] of encoded rows."""
        return self._score(rows).step

    def answers(self, questions: Sequence[Question]) -> AnswerScores:
        """An entry per answer, in order. Those that do not fit have a reason instead of a score."""
        read = [entry for question in questions for entry in self._read(question)]
        return score_readable(questions, read, self._scores_of)

    def _scores_of(self, asked: Sequence[tuple[str, str]], names: Sequence[str]) -> TextScores:
        return self([prompt for prompt, _ in asked], [text for _, text in asked], names=names)

    def _read(self, question: Question) -> list[tuple[str, str] | str]:
        """(prompt, text) of every answer, or the reason why it does not fit."""
        try:
            require_length(question.prompt, self._max_tokens)
            windows_of(self.domain).read(question.prompt, ("",))  # it may refuse the prompt
        except InputError as error:
            return [str(error)] * len(question.answers)
        return [
            self._reason(question.prompt, answer.text) or (question.prompt, answer.text) for answer in question.answers
        ]

    def _reason(self, prompt: str, text: str) -> str:
        try:
            require_length(prompt + text, self._max_tokens)
            steps = self._split(text)
            if not steps:
                raise InputError("there is no step in it; leave it out, or write what was answered")
            self._require_known(text)
            self._require_tokens(prompt, steps, len(prompt) + len(text) * (1 if text.isascii() else 4))
        except InputError as error:
            return str(error)
        return ""

    def _require_known(self, text: str) -> None:
        """InputError for a text of mostly unknown characters; characters with a token of their own are known."""
        if self._unknown is None or len(text.translate(self._single)) <= (1 - _KNOWN_SHARE) * len(text):
            return
        ids = self._encoder.tokenizer.encode(text, add_special_tokens=False).ids
        unknown = ids.count(self._unknown)
        if unknown > (1 - _KNOWN_SHARE) * len(text):
            share = f"{unknown} of its {len(text)} characters are unknown to the model's tokenizer"
            raise InputError(f"{share}; take a model of this domain, or leave it out")

    def _require_tokens(self, prompt: str, steps: Sequence[str], size: int) -> None:
        """InputError where the model would read too many tokens: no check for a text of few bytes, its most tokens."""
        most = size + len(steps) + 3
        whole = isinstance(self._windows, WholeTrace)
        if most * (1 if whole else 2 * len(steps)) <= self._max_tokens:
            return
        require_tokens(self._tokens(WHOLE_TRACE, prompt, steps), self._max_tokens)
        if not whole:
            windows = [window for each in self._windows.read(prompt, steps) for window in each]
            require_tokens(sum(len(window.before) for window in windows), self._max_tokens)  # of a token each at least
            require_tokens(self._tokens(self._windows, prompt, steps), self._max_tokens)

    def _tokens(self, windows: Windows, prompt: str, steps: Sequence[str]) -> int:
        (parts,) = windows.parts(self._encoder, [(prompt, steps, True)])
        return sum(len(row.tokens) for row, _ in parts)


def _names(prompts: Sequence[str], texts: Sequence[str]) -> Iterator[str]:
    """What errors call each text: its prompt and its number among the texts of this prompt."""
    count: dict[str, int] = {}
    for prompt, text in zip(prompts, texts, strict=True):
        number = count[prompt] = count.get(prompt, -1) + 1
        yield f"prompt {prompt[:40]!r}, candidate {number} ({text[:40]!r})"
