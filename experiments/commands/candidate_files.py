"""What `score`, `rerank` and `evaluate` share: a model folder as a scorer, and candidates scored file by file."""

import itertools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from experiments.core.outputs import check_output
from irl.data.formats import read_candidates
from irl.data.json_lines import json_line, write_json_lines
from irl.rewards.questions import AnswerScorer, AnswerScores, Question, question_of
from irl.types import Candidates, InputError

PROBLEMS_AT_ONCE = 64


def scored(scorer: AnswerScorer, path: Path, skipped: "Skipped") -> Iterator[tuple[Candidates, AnswerScores]]:
    """Every problem of a file with the scores of its candidates, in the file's order, in constant memory."""
    records = track(read_candidates(path), description=f"scoring {path.name}", console=Console(stderr=True))
    row = 0
    for block in _blocks(records):
        asked = [question_of(record, record.id) for record in block]
        scores = named(scorer, path)(asked)
        start = 0
        for record, question in zip(block, asked, strict=True):
            row += 1
            span = slice(start, start + len(record.candidates))
            part = AnswerScores(scores.trace[span], scores.steps[span], scores.step_texts[span], scores.reasons[span])
            skipped.add(row, question, part.reasons)
            yield record, part
            start = span.stop


def questions(path: Path) -> Iterator[Question]:
    """The problems of a file of candidates as questions."""
    return (question_of(record, record.id) for record in read_candidates(path))


def named(scorer: AnswerScorer, path: Path) -> Callable[[Sequence[Question]], AnswerScores]:
    """`scorer.answers`, with the file in front of its errors."""

    def score(questions: Sequence[Question]) -> AnswerScores:
        try:
            return scorer.answers(questions)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    return score


class Skipped:
    """The candidates that have no score: their number, and the first of them with their reasons."""

    LISTED = 20

    def __init__(self, path: Path, strict: bool = False):
        self._path, self._strict = path, strict
        self._listed: list[str] = []
        self.count = self.scored = 0

    def add(self, row: int, question: Question, reasons: Sequence[str]) -> None:
        """Count the answers of a question. InputError for the first one without a score if `strict`."""
        for answer, reason in zip(question.answers, reasons, strict=True):
            self.scored += not reason
            if not reason:
                continue
            place = f"row {row}" if question.id == f"row-{row}" else f"row {row} ({question.id})"
            line = f"{place}, candidate {answer.name}: {reason}"
            if self._strict:
                raise InputError(f"{self._path}: {line}; without --strict it is skipped")
            self.count += 1
            if len(self._listed) < self.LISTED:
                self._listed.append(line)

    def add_scored(self, count: int) -> None:
        """Count candidates that were scored by an earlier run."""
        self.scored += count

    def report(self) -> list[str]:
        """Lines for a person. InputError where no candidate at all has a score."""
        if not self.count:
            return []
        if not self.scored:
            raise InputError(f"{self._path}: none of its {self.count} candidates has a score: {self._listed[0]}")
        more = self.count - len(self._listed)
        head = f"{self._path}: {self.count} of {self.count + self.scored} candidates have no score"
        return [head, *(f"  {line}" for line in self._listed), *([f"  ... and {more} more"] if more else [])]


def _blocks(records) -> Iterator[list[Candidates]]:
    records = iter(records)
    while block := list(itertools.islice(records, PROBLEMS_AT_ONCE)):
        yield block


def finite(scores: Sequence[float] | np.ndarray) -> list[float | None]:
    """Scores as JSON has them: a candidate without any step has none."""
    return [float(score) if np.isfinite(score) else None for score in scores]


def output_file(output: Path, inputs: Path, models: Sequence[Path]) -> None:
    """InputError for an output that cannot become a file, or that would replace an input."""
    real = check_output(output, inputs=[inputs], models=models)
    if real.is_dir():
        raise InputError(f"--output {output}: is a folder; name a file")
    if real.exists() and not real.is_file():
        raise InputError(f"--output {output}: is not a regular file; without --output, scores go to standard output")


def write_answers(output: Path | None, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a JSON line per row to a file, which appears when it is complete, or to standard output."""
    if output is not None:
        return write_json_lines(output, rows)
    count = 0
    for row in rows:
        print(json_line(row).decode(), end="")
        count += 1
    return count


def say(message: str) -> None:
    print(message, file=sys.stderr)
