"""Scores of steps by what they claim: the lowest score of a token of a claim.

A domain writes the claims (irl/text/readings.py). A step is as good as its worst claim; one that claims nothing
scores 0.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from irl.rewards.questions import (
    MAX_TOKENS,
    Answer,
    AnswerScorer,
    AnswerScores,
    Question,
    answer_names,
    require_length,
    require_text,
    scatter,
    split_parts,
)
from irl.rewards.scoring import TextScorer, TextScores, check_finite
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from irl.text.readings import ENDINGS, Reading
from irl.text.windows import StepWindow, encode_windows
from irl.types import InputError
from reward_models.networks.base import NetworkConfig, Params


class ClaimScorer(AnswerScorer):
    """Scores of steps by what they claim; equal claims are scored once."""

    def __init__(
        self,
        network: NetworkConfig,
        params: Params,
        reading: Reading,
        encoder: TextEncoder,
        max_tokens: int = MAX_TOKENS,
    ):
        self._scorer = TextScorer(network.make(), params, encoder, lambda text: (text,))
        self._encoder = encoder
        self.reading = reading
        self.max_tokens = max_tokens
        self.spec = network.make().spec
        self.judges_end = reading is ENDINGS

    def answers(self, questions: Sequence[Question]) -> AnswerScores:
        """An entry per answer, in order: its steps (paragraphs or lines) by their claims, and their minimum.

        Answers that are empty or too long have a reason instead of a score.
        """
        asked = [(question.prompt, answer) for question in questions for answer in question.answers]
        reasons = [self._reason(prompt, answer) for prompt, answer in asked]
        traces = [
            (prompt, tuple(part.strip("\n") for part in answer.parts or split_parts(answer.text)))
            for (prompt, answer), reason in zip(asked, reasons, strict=True)
            if not reason
        ]
        found = self(traces)
        trace, steps = np.array([row.min() for row in found]), [row.tolist() for row in found]
        names = answer_names(questions)
        check_finite([name for name, reason in zip(names, reasons, strict=True) if not reason], steps)
        return scatter(reasons, TextScores(trace, steps, [s for _, s in traces]))

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
            raise InputError(f"{file}: {none}, and this model reads nothing else; take the process model beside it")
        some = f"{silent} of {silent + claiming} candidates {self.reading.lack} and score 0, as if all were right"
        return some if silent else ""

    def _reason(self, prompt: str, answer: Answer) -> str:
        try:
            require_text(answer)
            require_length(prompt + answer.text, self.max_tokens)
        except InputError as error:
            return str(error)
        return ""

    def __call__(self, traces: Iterable[tuple[str, Sequence[str]]]) -> list[np.ndarray]:
        """Step scores (nats, at most 0) of traces given as problems and step texts."""
        number: dict[StepWindow, int] = {}
        index = [
            [[number.setdefault(claim, len(number)) for claim in step] for step in self.reading.read(problem, steps)]
            for problem, steps in traces
        ]
        scores = self._scores(encode_windows(self._encoder, list(number))) if number else np.zeros(0)
        return [np.array([min((float(scores[i]) for i in step), default=0.0) for step in trace]) for trace in index]

    def _scores(self, rows: Sequence[EncodedTrace]) -> np.ndarray:
        """One score a row, 0 for those that are too long."""
        fits = [self._encoder.fits(row) for row in rows]
        out = np.zeros(len(rows))
        out[fits] = self._scorer.score_rows([row for row, fit in zip(rows, fits, strict=True) if fit])[:, 0]
        return out
