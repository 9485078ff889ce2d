"""`traceward evaluate --benchmark NAME FILE ...`: the metrics of a benchmark, beside scores that read no meaning."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from experiments.commands.candidate_files import PROBLEMS_AT_ONCE, Skipped, named, say
from experiments.commands.options import EvaluateOptions
from irl.data import read_records
from irl.evaluation.audit import Finding
from irl.evaluation.benchmarks.base import Benchmark, Scored, named_benchmark
from irl.rewards.questions import Answer, AnswerScorer, Question, question_of
from irl.types import InputError

BASELINES: dict[str, Callable[[str, int, np.random.Generator], float]] = {
    "shortest": lambda text, place, rng: -float(len(text)),
    "longest": lambda text, place, rng: float(len(text)),
    "fixed location": lambda text, place, rng: -float(place),
    "chance": lambda text, place, rng: float(rng.random()),
}
"""The score of an answer or of a step from its text and its place. Thresholds are fitted as for the model."""


class _Entry(NamedTuple):
    """A record with a score for each of its answers and, where steps count, for each of its steps."""

    record: Any
    question: Question
    split: str
    trace: np.ndarray
    steps: np.ndarray


def evaluate_benchmark(options: EvaluateOptions) -> int:
    """Print the metrics of a model and of the baselines on files of a benchmark, a split each."""
    name, files, threshold = str(options.benchmark), options.files, options.threshold
    if options.resamples < 1:
        raise InputError(f"--resamples {options.resamples}: expected 1 or more")
    if not files:
        raise InputError(f"--benchmark {name}: expected the files of the benchmark behind the options")
    benchmark = named_benchmark(name)
    if threshold is not None and not benchmark.uses_steps:
        raise InputError(f"--threshold: {name} compares whole answers; leave it out")
    model = options.open()
    skipped = [Skipped(path, options.strict) for path in files]
    entries = [
        entry for path, own in zip(files, skipped, strict=True) for entry in _scored(benchmark, model, path, own)
    ]
    for line in (line for own in skipped for line in own.report()):
        say(line)
    records = [entry.record for entry in entries]
    split = [entry.split for entry in entries]
    trace, steps, resamples = [e.trace for e in entries], [e.steps for e in entries], options.resamples
    scored = Scored(records, split, trace, steps, threshold, resamples)
    columns = {f"learned reward\n{model.spec.information}": benchmark.metrics(scored)}
    for baseline, score in BASELINES.items():
        columns[f"{baseline}\nnone"] = benchmark.metrics(_baseline(score, entries)._replace(resamples=resamples))
    _show(f"{name}: {len(entries)} rows, 95% bootstrap intervals over rows", columns)
    return 0


def _show(title: str, columns: Mapping[str, Mapping[str, Finding]]) -> None:
    table = Table(title=title)
    table.add_column("metric", no_wrap=True)
    for name in ("rows", *columns):
        table.add_column(name)
    for metric, learned in next(iter(columns.values())).items():
        cells = [values[metric] for values in columns.values()]
        table.add_row(metric, str(learned.num_prompts), *(f"{c.mean:.3f}\n[{c.low:.2f}, {c.high:.2f}]" for c in cells))
    Console().print(table)


def _scored(benchmark: Benchmark, model: AnswerScorer, path: Path, skipped: Skipped) -> Iterator[_Entry]:
    """The records of a file whose answers all have a score; `skipped` counts the others."""
    reading, score, row = read_records(path), named(model, path), 0
    for block in iter(lambda: list(itertools.islice(reading, PROBLEMS_AT_ONCE)), []):
        asked = [question_of(_checked(benchmark, record, path), f"row-{row + i}") for i, record in enumerate(block, 1)]
        scores, first = score(asked), 0
        for record, question in zip(block, asked, strict=True):
            row, own = row + 1, slice(first, first + len(question.answers))
            first = own.stop
            reasons, steps = scores.reasons[own], np.zeros(0)
            if benchmark.uses_steps and not any(reasons):
                steps = step_scores(question.answers[0], scores.step_texts[own][0], scores.steps[own][0])
                reasons = reasons if len(steps) else ["the model has no scores of its steps"]
            skipped.add(row, question, reasons)
            if not any(reasons):
                yield _Entry(record, question, path.name.split(".")[0], scores.trace[own], steps)
    if reading.report.unfit:
        say(str(reading.report))


def _checked(benchmark: Benchmark, record: Any, path: Path) -> Any:
    if not isinstance(record, benchmark.record):
        expected, got = benchmark.record.__name__, type(record).__name__
        raise InputError(f"{path}: expected rows that are read as {expected}, got {got}; name another benchmark")
    return record


def step_scores(answer: Answer, texts: Sequence[str], scores: Sequence[float]) -> np.ndarray:
    """The score of every step of an answer: the lowest of the model's steps that begin in it.

    A model may cut the text at other places. A step without a beginning has the score of the text before it. Empty
    where the model scores the text as a whole, or steps that are not in it.
    """
    ends, starts, place = np.cumsum([len(part) for part in answer.parts]), [], 0
    for text in texts:
        place = answer.text.find(text.strip(), place)
        if place < 0:
            return np.zeros(0)
        starts.append(place)
    if not starts or len(starts) != len(scores) or len(starts) == 1 < len(ends):
        return np.zeros(0)
    values, step_of = np.asarray(scores, np.float64), np.searchsorted(ends, starts, side="right")
    inside = [values[step_of == step] for step in range(len(ends))]
    before = [values[max(int(np.searchsorted(step_of, step)) - 1, 0)] for step in range(len(ends))]
    return np.array([own.min() if len(own) else other for own, other in zip(inside, before, strict=True)])


def _baseline(score: Callable[[str, int, np.random.Generator], float], entries: Sequence[_Entry]) -> Scored:
    rng, answers = np.random.default_rng(0), [entry.question.answers for entry in entries]
    return Scored(
        records=[entry.record for entry in entries],
        split=[entry.split for entry in entries],
        trace=[np.array([score(each.text, i, rng) for i, each in enumerate(own)]) for own in answers],
        steps=[np.array([score(part, i, rng) for i, part in enumerate(own[0].parts)]) for own in answers],
    )
