"""Stage: step beam search guided by the learned reward, at the budget of a published tree search."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import Search
from irl.evaluation.estimators import bootstrap_interval
from irl.guidance.beam import BeamSettings, ScoreRows, step_beam_search
from irl.policies.base import FittedPolicy
from irl.rewards.questions import ScoresTexts
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from reward_models.ranges import Rows, Weight
from reward_models.records import record


@record
class BeamSearch:
    """Width and expansions; Tree of Thoughts keeps 5 states and looks at about a dozen continuations of each."""

    settings: BeamSettings = BeamSettings()
    log_prob_weight: Weight = 0.5
    """A beam's score is the learned reward plus this much of the policy's log-probability, in nats: the reward knows
    what a right step is, the policy where experts are heading."""
    problems: Rows | None = None

    def run(self, workspace: Workspace, policy: FittedPolicy, scorer: ScoresTexts) -> list[dict]:
        """Rows for the report: is the best beam right, is any."""
        saved = workspace.read_stage("search.json", Search)
        if saved is not None:
            return saved["rows"]
        problems = workspace.problems("test")[: self.problems]
        encoder = workspace.encoder
        prompts, information = [p.prompt for p in problems], scorer.spec.information
        beams, cost = step_beam_search(
            policy,
            self._score(workspace, policy, scorer),
            encoder,
            prompts,
            workspace.key("beam search"),
            self.settings,
        )
        if not workspace.environment.verifies():
            ended = np.array([any(beam.finished for beam in group) for group in beams], float)
            row = {
                "name": f"step beam search, width {self.settings.width}: a finished trace",
                "information": information,
            }
            note = f"{cost.sampled_tokens / len(problems):.0f} tokens per problem"
            rows = [{**row, **_interval(bootstrap_interval(ended)), "note": note}]
            workspace.write_json("search.json", {"rows": rows})
            return rows
        verify = workspace.environment.verify
        top, any_of = [], []
        for problem, group in zip(problems, beams, strict=True):
            texts = [encoder.decode(_response(beam.row)) for beam in group if beam.finished]
            right = [verify(problem, text).correct for text in texts]
            top.append(bool(right and right[0]))
            any_of.append(any(right))
        rows = []
        budget = f"{cost.sampled_tokens / len(problems):.0f} tokens, {cost.scored_traces / len(problems):.0f} scored"
        for name, values in (("best of the beam", top), ("any of the beam", any_of)):
            found = bootstrap_interval(np.array(values, float))
            label = f"step beam search, width {self.settings.width}: {name}"
            level = information if values is top else f"{information} + verifier to pick"
            rows.append({"name": label, **_interval(found), "information": level, "note": f"{budget} per problem"})
        workspace.write_json("search.json", {"rows": rows})
        return rows

    def _score(self, workspace: Workspace, policy: FittedPolicy, scorer: ScoresTexts) -> ScoreRows:
        """Encoded rows, finished or not, to their scores."""
        encoder = workspace.encoder

        def score(prompts: Sequence[str], rows: Sequence[EncodedTrace]) -> np.ndarray:
            ended = [row.tokens[-1] == encoder.end for row in rows]
            reward = scorer(prompts, [encoder.decode(_response(row)) for row in rows], ended).trace
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


def _response(row) -> list[int]:
    return [token for token, step in zip(row.tokens, row.step_id, strict=True) if step >= 0]


def _interval(found) -> dict[str, Any]:
    return {"value": found.mean, "low": found.low, "high": found.high}
