"""Stage: step beam search guided by the learned reward, at the budget of a published tree search."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from experiments.workspace import Workspace
from irl.evaluation.estimators import bootstrap_interval
from irl.guidance.beam import BeamSettings, step_beam_search
from irl.policies.language_model import LanguageModel
from irl.traces.scoring import TextScorer


@dataclass(frozen=True, kw_only=True)
class BeamSearch:
    """Width and expansions; Tree of Thoughts keeps 5 states and looks at about a dozen continuations of each."""

    settings: BeamSettings = BeamSettings()
    problems: int | None = None

    def run(self, workspace: Workspace, policy: LanguageModel, score: Callable, information: str) -> list[dict]:
        saved = workspace.read_json("search.json")
        if saved is not None:
            return saved
        problems = workspace.environment.problems("test")[: self.problems]
        encoder = workspace.encoder
        beams, cost = step_beam_search(
            policy, score, encoder, [p.prompt for p in problems], workspace.key("beam search"), self.settings
        )
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
        workspace.write_json("search.json", rows)
        return rows


def text_scores(workspace: Workspace, scorer: TextScorer):
    """The learned reward as the beam wants it: encoded rows, finished or not, to trace scores."""

    def score(rows) -> np.ndarray:
        encoder = workspace.encoder
        prompts = [encoder.decode([t for t, s in zip(*row, strict=True) if s < 0][1:]).rstrip("\n") for row in rows]
        return scorer(prompts, [encoder.decode(_response(row)) for row in rows]).trace

    return score


def _response(row) -> list[int]:
    return [token for token, step in zip(row.tokens, row.step_id, strict=True) if step >= 0]


def _interval(found) -> dict[str, Any]:
    return {"value": found.mean, "low": found.low, "high": found.high}
