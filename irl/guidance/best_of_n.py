"""Best-of-n: keep the candidate the reward model likes most."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Shaped

from irl.guidance.base import Candidate, Cost, Guide, Pool, ScoreRows, Task
from irl.policies.base import FittedPolicy
from irl.policies.rollouts import sample_rows
from irl.policies.truncation import ALL_TOKENS, Truncation
from irl.text.packing import EncodedTrace
from irl.types import Problem
from reward_models.ranges import Size, Temperature
from reward_models.records import record


@record
class BestOfN(Guide):
    """Samples of each problem, ranked by their scores. Samples that do not end rank last."""

    samples: Size = 16
    temperature: Temperature = 1.0
    truncation: Truncation = ALL_TOKENS

    @property
    def name(self) -> str:
        return f"best of {self.samples}"

    def __call__(self, policy: FittedPolicy, score: ScoreRows, task: Task, key: jax.Array) -> Pool:
        prompts = [problem.prompt for problem in task.problems for _ in range(self.samples)]
        rows = sample_rows(
            policy,
            task.encoder,
            task.problems,
            self.samples,
            key,
            temperature=self.temperature,
            truncation=self.truncation,
        )
        scores = np.asarray(score(prompts, rows), float).tolist() if self.uses_score else [0.0] * len(rows)
        groups = [slice(i * self.samples, (i + 1) * self.samples) for i in range(len(task.problems))]
        pool = [self._ranked(task, each, rows[at], scores[at]) for each, at in zip(task.problems, groups, strict=True)]
        return Pool(pool, Cost(sum(len(row.response) for row in rows), len(rows) if self.uses_score else 0))

    def _ranked(
        self, task: Task, problem: Problem, rows: Sequence[EncodedTrace], scores: Sequence[float]
    ) -> list[Candidate]:
        finished = np.array([row.tokens[-1] == task.encoder.end for row in rows])
        ended, weights = np.flatnonzero(finished).tolist(), np.full(len(rows), -np.inf)
        weights[ended] = self.weights(task, problem, [rows[i] for i in ended], [scores[i] for i in ended])
        candidates = map(Candidate, rows, scores, finished.tolist(), weights.tolist())
        return sorted(candidates, key=lambda candidate: (-candidate.weight, -candidate.score))

    def weights(
        self, task: Task, problem: Problem, rows: Sequence[EncodedTrace], scores: Sequence[float]
    ) -> Sequence[float]:
        """What the finished samples of a problem are ranked by."""
        return scores


def choose(scores: Shaped[np.ndarray, " candidates"]) -> int:
    """Index of the highest score; of equal scores the first.

    Only the order of scores matters, so any increasing transform or constant per prompt chooses the same.
    Candidates that tie are taken to be duplicates: then the chosen candidate does not depend on their order.
    Costs at most log n - (n-1)/n nats of KL divergence from the policy. -inf is a legal score.
    ValueError: no candidates, more than one axis, NaN scores.
    """
    scores = np.asarray(scores)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"scores: expected one score per candidate, got shape {scores.shape}")
    if np.isnan(scores).any():
        raise ValueError(f"scores: {np.isnan(scores).sum()} of {scores.size} are NaN")
    return int(np.argmax(scores))
