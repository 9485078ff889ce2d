"""RewardBench 2: one right answer among four, and Ties, where several answers are equally right.

    subset    mean of 1 / (answers that share the highest score) where the right one is among them, else 0
    Ties      0.30 tied accuracy + 0.30 ref accuracy
              + 0.20 mean 1[gap_tied > spread] + 0.20 mean 1[min(gap_ref, gap_tied) > spread]
              + 0.01 mean tanh(min(gap_ref, gap_tied) / spread - 1)
    overall   mean of the subsets, Ties among them (six in the published set)

Of a question's answers: gap = lowest right score - highest wrong score, accurate = gap > 0; spread = highest -
lowest right score of the tied version. The question k comes as `ref:k`, with one right answer, and as `tied:k`; the
accuracies are over all of their kind, the other means over the questions with both. A spread of 0 makes the last
term +-1, and 0 where the gap is 0 too.

Malik et al. 2025 (arXiv 2506.01937); github.com/allenai/reward-bench, rewardbench/utils.py. Numbers are shares of 1
(Ties reaches 1.01). Differences:

1. Intervals: questions are resampled inside their subset; `ref:k` and `tied:k` are one question.
2. Without a ref, a tied or a shared question, Ties is undefined (NaN); there the accuracy that is missing is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from irl.evaluation.audit import Finding
from irl.evaluation.benchmarks.base import Scored, benchmark
from irl.evaluation.resampling import Weights, findings, weighted_mean
from irl.types import Candidates, InputError

TIES = "Ties"
OVERALL = "overall"
KINDS = ("ref", "tied")


@dataclass(frozen=True, kw_only=True)
class Item:
    """A row of the benchmark with the scores of its answers, the `num_correct` right ones first."""

    id: str
    subset: str
    scores: Sequence[float]
    num_correct: int = 1

    def __post_init__(self):
        where = f"item {self.id!r}"
        if not 1 <= self.num_correct < len(self.scores):
            raise InputError(f"{where}: {self.num_correct} right of {len(self.scores)} answers; both kinds are needed")
        if not np.isfinite(self.scores).all():
            raise InputError(f"{where}: a score is not finite; score every answer")
        if self.subset == TIES:
            kind, _, number = self.id.partition(":")
            if kind not in KINDS or not number:
                raise InputError(f"{where}: Ties need ids such as 'ref:7' and 'tied:7'")
            if kind == "tied" and self.num_correct < 2:
                raise InputError(f"{where}: one right answer has no spread; a tied question has two or more")
        elif self.num_correct != 1:
            raise InputError(f"{where}: outside Ties one answer is right, got num_correct {self.num_correct}")


class TieStatistics(NamedTuple):
    """Per question: NaN where its `ref` or `tied` version is missing."""

    ref_gap: Float[np.ndarray, " questions"]
    tied_gap: Float[np.ndarray, " questions"]
    spread: Float[np.ndarray, " questions"]


def rewardbench2(items: Sequence[Item], *, resamples: int = 2000, seed: int = 0) -> dict[str, Finding]:
    """Score of every subset that has items, and their mean. ValueError: no items. InputError: an id twice in Ties."""
    if not items:
        raise ValueError("items: none to score")
    plain = [item for item in items if item.subset != TIES]
    credit = np.array([best_of_credit(item.scores) for item in plain])
    questions, ties = tie_statistics([item for item in items if item.subset == TIES])
    subset = np.array([item.subset for item in plain] + [TIES] * len(questions))
    present = list(dict.fromkeys(subset.tolist()))

    def statistics(w: Weights) -> dict[str, float]:
        plain_w, tied_w = np.split(w, [len(plain)])
        scores = {
            name: ties_score(ties, tied_w) if name == TIES else weighted_mean(credit[rows], plain_w[rows])
            for name, rows in ((name, subset[: len(plain)] == name) for name in present)
        }
        return {OVERALL: float(np.mean(list(scores.values())))} | scores

    counts = {name: int((subset == name).sum()) for name in present}
    return findings(
        statistics, np.arange(len(subset)), strata=subset, num_problems=counts, resamples=resamples, seed=seed
    )


@benchmark("rewardbench2", Candidates)
def rewardbench2_metrics(scored: Scored) -> dict[str, Finding]:
    """RewardBench 2 of the scores of a model."""
    return rewardbench2(
        [
            Item(
                id=each.id,
                subset=each.subset,
                scores=scores.tolist(),
                num_correct=sum(bool(candidate.correct) for candidate in each.candidates),
            )
            for each, scores in zip(scored.records, scored.trace, strict=True)
        ],
        resamples=scored.resamples,
    )


def best_of_credit(scores: Sequence[float]) -> float:
    """What the first of several answers earns: 1 as the only best, 1/m as one of m best, else 0."""
    values = np.asarray(scores, np.float64)
    best = values == values.max()
    return 1.0 / int(best.sum()) if best[0] else 0.0


def tie_statistics(items: Sequence[Item]) -> tuple[list[str], TieStatistics]:
    """The questions of Ties, by their number, and what their score is made of. InputError: an id twice."""
    by_id = {item.id: item for item in items}
    if len(by_id) < len(items):
        raise InputError(f"Ties: {len(items)} items with {len(by_id)} ids; give each row its own id")
    questions = list(dict.fromkeys(item.id.partition(":")[2] for item in items))

    def of(kind: str, statistic) -> np.ndarray:
        items = (by_id.get(f"{kind}:{question}") for question in questions)
        return np.array([statistic(item) if item else np.nan for item in items], np.float64)

    return questions, TieStatistics(of("ref", _gap), of("tied", _gap), of("tied", _spread))


def ties_score(ties: TieStatistics, weights: Weights | None = None) -> float:
    """The weighted sum of the module's head; NaN where no question has both versions."""
    w = np.ones(len(ties.spread)) if weights is None else weights
    ref, tied = ~np.isnan(ties.ref_gap), ~np.isnan(ties.tied_gap)
    both = ref & tied
    hard, spread = np.minimum(ties.ref_gap, ties.tied_gap)[both], ties.spread[both]
    with np.errstate(divide="ignore", invalid="ignore"):
        margin = np.nan_to_num(np.tanh(hard / spread - 1), nan=0.0)
    return (
        0.30 * weighted_mean(ties.tied_gap[tied] > 0, w[tied])
        + 0.30 * weighted_mean(ties.ref_gap[ref] > 0, w[ref])
        + 0.20 * weighted_mean(ties.tied_gap[both] > spread, w[both])
        + 0.20 * weighted_mean(hard > spread, w[both])
        + 0.01 * weighted_mean(margin, w[both])
    )


def _gap(item: Item) -> float:
    return float(min(item.scores[: item.num_correct]) - max(item.scores[item.num_correct :]))


def _spread(item: Item) -> float:
    right = item.scores[: item.num_correct]
    return float(max(right) - min(right))
