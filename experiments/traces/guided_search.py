"""Stage: search guided by the learned reward; by default step beam search at the budget of a published tree search."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import Search
from experiments.traces.rerank_pool import NONE
from irl.evaluation.estimators import bootstrap_interval
from irl.guidance.base import Guide, Pool, ScoreRows, Task
from irl.guidance.beam import StepBeamSearch
from irl.policies.base import FittedPolicy
from irl.rewards.questions import ScoresTexts
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from irl.types import Problem
from reward_models.ranges import Rows, Weight
from reward_models.records import record


@record
class GuidedSearch:
    """A guide on the test problems; Tree of Thoughts keeps 5 states and expands each about a dozen times."""

    guide: Guide = StepBeamSearch()
    log_prob_weight: Weight = 0.5
    """A candidate's score is the learned reward plus this much of the policy's log-probability, in nats: the reward
    knows what a right step is, the policy where experts are heading."""
    problems: Rows | None = None

    def run(self, workspace: Workspace, policy: FittedPolicy, scorer: ScoresTexts) -> list[dict]:
        """Rows for the report: is the best candidate right, is any."""
        saved = workspace.read_stage("search.json", Search)
        if saved is not None:
            return saved["rows"]
        problems = workspace.problems("test")[: self.problems]
        task = Task(problems, workspace.encoder, workspace.environment)
        pool = self.guide(policy, self._score(workspace, policy, scorer), task, workspace.key("beam search"))
        information = scorer.spec.information if self.guide.uses_score else NONE
        rows = [
            {"name": f"{self.guide.name}: {name}", "information": level, "note": _note(pool), **values}
            for name, level, values in self._outcomes(workspace, problems, pool, information)
        ]
        workspace.write_json("search.json", {"rows": rows})
        return rows

    def _outcomes(self, workspace: Workspace, problems: Sequence[Problem], pool: Pool, information: str):
        """Name, information level and interval of each row."""
        finished = [[candidate for candidate in group if candidate.finished] for group in pool.candidates]
        if not workspace.environment.verifies():
            yield "a finished trace", information, _interval([bool(group) for group in finished])
            return
        decode, verify = workspace.encoder.decode, workspace.environment.verify
        right = [
            [verify(problem, decode(candidate.row.response)).correct for candidate in group]
            for problem, group in zip(problems, finished, strict=True)
        ]
        yield "best candidate", information, _interval([bool(each and each[0]) for each in right])
        yield "any candidate", f"{information} + verifier to pick", _interval(list(map(any, right)))

    def _score(self, workspace: Workspace, policy: FittedPolicy, scorer: ScoresTexts) -> ScoreRows:
        """Encoded rows, finished or not, to their scores."""
        encoder = workspace.encoder

        def score(prompts: Sequence[str], rows: Sequence[EncodedTrace]) -> np.ndarray:
            ended = [row.tokens[-1] == encoder.end for row in rows]
            reward = scorer(prompts, [encoder.decode(row.response) for row in rows], ended).trace
            if not self.log_prob_weight:
                return reward
            return reward + self.log_prob_weight * log_prob_of_rows(encoder, policy, rows)

        return score


def log_prob_of_rows(
    encoder: TextEncoder, policy: FittedPolicy, rows: Sequence[EncodedTrace], size: int = 512
) -> np.ndarray:
    """Float[rows]: log pi of the response tokens, in nats."""
    out = np.empty(len(rows))
    for start in range(0, len(rows), size):
        part = list(rows[start : start + size])
        batch = encoder.batch(part + part[-1:] * (size - len(part)), [0] * size)
        out[start : start + size] = np.asarray(policy.model.log_prob(policy.params, batch)).sum(axis=1)[: len(part)]
    return out


def _note(pool: Pool) -> str:
    tokens, scored = (total / len(pool.candidates) for total in pool.cost)
    return f"{tokens:.0f} tokens, {scored:.0f} scored per problem"


def _interval(values: Sequence[bool]) -> dict[str, Any]:
    mean, low, high = bootstrap_interval(np.array(values, float))
    return {"value": mean, "low": low, "high": high}
