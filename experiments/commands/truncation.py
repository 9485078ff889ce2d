"""Can a candidate win by stopping early? Traces cut after each of their steps, scored beside the whole ones.

    python -m experiments.commands.truncation --model RUN/model --candidates FILE [--cuts 5] [--seed 0]

adds candidates to every problem of a labelled file that are the beginnings of existing ones, and prints the accuracy of
the choice with and without them.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro

from experiments.commands.options import ModelOptions
from irl.data.formats import read_candidates
from irl.domains.base import Environment, ReadsTexts
from irl.evaluation.estimators import bootstrap_interval
from irl.guidance.best_of_n import choose
from irl.rewards import ask
from irl.rewards.questions import question_of, split_parts
from irl.types import Candidates, InputError, Problem


def beginnings(
    texts: Sequence[str], split: Callable[[str], Sequence[str]], count: int, rng: np.random.Generator
) -> list[str]:
    """`count` proper beginnings of the texts, each cut after a random step; none where no text has two steps."""
    longer = [steps for steps in map(split, dict.fromkeys(texts)) if len(steps) > 1]
    picked = [longer[i] for i in rng.integers(len(longer), size=count)] if longer else []
    return ["\n".join(steps[: rng.integers(1, len(steps))]).rstrip("\n") for steps in picked]


@dataclass(frozen=True, kw_only=True)
class Options(ModelOptions):
    """Accuracy of reranking with and without candidates that stop early.

    The verifier of the model's domain judges them. Without one, a trace that stops early counts as wrong.
    """

    candidates: Path
    """JSON lines with "correct" on every candidate."""
    cuts: int = 5
    """Candidates to add per problem."""
    seed: int = 0


def compare(options: Options) -> list[str]:
    """The lines to print."""
    scorer = options.open()
    split = _parts if scorer.domain is None else scorer.domain.split_steps
    rng = np.random.default_rng(options.seed)
    unchanged, attacked, chosen_early = [], [], 0
    for record in read_candidates(options.candidates):
        correct = _labels(record, options.candidates)
        texts = [candidate.text for candidate in record.candidates]
        early = beginnings(texts, split, options.cuts, rng)
        scores = scorer.answers([question_of(record, record.id), ask(record.prompt, early)]).trace
        unchanged.append(correct[choose(scores[: len(texts)])])
        correct += [_is_right(scorer.domain, record, text) for text in early]
        best = choose(scores)
        attacked.append(correct[best])
        chosen_early += best >= len(texts)
    rows = (("the candidates alone", unchanged), (f"with {options.cuts} beginnings per problem", attacked))
    lines = [f"{name}: right in {_interval(values)}" for name, values in rows]
    return [*lines, f"a beginning is chosen in {chosen_early} of {len(unchanged)} problems"]


def _parts(text: str) -> tuple[str, ...]:
    """Paragraphs or lines, as the models read them that know no domain."""
    return tuple(part.removesuffix("\n") for part in split_parts(text))


def _is_right(domain: ReadsTexts | None, record: Candidates, text: str) -> bool:
    if not isinstance(domain, Environment) or not domain.verifies():
        return False
    return domain.verify(Problem(id=record.id, prompt=record.prompt), text).correct


def _labels(record: Candidates, file: Path) -> list[bool]:
    if any(candidate.correct is None for candidate in record.candidates):
        raise InputError(f"{file}: problem {record.id!r}: a candidate without 'correct'")
    return [bool(candidate.correct) for candidate in record.candidates]


def _interval(values: Sequence[bool]) -> str:
    found = bootstrap_interval(np.array(values, float))
    return f"{found.mean:.3f} [{found.low:.3f}, {found.high:.3f}]"


if __name__ == "__main__":
    try:
        print("\n".join(compare(tyro.cli(Options))))
    except InputError as error:
        sys.exit(f"experiments.commands.truncation: {error}")
