"""Votes over final answers: one per sample (self-consistency), or weighted by a reward model.

An answer is a canonical text or an id. None and the id -1 mean "no answer": such a sample abstains, and only
where all abstain is the result that mark. Of tied answers the one that appears first wins.
"""

import math
from abc import abstractmethod
from collections.abc import Hashable, Sequence
from typing import ClassVar

import numpy as np
from jaxtyping import Float

from irl.guidance.base import Task
from irl.guidance.best_of_n import BestOfN
from irl.text.packing import EncodedTrace
from irl.types import InputError, Problem
from reward_models.records import record

Answer = Hashable | None


def majority(keys: Sequence[Answer] | np.ndarray) -> Answer:
    """The most frequent answer (Wang et al. 2022, arXiv:2203.11171). ValueError: no keys."""
    return weighted_majority(keys, [1.0] * len(keys))


def weighted_majority(keys: Sequence[Answer] | np.ndarray, weights: Sequence[float] | np.ndarray) -> Answer:
    """The answer whose samples have the largest sum of weights (such as exp(score): never negative).

    Sums are exactly rounded (`math.fsum`), so the order of samples matters only between tied answers. An
    answer with weight 0 still beats no answer.
    ValueError: no keys, unequal lengths, weights that are negative or not finite.
    """
    if len(keys) == 0 or len(keys) != len(weights):
        raise ValueError(f"expected as many weights as keys, at least 1: got {len(weights)} and {len(keys)}")
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise ValueError("weights must be finite and not negative; exponentiate scores first")
    votes = count_votes(keys, weights)
    return max(votes, key=lambda key: votes[key]) if votes else keys[0]


def score_weights(scores: Float[np.ndarray, " samples"], scale: float = 1.0) -> Float[np.ndarray, " samples"]:
    """exp(score / scale) of each sample, divided by the largest one; 0 for a sample without a score (-inf)."""
    known, weights = np.isfinite(scores), np.zeros(len(scores))
    if known.any():
        weights[known] = np.exp((scores[known] - scores[known].max()) / scale)
    return weights


def deviation(scores: Float[np.ndarray, " samples"]) -> float:
    """The standard deviation of scores, without those that are -inf; 1 where they do not differ."""
    known = scores[np.isfinite(scores)]
    return (float(np.std(known)) if known.size else 0.0) or 1.0


def count_votes(keys: Sequence[Answer] | np.ndarray, weights: Sequence[float] | np.ndarray) -> dict[Answer, float]:
    """The sum of weights of every answer, in the order of their first samples."""
    votes: dict[Answer, list[float]] = {}
    for key, weight in zip(keys, weights, strict=True):
        if not abstains(key):
            votes.setdefault(key, []).append(float(weight))
    return {key: math.fsum(each) for key, each in votes.items()}


def abstains(key: Answer) -> bool:
    """Whether a key means "no answer"."""
    return key in (None, -1)


class Vote(BestOfN):
    """Samples of each problem, ranked by the votes for their answers, then by their scores."""

    @abstractmethod
    def ballots(self, scores: np.ndarray) -> np.ndarray:
        """The weight of the vote of each sample of a problem."""

    def weights(
        self, task: Task, problem: Problem, rows: Sequence[EncodedTrace], scores: Sequence[float]
    ) -> Sequence[float]:
        if task.domain is None:
            raise InputError(f"{self.name}: votes count answers; give a domain that reads them")
        answers = [task.domain.answer_key(problem, task.encoder.decode(row.response)) for row in rows]
        votes = count_votes(answers, self.ballots(np.asarray(scores)))
        return [votes.get(answer, -np.inf) for answer in answers]


@record
class MajorityVote(Vote):
    """One vote for each sample (Wang et al. 2022, arXiv:2203.11171). It reads no score."""

    uses_score: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return f"majority of {self.samples}"

    def ballots(self, scores: np.ndarray) -> np.ndarray:
        return np.ones(len(scores))


@record
class WeightedVote(Vote):
    """A vote of weight exp(score) for each sample; only differences of scores within a problem count."""

    @property
    def name(self) -> str:
        return f"reward-weighted majority of {self.samples}"

    def ballots(self, scores: np.ndarray) -> np.ndarray:
        return score_weights(scores)
