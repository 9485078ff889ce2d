"""Preference pairs for reward models: files of any format as pairs with weights, split by prompt.

A comparison with votes becomes both of its orders, weighted by the share of judges for each (a tie counts half for
both): Bradley-Terry's loss on them is the cross-entropy to the share of votes. A ranking becomes its pairs.
"""

import itertools
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from experiments.step_data import check_shares
from irl.traces.questions import Question, question_of
from irl.traces.reward_data import read_records
from irl.types import Comparison, InputError, Preference, RankedResponses
from reward_models.ranges import Files, Name, OpenShare, Share
from reward_models.records import record

PARTS = ("train", "validation", "test")


class Pair(NamedTuple):
    """Two answers to one prompt; `share` of the judges prefer the first."""

    question: Question
    """Its two answers, first and second."""
    share: float

    @property
    def outcome(self) -> int:
        """1 where most judges prefer the first, -1 the second, 0 a tie."""
        return (self.share > 0.5) - (self.share < 0.5)

    def side(self, index: int) -> Question:
        return self.question._replace(answers=(self.question.answers[index],))


@record
class PairFiles:
    """Files of pairs in any format (irl/traces/reward_data)."""

    train: Files
    """Part of their prompts is held out: for temperature and width of ties, and for the report."""
    test: tuple[str, ...] = ()
    """Reported whole, never trained on."""
    format: Name | None = None
    validation: OpenShare = 0.15
    held_out: Share = 0.25

    def __post_init__(self):
        check_shares("PairFiles.held_out", self.held_out, self.validation)

    def about(self) -> str:
        """A sentence for the model card."""
        return f"preference pairs of {', '.join(Path(file).name for file in self.train)}"

    def part(self, name: str) -> list[Pair]:
        """Pairs of the training files in one of `PARTS`."""
        return [pair for file in self.train for pair in read_pairs(file, self.format) if self._where(pair) == name]

    def tests(self) -> dict[str, list[Pair]]:
        """Held-out pairs of every file by its name."""
        held_out = {file: [p for p in read_pairs(file, self.format) if self._where(p) == "test"] for file in self.train}
        whole = {file: list(read_pairs(file, self.format)) for file in self.test}
        return {Path(file).name.split(".")[0]: pairs for file, pairs in (held_out | whole).items()}

    def _where(self, pair: Pair) -> str:
        """By a hash of the prompt: pairs of one prompt stay together, and nothing depends on order."""
        share = zlib.crc32(pair.question.prompt.encode()) / 2**32
        return "test" if share < self.held_out else "validation" if share < self.held_out + self.validation else "train"


@lru_cache(maxsize=16)
def read_pairs(file: str, format: str | None) -> tuple[Pair, ...]:
    """The pairs of a file, first the preferred where there is one; InputError where it has other records."""
    pairs = tuple(pair for record in read_records(file, format) for pair in _pairs(file, record))
    if not pairs:
        raise InputError(f"{file}: has no pairs; give a file of preferences, comparisons or rankings")
    return pairs


def _pairs(file: str, record: object) -> Sequence[Pair]:
    match record:
        case Preference():
            return [Pair(question_of(record, record.id), 1.0)]
        case Comparison():
            votes = record.first_votes + record.tie_votes + record.second_votes
            return [Pair(question_of(record, record.id), (record.first_votes + record.tie_votes / 2) / votes)]
        case RankedResponses():
            whole, ranks = question_of(record, record.id), record.ranks
            return [_ranked(whole, ranks, i, j) for i, j in itertools.combinations(range(len(ranks)), 2)]
    raise InputError(f"{file}: expected preferences, comparisons or rankings, got {type(record).__name__}")


def _ranked(whole: Question, ranks: Sequence[int], first: int, second: int) -> Pair:
    """Two answers of a ranking; lower is better."""
    share = 0.5 if ranks[first] == ranks[second] else float(ranks[first] < ranks[second])
    return Pair(whole._replace(answers=(whole.answers[first], whole.answers[second])), share)
