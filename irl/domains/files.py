"""Traces of any domain, from files: problems are their prompts, demonstrations are their traces.

A file has one of the formats that `irl/data` reads. Where a trace is judged (a label, ranks, a rejected answer), only
traces that are right or preferred are demonstrations. Where the traces end with answers, an answer is right when its
normal form is that of the problem's first demonstration; that is for evaluation alone. Nothing else is known of the
domain, so every step is judged in its whole trace.
"""

import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from irl.canonical import canonical_text
from irl.data import read_records
from irl.data.detect import Record
from irl.domains.base import Removed
from irl.domains.judged import JudgedPair, judged_pairs
from irl.text.answers import answer_rule
from irl.text.math_answers import math_form, math_verify, same_value
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

Equivalence = Literal["form", "math"]
ANSWERED = 0.5
"""Answers are checked where at least this share of the traces has one."""


class TraceSet(NamedTuple):
    """The demonstrations of a split, and what was left out."""

    traces: tuple[Trace, ...]
    problems: tuple[Problem, ...]
    by_prompt: dict[str, tuple[Trace, ...]]


class Splits(NamedTuple):
    train: TraceSet
    validation: TraceSet
    test: TraceSet
    removed: tuple[Removed, ...]
    answered: float
    """Share of the traces of the training file in which the rule finds an answer."""
    account: tuple[str, ...]
    """What was left out of the files, in sentences."""


@record
class TraceText:
    """How the texts of a domain are read: where their steps end and what their answer is."""

    steps: Name = "lines"
    """`lines`, `paragraphs`, `sentences`, or a regular expression that matches what separates two steps."""
    answer: Name = "marked"
    """`marked` (in \\boxed{}, after ####, after "the answer is"), one of `boxed`, `hashes`, `stated`, `last number`,
    `none`, or a regular expression whose last match is the answer."""
    equivalence: Equivalence = "form"
    """When two answers are equal: `form`, in their normal form; `math`, as mathematical expressions by math-verify
    (pip install 'traceward[math]')."""

    def __post_init__(self):
        step_rule(self.steps)
        answer_rule(self.answer)
        if self.equivalence == "math":
            math_verify()

    def canonical(self, prompt: str) -> str:
        return canonical_text(prompt)

    def split_steps(self, text: str) -> tuple[str, ...]:
        return step_rule(self.steps)(text)

    def answer_key(self, problem: Problem, text: str) -> str | None:
        answer = answer_rule(self.answer)(text)
        return answer if answer is None or self.equivalence == "form" else math_form(answer)

    def same_answer(self, answer: str, truth: str) -> bool:
        """Whether two answers, as `answer_key` returns them, are equal."""
        return answer == truth or (self.equivalence == "math" and same_value(answer, truth))


@record
class TraceFiles(TraceText):
    """A domain that is its files of traces."""

    train: Name
    """A file of traces to learn from."""
    validation: Name | None = None
    """A file of traces whose likelihood is measured in training; without one, it is not measured."""
    test: Name | None = None
    """A file of traces whose prompts are the test problems; without one, a share of `train` is held out."""
    held_out: PositiveShare = 0.1
    """Share of the prompts of `train` that are held out where there is no test file."""

    def verifies(self) -> bool:
        """Whether there are answers to check: the rule finds one in at least half of the traces."""
        return _splits(self).answered >= ANSWERED

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are given."""
        return tuple(file for file in (self.train, self.validation, self.test) if file is not None)

    def removed(self) -> tuple[Removed, ...]:
        """What was left out so that the splits share no prompt."""
        return _splits(self).removed

    def summary(self) -> list[str]:
        """Sentences on the splits and the answers."""
        splits, name = _splits(self), Path(self.train).name
        train, test = len(splits.train.problems), len(splits.test.problems)
        lines = [f"{len(splits.train.traces):,} training traces of {train:,} prompts; {test:,} test problems"]
        if splits.validation.problems:
            lines[0] += f"; {len(splits.validation.traces):,} validation traces"
        if self.test is None:
            share = f"{test:,} of {train + test:,} prompts of {name} ({test / (train + test):.0%})"
            lines.append(f"{share} are held out as test problems; --domain.test FILE gives others")
        if not splits.answered and self.answer != "none":
            lines.append(f"no trace of {name} has an answer by the rule {self.answer!r}")
        elif splits.answered < 1 and self.answer != "none":
            few = "; give another --domain.answer if they have" if splits.answered < ANSWERED else ""
            lines.append(f"{1 - splits.answered:.1%} of the traces of {name} have no answer by {self.answer!r}{few}")
        return [*lines, *splits.account]

    def problems(self, split: str) -> Sequence[Problem]:
        return _split(self, split).problems

    def demonstrations(self, split: str) -> Sequence[Trace]:
        """Every trace of a split, in the order of its file."""
        return _split(self, split).traces

    def judged(self, split: str) -> list[JudgedPair]:
        """Pairs of a better and a worse trace of the split, where the file has labels. Information level: labels."""
        forms = {name: {canonical_text(p.prompt) for p in self.problems(name)} for name in ("validation", "test")}
        file, known = self.train, forms["validation"] | forms["test"]
        if split == "test":
            file, known = self.test or self.train, forms["test"]
        pairs = judged_pairs(read_records(file), self.split_steps, _between(self.steps))
        return [pair for pair in pairs if (canonical_text(pair.prompt) in known) == (split == "test")]

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        """One of the problem's demonstrations."""
        sets = _splits(self)[:3]
        traces = next(each.by_prompt[problem.prompt] for each in sets if problem.prompt in each.by_prompt)
        return traces[rng.integers(len(traces))]

    def verify(self, problem: Problem, text: str) -> Verdict:
        """Whether the answer is that of the problem's first demonstration."""
        answer, truth = self.answer_key(problem, text), problem.truth.get("answer")
        if answer is None:
            return Verdict(outcome="malformed", reason="the text has no answer")
        if truth is not None and self.same_answer(answer, truth):
            return Verdict(outcome="correct", reason="the answer is that of the demonstration")
        return Verdict(outcome="wrong", reason=f"the answer is {answer!r}, that of the demonstration {truth!r}")


def _split(domain: TraceFiles, name: str) -> TraceSet:
    if name not in ("train", "validation", "test"):
        raise InputError(f"unknown split {name!r}; expected train, validation or test")
    return getattr(_splits(domain), name)


@lru_cache(maxsize=4)
def _splits(domain: TraceFiles) -> Splits:
    """The files of a domain, read once. The test set keeps its prompts, the validation set those that it does not have,
    and the training set the rest."""
    account: list[str] = []
    everything = _read(domain, domain.train, account)
    answered = _answered(domain, everything)
    validation = [] if domain.validation is None else _read(domain, domain.validation, account)
    if domain.test is None:
        train, of_train = _without(everything, "training traces", validation, "the validation set")
        tests = _held_out(train, domain)
        test = [trace for trace in train if canonical_text(trace.prompt) in tests]
        train = [trace for trace in train if canonical_text(trace.prompt) not in tests]
        removed = [Removed("training traces", "the test problems", 0, len(everything)), of_train]
    else:
        test = _read(domain, domain.test, account)
        validation, of_validation = _without(validation, "validation traces", test, "the test problems")
        train, of_test = _without(everything, "training traces", test, "the test problems")
        train, of_train = _without(train, "training traces", validation, "the validation set")
        removed = [of_test, of_train, of_validation]
    if domain.validation is None:
        removed = removed[:1]
    if not train:
        where = f"{domain.train}: each of its {len(everything)} traces has a prompt of the test or validation file"
        raise InputError(f"{where}, nothing remains to train on; give files with other prompts")
    if domain.validation is not None and not validation:
        where = f"{domain.validation}: each of its prompts is a test prompt, nothing remains to validate with"
        raise InputError(f"{where}; give a file with other prompts, or none")
    return Splits(
        _trace_set(train, domain),
        _trace_set(validation, domain),
        _trace_set(test, domain),
        tuple(removed),
        answered,
        tuple(account),
    )


def _answered(domain: TraceFiles, traces: Sequence[Trace]) -> float:
    """Share of the traces with an answer. InputError where a rule that the user gave fails in most of them."""
    find = answer_rule(domain.answer)
    missing = next((trace.problem_id for trace in traces if find(trace.text) is None), None)
    answered = sum(find(trace.text) is not None for trace in traces) / len(traces)
    if answered < ANSWERED and domain.answer not in ("marked", "none"):
        share = f"only {answered:.0%} of its {len(traces)} traces have an answer by the rule {domain.answer!r}"
        raise InputError(
            f"{domain.train}: {share} ({missing} has none); give another --domain.answer, such as 'last number' or a "
            "regular expression, or none"
        )
    return answered


def _without(traces: list[Trace], data: str, others: Sequence[Trace], held_out: str) -> tuple[list[Trace], Removed]:
    """The traces without those that have a prompt of the others, and how many those are."""
    forms = {canonical_text(trace.prompt) for trace in others}
    kept = [trace for trace in traces if canonical_text(trace.prompt) not in forms]
    return kept, Removed(data, held_out, len(traces) - len(kept), len(traces))


def _held_out(traces: Sequence[Trace], domain: TraceFiles) -> set[str]:
    """Canonical prompts with the smallest hashes: the same ones whatever the order of the file."""
    forms = sorted({canonical_text(trace.prompt) for trace in traces}, key=lambda form: zlib.crc32(form.encode()))
    if len(forms) < 2:
        where = f"{domain.train}: all traces have one prompt, so that none can be held out"
        raise InputError(f"{where}; give a test file with --domain.test")
    return set(forms[: min(max(round(domain.held_out * len(forms)), 1), len(forms) - 1)])


def _trace_set(traces: Sequence[Trace], domain: TraceFiles) -> TraceSet:
    by_prompt: dict[str, list[Trace]] = {}
    for trace in traces:
        by_prompt.setdefault(trace.prompt, []).append(trace)
    problems = []
    for prompt, several in by_prompt.items():
        problem = Problem(id=several[0].problem_id, prompt=prompt)
        truth = {"answer": domain.answer_key(problem, several[0].text)}
        problems.append(Problem(id=problem.id, prompt=prompt, truth=truth))
    return TraceSet(tuple(traces), tuple(problems), {prompt: tuple(ts) for prompt, ts in by_prompt.items()})


def _read(domain: TraceFiles, file: str, account: list[str]) -> list[Trace]:
    """The demonstrations of a file, cut into steps. What is left out of the file is added to the account."""
    reading, traces, others = read_records(file), [], 0
    for entry in reading:
        texts = [(id, prompt, domain.split_steps(text)) for id, prompt, text in _demonstrations(entry, domain.steps)]
        whole = [(id, prompt, steps) for id, prompt, steps in texts if prompt.strip() and steps]
        others += not whole
        traces += [
            Trace(problem_id=id, prompt=prompt, steps=tuple(Step(text=step) for step in steps))
            for id, prompt, steps in whole
        ]
    report = reading.report
    if not traces:
        raise InputError(f"{file}: none of its {report.records} records is a demonstration; {_WANTED}")
    if all(len(trace.steps) == 1 for trace in traces):
        advice = "give --domain.steps lines, paragraphs, sentences or a pattern of what separates two steps"
        raise InputError(f"{file}: each of its {len(traces)} traces is one step by the rule {domain.steps!r}; {advice}")
    if report.unfit:
        account.append(str(report))
    if others:
        why = "wrong, rejected, or without prompt or steps"
        account.append(f"{file}: {others:,} of {report.records:,} records are no demonstrations ({why})")
    return traces


_WANTED = "expected right traces, such as {'prompt', 'steps'}, {'prompt', 'completion'} or {'question', 'answer'}"


def _between(rule: str) -> str:
    """What joins steps to a text."""
    return "\n\n" if rule == "paragraphs" else "\n"


def _demonstrations(entry: Record, rule: str) -> list[tuple[str, str, str]]:
    """(id, prompt, text) of what a record holds of right traces."""
    between = _between(rule)
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
