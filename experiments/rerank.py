"""`traceward rerank`: choose the best candidate of every problem of a file by a learned reward."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.candidate_files import check_output, finite, load_scorer, say, scored, write_answers
from irl.environments.base import Environment
from irl.evaluation.estimators import bootstrap_interval
from irl.guidance.best_of_n import choose
from irl.guidance.voting import majority
from irl.traces.scoring import TextScores
from irl.types import Candidates, Problem


@dataclass(frozen=True, kw_only=True)
class Options:
    """Choose the best candidate of every problem.

    Candidates are JSON lines, compressed or not: {"id", "prompt", "candidates": [{"text", "correct"?}]}. The
    answer is one line per problem in the same order: {"id", "chosen", "scores", "step_scores"}. A candidate
    without any step has the score null and is never chosen unless all have none.
    """

    model: Path
    """A reward model folder, such as runs/quickstart/model."""
    candidates: Path
    """The file of candidates."""
    output: Path | None = None
    """Where the answers go; standard output by default."""


@dataclass
class Tally:
    """Per problem: whether each way of choosing was right. Only problems with labels count."""

    chosen: list[float] = field(default_factory=list)
    majority: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    oracle: list[float] = field(default_factory=list)
    outcomes: dict[str, int] = field(default_factory=dict)
    unscored: int = 0
    candidates: int = 0

    def add(self, environment: Environment, record: Candidates, scores: TextScores, index: int) -> None:
        problem = Problem(id=record.id, prompt=record.prompt)
        texts = [candidate.text for candidate in record.candidates]
        self.candidates += len(texts)
        self.unscored += sum(not steps for steps in scores.steps)
        for text in texts:
            outcome = environment.verify(problem, text).outcome
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1
        labels = [candidate.correct for candidate in record.candidates]
        if any(label is None for label in labels):
            return
        right = np.array(labels, float)
        keys = [environment.answer_key(problem, text) for text in texts]
        voted = majority(keys)
        agreeing = [r for key, r in zip(keys, right, strict=True) if key == voted]
        self.chosen.append(right[index])
        self.majority.append(float(np.mean(agreeing)))
        self.mean.append(float(right.mean()))
        self.oracle.append(float(right.max()))

    def summary(self, information: str) -> list[str]:
        lines = [f"{self.candidates} candidates: " + ", ".join(f"{n} {o}" for o, n in sorted(self.outcomes.items()))]
        if self.unscored:
            lines.append(f"{self.unscored} without any step: score null")
        if not self.chosen:
            return [*lines, "no problem has the label 'correct' on all its candidates: no accuracy"]
        rows = [
            (f"chosen by the learned reward ({information})", self.chosen),
            ("majority vote", self.majority),
            ("one candidate at random", self.mean),
            ("oracle", self.oracle),
        ]
        for name, values in rows:
            found = bootstrap_interval(np.array(values))
            lines.append(f"{name:55s} {found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]")
        if sum(self.oracle):
            lines.append(f"share of the oracle's: {sum(self.chosen) / sum(self.oracle):.3f}")
        return lines


def main(arguments: Sequence[str]) -> int:
    options = tyro.cli(Options, args=list(arguments), prog="traceward rerank")
    check_output(options.output, options.candidates)
    scorer, environment = load_scorer(options.model)
    tally = Tally()

    def answers() -> Iterator[dict[str, Any]]:
        for record, scores in scored(scorer, options.candidates):
            index = choose(np.asarray(scores.trace))
            tally.add(environment, record, scores, index)
            yield {
                "id": record.id,
                "chosen": int(index),
                "scores": finite(scores.trace),
                "step_scores": [finite(steps) for steps in scores.steps],
            }

    write_answers(options.output, answers())
    for line in tally.summary(scorer.spec.information):
        say(line)
    return 0
