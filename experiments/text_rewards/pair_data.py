"""Preference pairs for reward models: files of any format as pairs with weights, split by prompt.

Training pairs whose prompt is in a test file are left out, whatever their answers (experiments/core/overlap.py).

A comparison with votes becomes both of its orders, weighted by the share of judges for each (a tie counts half for
both): Bradley-Terry's loss on them is the cross-entropy to the share of votes. A ranking becomes its pairs.
"""

import itertools
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from experiments.core.overlap import (
    PARTS,
    Overlap,
    file_labels,
    parts_by_prompt,
    refuse_repeated_files,
    without_overlap,
)
from experiments.text_rewards.step_data import check_shares
from irl.data import read_records
from irl.rewards.questions import Question, question_of
from irl.types import Comparison, InputError, Preference, RankedResponses
from reward_models.ranges import Files, Name, OpenShare, Share
from reward_models.records import record


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
    """Files of pairs in any format (irl/data)."""

    train: Files
    """Part of their prompts is held out: for temperature and width of ties, and for the report."""
    test: tuple[str, ...] = ()
    """Reported whole, never trained on."""
    format: Name | None = None
    validation: OpenShare = 0.15
    held_out: Share = 0.25

    def __post_init__(self):
        check_shares("PairFiles.held_out", self.held_out, self.validation)
        refuse_repeated_files({"PairFiles.train": self.train, "PairFiles.test": self.test})

    def about(self) -> str:
        """A sentence for the model card."""
        return f"preference pairs of {', '.join(Path(file).name for file in self.train)}"

    def part(self, name: str) -> list[Pair]:
        """Pairs of the training files in one of the parts train, validation and test.

        InputError: every pair of the part has a prompt of a test file.
        """
        return [pair for _, pair in _by_part(self)["test"]] if name == "test" else _learned_from(self, name)[0]

    def tests(self) -> dict[str, list[Pair]]:
        """Held-out pairs of every training file, and all pairs of every test file, by a name for the file."""
        labels, held_out = file_labels([*self.train, *self.test]), _by_part(self)["test"]
        found = {labels[file]: [pair for of_file, pair in held_out if of_file == file] for file in self.train}
        return found | {labels[file]: list(read_pairs(file, self.format)) for file in self.test}

    def overlaps(self) -> list[Overlap]:
        """How many training and validation pairs were left out for their prompts, by test file."""
        return [overlap for name in ("train", "validation") for overlap in _learned_from(self, name)[1]]


@lru_cache(maxsize=4)
def _by_part(data: PairFiles) -> dict[str, list[tuple[str, Pair]]]:
    """The pairs of the training files with their file."""
    pairs = [(file, pair) for file in data.train for pair in read_pairs(file, data.format)]
    parts = parts_by_prompt([_prompt(pair) for _, pair in pairs], test=data.held_out, validation=data.validation)
    found: dict[str, list[tuple[str, Pair]]] = {name: [] for name in PARTS}
    for part, pair in zip(parts, pairs, strict=True):
        found[part].append(pair)
    return found


@lru_cache(maxsize=8)
def _learned_from(data: PairFiles, name: str) -> tuple[list[Pair], list[Overlap]]:
    """The pairs of train or validation without those whose prompt is in a test file."""
    labels = file_labels([*data.train, *data.test])
    tests = {f"test set {labels[file]}": map(_prompt, read_pairs(file, data.format)) for file in data.test}
    called = {"train": "training pairs"}.get(name, f"{name} pairs")
    return without_overlap(called, [pair for _, pair in _by_part(data)[name]], _prompt, tests, "data.train")


def _prompt(pair: Pair) -> str:
    return pair.question.prompt


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
