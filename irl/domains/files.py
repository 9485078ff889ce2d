"""Traces of any domain, from files: problems are their prompts, demonstrations are their traces.

A file has one of the formats that `irl/data` reads. Where a trace is judged (a label, ranks, a rejected answer), only
traces that are right or preferred are demonstrations. Where the traces end with answers, an answer is right when its
normal form is that of the problem's first demonstration; that is for evaluation alone. Nothing else is known of the
domain, so every step is judged in its whole trace.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from irl.canonical import canonical_text
from irl.data import read_records
from irl.data.detect import Record
from irl.text.answers import answer_rule
from irl.text.steps import step_rule
from irl.types import (
    Candidates,
    InputError,
    LabelledResponse,
    LabelledSteps,
    Preference,
    Problem,
    RankedResponses,
    Step,
    Trace,
    Verdict,
)
from reward_models.ranges import Name, PositiveShare
from reward_models.records import record


class TraceSet(NamedTuple):
    """The demonstrations of a split, and what was left out."""

    traces: tuple[Trace, ...]
    problems: tuple[Problem, ...]
    by_prompt: dict[str, tuple[Trace, ...]]


class Splits(NamedTuple):
    train: TraceSet
    test: TraceSet
    removed: int
    """Training traces that were left out because their prompt is a test prompt."""
    answered: float
    """Share of the training traces in which the rule finds an answer."""


@record
class TraceText:
    """How the texts of a domain are read: where their steps end and what their answer is."""

    steps: Name = "lines"
    """`lines`, `paragraphs`, `sentences`, or a regular expression that matches what separates two steps."""
    answer: Name = "marked"
    """`marked` (in \\boxed{}, after ####, after "the answer is"), one of `boxed`, `hashes`, `stated`, `last number`,
    `none`, or a regular expression whose last match is the answer."""

    def __post_init__(self):
        step_rule(self.steps)
        answer_rule(self.answer)

    def canonical(self, prompt: str) -> str:
        return canonical_text(prompt)

    def split_steps(self, text: str) -> tuple[str, ...]:
        return step_rule(self.steps)(text)

    def answer_key(self, problem: Problem, text: str) -> str | None:
        return answer_rule(self.answer)(text)


@record
class TraceFiles(TraceText):
    """A domain that is its files of traces."""

    train: Name
    """A file of traces to learn from."""
    test: Name | None = None
    """A file of traces whose prompts are the test problems; without one, a share of `train` is held out."""
    held_out: PositiveShare = 0.1
    """Share of the prompts of `train` that are held out where there is no test file."""

    def verifies(self) -> bool:
        """Whether there are answers to check: the rule finds one in at least half of the traces."""
        return _splits(self).answered >= 0.5

    def removed(self) -> int:
        """How many training traces were left out because their prompt is a test prompt."""
        return _splits(self).removed

    def problems(self, split: str) -> Sequence[Problem]:
        return _split(self, split).problems

    def demonstrations(self, split: str) -> Sequence[Trace]:
        """Every trace of a split, in the order of its file."""
        return _split(self, split).traces

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        """One of the problem's demonstrations."""
        splits = _splits(self)
        traces = splits.train.by_prompt.get(problem.prompt) or splits.test.by_prompt[problem.prompt]
        return traces[rng.integers(len(traces))]

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Whether the answer is that of the problem's first demonstration."""
        answer, truth = self.answer_key(problem, text), problem.truth.get("answer")
        if answer is None:
            return Verdict(outcome="malformed", reason="the text has no answer")
        if answer == truth:
            return Verdict(outcome="correct", reason="the answer is that of the demonstration")
        return Verdict(outcome="wrong", reason=f"the answer is {answer!r}, that of the demonstration {truth!r}")


def _split(domain: TraceFiles, name: str) -> TraceSet:
    splits = _splits(domain)
    match name:
        case "train":
            return splits.train
        case "test":
            return splits.test
    raise InputError(f"unknown split {name!r}; expected train or test")


@lru_cache(maxsize=4)
def _splits(domain: TraceFiles) -> Splits:
    """The files of a domain, read once."""
    everything = _read(domain, domain.train, "train")
    find = answer_rule(domain.answer)
    answered = sum(find(trace.text) is not None for trace in everything) / len(everything)
    if answered < 0.5 and domain.answer not in ("marked", "none"):
        share = f"only {answered:.0%} of its {len(everything)} traces have an answer by the rule {domain.answer!r}"
        raise InputError(f"{domain.train}: {share}; give another --domain.answer, or none")
    if domain.test is None:
        tests = _held_out(everything, domain)
        test = [trace for trace in everything if canonical_text(trace.prompt) in tests]
        removed = 0
    else:
        test = _read(domain, domain.test, "test")
        tests = {canonical_text(trace.prompt) for trace in test}
        removed = sum(canonical_text(trace.prompt) in tests for trace in everything)
    train = [trace for trace in everything if canonical_text(trace.prompt) not in tests]
    if not train:
        raise InputError(
            f"{domain.train}: every prompt is a test prompt, nothing remains to train on; give other files"
        )
    return Splits(_trace_set(train, domain), _trace_set(test, domain), removed, answered)


def _held_out(traces: Sequence[Trace], domain: TraceFiles) -> set[str]:
    """Canonical prompts with the smallest hashes: the same ones whatever the order of the file."""
    forms = sorted({canonical_text(trace.prompt) for trace in traces}, key=lambda form: zlib.crc32(form.encode()))
    if len(forms) < 2:
        where = f"{domain.train}: all traces have one prompt, so that none can be held out"
        raise InputError(f"{where}; give a test file with --domain.test")
    return set(forms[: min(max(round(domain.held_out * len(forms)), 1), len(forms) - 1)])


def _trace_set(traces: Sequence[Trace], domain: TraceFiles) -> TraceSet:
    find = answer_rule(domain.answer)
    by_prompt: dict[str, list[Trace]] = {}
    for trace in traces:
        by_prompt.setdefault(trace.prompt, []).append(trace)
    problems = [
        Problem(id=several[0].problem_id, prompt=prompt, truth={"answer": find(several[0].text)})
        for prompt, several in by_prompt.items()
    ]
    return TraceSet(tuple(traces), tuple(problems), {prompt: tuple(ts) for prompt, ts in by_prompt.items()})


def _read(domain: TraceFiles, file: str, option: str) -> list[Trace]:
    """The demonstrations of a file, cut into steps."""
    reading, traces = read_records(file), []
    for entry in reading:
        for id, prompt, text in _demonstrations(entry, domain.steps):
            steps = domain.split_steps(text)
            if prompt.strip() and steps:
                traces.append(Trace(problem_id=id, prompt=prompt, steps=tuple(Step(text=step) for step in steps)))
    if not traces:
        raise InputError(f"{file}: none of its {reading.report.records} records is a demonstration; {_WANTED}")
    if all(len(trace.steps) == 1 for trace in traces):
        advice = "give --domain.steps lines, paragraphs, sentences or a pattern of what separates two steps"
        raise InputError(f"{file}: each of its {len(traces)} traces is one step by the rule {domain.steps!r}; {advice}")
    return traces


_WANTED = "expected right traces, such as {'prompt', 'steps'}, {'prompt', 'completion'} or {'question', 'answer'}"


def _demonstrations(entry: Record, rule: str) -> list[tuple[str, str, str]]:
    """(id, prompt, text) of what a record holds of right traces."""
    between = "\n\n" if rule == "paragraphs" else "\n"
    match entry:
        case Trace() if all(step.label is not False for step in entry.steps):
            return [(entry.problem_id, entry.prompt, between.join(step.text for step in entry.steps))]
        case LabelledSteps() if entry.first_error is None and entry.correct is not False:
            return [(entry.id, entry.prompt, between.join(entry.steps))]
        case Candidates():
            return [(entry.id, entry.prompt, each.text) for each in entry.candidates if each.correct is not False]
        case LabelledResponse() if entry.label:
            return [(entry.id, entry.prompt, entry.completion)]
        case Preference():
            return [(entry.id, entry.prompt, entry.chosen)]
        case RankedResponses():
            best = min(entry.ranks)
            pairs = zip(entry.responses, entry.ranks, strict=True)
            return [(entry.id, entry.prompt, text) for text, rank in pairs if rank == best]
    return []
