"""How often a scorer ranks the better trace of a labelled test pair first. Labels of test prompts are report only."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from experiments.core.workspace import Workspace
from experiments.traces.guided_search import log_prob_of_rows
from irl.domains.base import HasLabels
from irl.evaluation.estimators import bootstrap_interval
from irl.policies.base import FittedPolicy
from irl.rewards.questions import ScoresTexts

PAIRS = 2000
"""The most test pairs that are scored."""


def pair_rows(workspace: Workspace, policy: FittedPolicy, scorers: Mapping[str, ScoresTexts]) -> list[dict[str, Any]]:
    """Rows for the report; none where the files have no labels of test prompts.

    The interval is a bootstrap over prompts; equal scores count one half.
    """
    domain, encoder = workspace.environment, workspace.encoder
    judged = domain.judged("test") if isinstance(domain, HasLabels) else []
    sides = [(pair.prompt, steps, pair.ended) for pair in judged for steps in (pair.better, pair.worse)]
    rows = encoder.many(*map(list, zip(*sides, strict=True))) if sides else []
    fitting = [i for i in range(len(judged)) if encoder.fits(rows[2 * i]) and encoder.fits(rows[2 * i + 1])][:PAIRS]
    if not fitting:
        return []
    index = [j for i in fitting for j in (2 * i, 2 * i + 1)]
    prompts, steps, ended = zip(*(sides[j] for j in index), strict=True)
    texts = ["\n".join(each) for each in steps]
    log_prob = log_prob_of_rows(encoder, policy, [rows[j] for j in index])
    length = np.array([len(rows[j].tokens) - rows[j].step_id.index(0) for j in index])
    scores = [(name, s.spec.information, s(prompts, texts, ended).trace) for name, s in scorers.items()]
    scores += [("log-probability (sum)", "none", log_prob), ("log-probability (mean)", "none", log_prob / length)]
    scores += [("shorter", "none", -length)]
    return [
        {
            "name": f"better of a labelled pair first: {name}",
            "information": level,
            "note": f"{len(fitting)} pairs of test prompts",
            **_interval(values, [judged[i].prompt for i in fitting]),
        }
        for name, level, values in scores
    ]


def _interval(scores: np.ndarray, prompts: Sequence[str]) -> dict[str, float]:
    better, worse = np.asarray(scores).reshape(-1, 2).T
    right = (better > worse) + 0.5 * (better == worse)
    by_prompt: dict[str, list[float]] = {}
    for prompt, value in zip(prompts, right.tolist(), strict=True):
        by_prompt.setdefault(prompt, []).append(value)
    interval = bootstrap_interval(np.array([np.mean(values) for values in by_prompt.values()]))
    return {"value": interval.mean, "low": interval.low, "high": interval.high}
