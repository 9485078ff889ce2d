"""`traceward score`: the scores of every candidate of a file, a line per candidate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.candidate_files import check_output, finite, load_scorer, say, scored, write_answers


@dataclass(frozen=True, kw_only=True)
class Options:
    """Score candidates: {"id", "candidate", "score", "step_scores", "steps"} per candidate, in the file's order."""

    model: Path
    """A reward model folder, such as runs/quickstart/model."""
    candidates: Path
    """JSON lines, compressed or not: {"id", "prompt", "candidates": [{"text"}]}."""
    output: Path | None = None
    """Where the scores go; standard output by default."""


def main(arguments: Sequence[str]) -> int:
    options = tyro.cli(Options, args=list(arguments), prog="traceward score")
    check_output(options.output, options.candidates)
    scorer, _ = load_scorer(options.model)

    def lines() -> Iterator[dict[str, Any]]:
        for record, scores in scored(scorer, options.candidates):
            for index, (steps, texts) in enumerate(zip(scores.steps, scores.step_texts, strict=True)):
                yield {
                    "id": record.id,
                    "candidate": index,
                    "score": finite(scores.trace[index : index + 1])[0],
                    "step_scores": finite(steps),
                    "steps": list(texts),
                }

    count = write_answers(options.output, lines())
    say(f"{count} candidates scored; information level: {scorer.spec.information}")
    return 0
