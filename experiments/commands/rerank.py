"""`traceward rerank`: choose the best candidate of every problem of a file by a learned reward."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.commands.candidate_files import (
    Skipped,
    finite,
    named,
    output_file,
    questions,
    say,
    scored,
    write_answers,
)
from experiments.commands.options import RerankOptions
from experiments.core.locks import exclusive
from irl.domains.base import Environment, ReadsTexts
from irl.evaluation.estimators import bootstrap_interval
from irl.guidance.best_of_n import choose
from irl.guidance.voting import abstains, deviation, score_weights, weighted_majority
from irl.rewards import AnswerScorer
from irl.rewards.opening import open_likelihood
from irl.rewards.questions import question_of
from irl.types import Candidates, InputError, Problem


@dataclass
class Tally:
    """Per problem: whether each way of choosing was right. Only problems with labels count."""

    chosen: list[float] = field(default_factory=list)
    ballots: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)
    """Per problem, for each candidate: the number of its answer (-1 for none), whether it is right, and its score."""
    likely: list[float] = field(default_factory=list)
    likely_per_character: list[float] = field(default_factory=list)
    shortest: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    candidates: int = 0

    def add(
        self, domain: ReadsTexts | None, record: Candidates, scores: np.ndarray, log_prob: np.ndarray | None = None
    ) -> None:
        problem = Problem(id=record.id, prompt=record.prompt)
        texts = [candidate.text for candidate in record.candidates]
        self.candidates += len(texts)
        if isinstance(domain, Environment):
            for text in texts:
                outcome = _outcome(domain, problem, text)
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        labels = [candidate.correct for candidate in record.candidates]
        if any(label is None for label in labels):
            return
        right = np.array(labels, float)
        self.chosen.append(right[choose(scores)])
        if domain is not None:
            keys = [domain.answer_key(problem, text) for text in texts]
            number = {key: index for index, key in enumerate(dict.fromkeys(key for key in keys if not abstains(key)))}
            self.ballots.append((np.array([number.get(key, -1) for key in keys]), right, scores))
        length = np.array([len(text.strip()) or np.inf for text in texts])
        if log_prob is not None:
            self.likely.append(right[choose(log_prob)])
            self.likely_per_character.append(right[choose(log_prob / np.where(np.isfinite(length), length, 1.0))])
        self.shortest.append(right[choose(-length)])
        self.mean.append(float(right.mean()))
        self.oracle.append(float(right.max()))

    def summary(self, information: str) -> list[str]:
        outcomes = ", ".join(f"{n} {o}" for o, n in sorted(self.outcomes.items()))
        lines = [f"{self.candidates} candidates{f': {outcomes}' if outcomes else ''}"]
        if not self.chosen:
            return [*lines, "no problem has the label 'correct' on all its candidates: no accuracy"]
        scale = deviation(np.concatenate([scores for *_, scores in self.ballots])) if self.ballots else 1.0
        rows = [
            (f"chosen by the learned reward ({information})", self.chosen),
            ("majority vote", self._voted(np.ones_like)),
            ("majority weighted by exp(score)", self._voted(score_weights)),
            ("majority weighted by exp(score / deviation)", self._voted(partial(score_weights, scale=scale))),
            ("log-probability of the policy", self.likely),
            ("log-probability of the policy per character", self.likely_per_character),
            ("shortest candidate", self.shortest),
            ("one candidate at random", self.mean),
            ("oracle", self.oracle),
        ]
        for name, values in rows:
            if not values:  # votes need a domain that reads answers, log-probabilities a policy
                continue
            found = bootstrap_interval(np.array(values))
            lines.append(f"{name:55s} {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]")
        if sum(self.oracle):
            lines.append(f"share of the oracle's: {sum(self.chosen) / sum(self.oracle):.3f}")
        return lines

    def _voted(self, weights: Callable[[np.ndarray], np.ndarray]) -> list[float]:
        """Per problem: the share of right candidates among those with the winning answer."""
        return [
            float(np.mean(right[answers == weighted_majority(answers, weights(scores))]))
            for answers, right, scores in self.ballots
        ]


def _log_prob(policy: AnswerScorer, path: Path, record: Candidates) -> np.ndarray:
    return np.asarray(named(policy, path)([question_of(record, record.id)]).trace)


def _outcome(environment: Environment, problem: Problem, text: str) -> str:
    try:
        return environment.verify(problem, text).outcome
    except InputError:
        return "with a foreign prompt"


def main(options: RerankOptions) -> int:
    if options.output is not None:
        output_file(options.output, options.candidates, options.folders())
    with nullcontext() if options.output is None else exclusive(options.output):
        _rerank(options)
    return 0


def _rerank(options: RerankOptions) -> None:
    model, path = options.open(), options.candidates
    policy = None if options.policy is None else open_likelihood(options.policy, options.max_tokens)
    remark = model.remark(questions(path), path) if path.is_file() else ""
    tally, skipped = Tally(), Skipped(path, options.strict)

    def answers() -> Iterator[dict[str, Any]]:
        for record, scores in scored(model, path, skipped):
            trace = np.asarray(scores.trace)
            tally.add(model.domain, record, trace, None if policy is None else _log_prob(policy, path, record))
            yield {
                "id": record.id,
                "chosen": int(choose(trace)),
                "scores": finite(scores.trace),
                "step_scores": [finite(steps) for steps in scores.steps],
            }
        skipped.report()

    write_answers(options.output, answers())
    for line in filter(None, (*skipped.report(), remark, *tally.summary(model.spec.information))):
        say(line)
