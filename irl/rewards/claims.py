"""Scores of steps by what they claim: the lowest score of a token of a claim.

A domain writes the claims (irl/text/readings.py). A step is as good as its worst claim; one that claims nothing
scores 0.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from irl.limits import MAX_TOKENS
from irl.rewards.questions import (
    Answer,
    AnswerScorer,
    AnswerScores,
    Question,
    TextScores,
    check_finite,
    require_length,
    require_text,
    score_readable,
    split_parts,
)
from irl.rewards.rows import RowScorer, step_scores
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from irl.text.readings import Reading
from irl.types import InputError
from reward_models.networks.base import Network, Params


class ClaimScorer(AnswerScorer):
    """Scores of steps by what they claim; equal claims are scored once."""

    def __init__(
        self,
        network: Network,
        params: Params,
        reading: Reading,
        encoder: TextEncoder,
        max_tokens: int = MAX_TOKENS,
    ):
        self._score = RowScorer(network, params, pad=encoder.pad)
        self._encoder = encoder
        self.reading = reading
        self.max_tokens = max_tokens
        self.spec = network.spec
        self.judges_end = reading.judges_end

    def answers(self, questions: Sequence[Question]) -> AnswerScores:
        """An entry per answer, in order: its steps (paragraphs or lines) by their claims, and their minimum.

        Answers that are empty or too long have a reason instead of a score.
        """
        read = [self._read(question.prompt, answer) for question in questions for answer in question.answers]
        return score_readable(questions, read, self._scores_of)

    def _scores_of(self, traces: Sequence[tuple[str, tuple[str, ...]]], names: Sequence[str]) -> TextScores:
        found = self(traces)
        steps = [row.tolist() for row in found]
        check_finite(names, steps)
        return TextScores(np.array([row.min() for row in found]), steps, [texts for _, texts in traces])

    def unread(self, questions: Iterable[Question], file: Path) -> str:
        """The number of answers in which nothing is read. InputError where that is all of them."""
        count = [0, 0]
        for question in questions:
            for answer in question.answers:
                steps = answer.parts or split_parts(answer.text)
                count[any(self.reading.read(question.prompt, [step.strip("\n") for step in steps]))] += 1
        silent, claiming = count
        if silent and not claiming:
            none = f"none of its {silent} candidates {self.reading.wanted}"
            raise InputError(
                f"{file}: {none}, and this model reads nothing else; use the process model of the same run"
            )
        some = f"{silent} of {silent + claiming} candidates {self.reading.lack} and score 0, as if all were right"
        return some if silent else ""

    def _read(self, prompt: str, answer: Answer) -> tuple[str, tuple[str, ...]] | str:
        """(prompt, steps) of an answer, or the reason why it has no score."""
        try:
            require_text(answer)
            require_length(prompt + answer.text, self.max_tokens)
        except InputError as error:
            return str(error)
        return prompt, tuple(part.strip("\n") for part in answer.parts or split_parts(answer.text))

    def __call__(self, traces: Iterable[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        """Step scores (nats, at most 0) of traces given as problems and step texts."""
        whole = [(problem, steps, True) for problem, steps in traces]
        parts, counts = self.reading.parts(self._encoder, whole), [len(steps) for _, steps, _ in whole]
        return step_scores(parts, counts, self._scores, np.minimum)

    def _scores(self, rows: Sequence[EncodedTrace]) -> np.ndarray:
        """Float[rows, 1]: the score of each window, 0 for those that are too long."""
        fits = [self._encoder.fits(row) for row in rows]
        out = np.zeros((len(rows), 1), np.float32)
        if any(fits):
            out[fits] = self._score([row for row, fit in zip(rows, fits, strict=True) if fit]).step[:, :1]
        return out
