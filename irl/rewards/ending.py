"""The end of a trace as a step of its own, for scorers that judge single steps.

    regret = log p(end | last step) - max_a log p(a | last step) <= 0
    trace score = aggregate of the step scores - COST * min(-regret / DECIDED, 1)

p is a soft Q-function of the ends of demonstrations (reward_models/networks/regret.py). Where ending is the likeliest
decision the end costs nothing, so complete traces keep their order. A trace that stops early pays COST, whatever the
exact regret is: candidates that all end in an unknown way keep their order, too. Step scores do not change.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from irl.rewards.questions import AnswerScorer, AnswerScores, Question

COST = 50.0
"""Nats that a trace without an end pays: more than the worst step of BIG-Bench-Mistake's traces, which costs 30."""
DECIDED = 4.6
"""Regret from which a trace has no end: ending has odds of 1 to 100."""


def end_score(regret: np.ndarray) -> np.ndarray:
    """Score of the end of each trace, in nats, at most 0."""
    return COST * np.maximum(regret / DECIDED, -1.0)


class EndedAnswers(AnswerScorer):
    """Scores of answers by `scorer`, each with the score of its end added once."""

    def __init__(self, scorer: AnswerScorer, ending: AnswerScorer):
        self._scorer, self._ending = scorer, ending
        self.spec, self.domain = scorer.spec, scorer.domain

    def answers(self, questions: Sequence[Question]) -> AnswerScores:
        """As those of `scorer`; an answer that it refuses keeps its reason."""
        scores, ends = self._scorer.answers(questions), self._ending.answers(questions)
        refused = np.array([bool(reason) for reason in scores.reasons], bool)
        return scores._replace(trace=scores.trace + np.where(refused, 0.0, end_score(ends.trace)))

    def unread(self, questions: Iterable[Question], file: Path) -> str:
        return self._scorer.unread(questions, file)
