"""BIG-Bench-Mistake's tasks: its traces, and traces written by program like them (irl/domains/bigbench_mistake).

The real traces of a third of the problems are trained on, under other names every epoch; beside them stand fresh ones.
A fresh trace takes its size, and where it goes wrong, from a real one that is trained on. The tests and the validation
are real traces only, and no training trace, fresh or renamed, is of one of their problems.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from experiments.core.overlap import file_labels, refuse_repeated_files
from experiments.text_rewards.step_data import VALIDATION, HeldOut, StepData, StepFiles, check_shares
from irl.canonical import canonical_text
from irl.domains.bigbench_mistake import dyck, tracking, word_sorting
from irl.domains.bigbench_mistake.claims import claims, holds
from irl.domains.bigbench_mistake.planted import Planted
from irl.domains.bigbench_mistake.states import state_before
from irl.types import InputError, LabelledSteps
from reward_models.ranges import Files, OpenShare, RowsOrZero, Share, Size
from reward_models.records import record
from reward_models.types import Information

Random = np.random.Generator
DRAWS = 1000
"""Attempts to draw a fresh problem that is not held out."""


class Models(NamedTuple):
    """Real traces that fresh ones are like, and the steps where those are wrong (any step for right ones)."""

    right: list[tuple[LabelledSteps, int]]
    wrong: list[tuple[LabelledSteps, int]]


class Task(NamedTuple):
    """The writer of one task's traces; see irl/domains/bigbench_mistake."""

    problem: Callable[[str, Random], str]
    written: Callable[[str, Random], Planted]
    flawed: Callable[[str, float, Random], Planted]
    renamed: Callable[[LabelledSteps, Random], LabelledSteps]


_NAMES = ("dyck_languages", "tracking_shuffled_objects", "word_sorting")


@record
class MistakeTraces(StepData):
    """Real traces with the place of their first mistake, and fresh ones; one test set and one threshold per task.

    Files are named after their tasks: dyck_languages, tracking_shuffled_objects, word_sorting.
    """

    files: Files
    test: OpenShare = 0.5
    """Share of the problems that is reported."""
    validation: OpenShare = 0.15
    """Share of the problems that sets the threshold of their task."""
    generated: RowsOrZero = 1000
    """Fresh traces of each task in an epoch."""
    flawed: Share = 0.6
    """Share of the fresh traces that have a mistake."""
    invented: Share = 0.5
    """Share of the words to be sorted that are made up; the others are of problems trained on."""

    right_steps: RowsOrZero = 4
    """Right steps of a trace that an epoch learns from, drawn at random beside its wrong one: most steps are right."""

    longest: Size = 64
    """Steps of the longest trace that is trained on: a row of a batch has room for no more."""

    information: ClassVar[Information] = "step labels"

    def __post_init__(self):
        refuse_repeated_files({"MistakeTraces.files": self.files})
        for file in self.files:
            if _task_name(file) not in _NAMES:
                raise InputError(f"MistakeTraces.files: no task {_task_name(file)!r}; there are {', '.join(_NAMES)}")
        check_shares("MistakeTraces.test", self.test, self.validation)

    def sources(self) -> Sequence[str]:
        return self.files

    def about(self) -> str:
        return (
            f"labelled traces of {self._problems()}, and {self.generated} a task and epoch by program, "
            f"{self.flawed:.0%} with a planted mistake"
        )

    def about_right(self) -> str:
        written = f"{self.generated} a task and epoch by program"
        return f"right traces of {self._problems()}, and {written}, never a wrong step"

    def _problems(self) -> str:
        names = ", ".join(_task_name(file) for file in self.files)
        return f"{names} ({1 - self.test - self.validation:.0%} of the problems)"

    def demonstrations(self, seed: int) -> list[LabelledSteps]:
        """Fresh right traces, and the real right ones that are trained on."""
        rng, found = np.random.default_rng([seed, 1]), []
        for file in self.files:
            real, task = self._train(file), self._task(file, rng)
            models = _models(real)
            found += [trace for trace in real if trace.first_error is None]
            found += [self._fresh(task, models, f"{seed}-{number}", 0.0, rng) for number in range(self.generated)]
        return found

    def epoch(self, number: int, seed: int) -> list[LabelledSteps]:
        rng, found = np.random.default_rng([seed, 2, number]), []
        for file in self.files:
            real, task = self._train(file), self._task(file, rng)
            models = _models(real)
            found += [self._renamed(task, trace, rng) for trace in real]
            found += [self._fresh(task, models, f"{number}-{i}", self.flawed, rng) for i in range(self.generated)]
        return [self._some(trace, rng) for trace in found]

    def windows(self, trace: LabelledSteps) -> list[LabelledSteps]:
        """Each step with what it follows from, for itself."""
        labels = zip(trace.steps, trace.labels, strict=True)
        return [
            replace(
                trace,
                id=f"{trace.id}, step {index + 1}",
                prompt=state_before(trace.prompt, trace.steps, index),
                steps=(step,),
                labels=(label,),
            )
            for index, (step, label) in enumerate(labels)
        ]

    def _some(self, trace: LabelledSteps, rng: Random) -> LabelledSteps:
        """With the labels of some right steps alone."""
        right = [i for i, label in enumerate(trace.labels) if label == 1.0]
        kept = {int(i) for i in rng.permutation(right)[: self.right_steps]}
        labels = [label if label == 0.0 or i in kept else None for i, label in enumerate(trace.labels)]
        return replace(trace, labels=tuple(labels))

    def held_out(self) -> HeldOut:
        """A threshold for each task, from its own problems: what a low score is differs between tasks."""
        real, labels = self._real(), file_labels(self.files)
        threshold = {name: f"{name}, {VALIDATION}" for name in labels.values()}
        validation = {threshold[name]: real.part(VALIDATION, file) for file, name in labels.items()}
        return HeldOut(validation, {name: real.part("test", file) for file, name in labels.items()}, threshold)

    def prompts(self) -> list[str]:
        return [trace.prompt for file in self.files for trace in self._train(file)]

    def oracle(self, traces: Sequence[LabelledSteps]) -> list[np.ndarray]:
        """A step is right where all of its claims are true."""
        return [
            np.array(
                [float(all(holds(trace.prompt, claim) for claim in step)) for step in claims(trace.prompt, trace.steps)]
            )
            for trace in traces
        ]

    def _real(self) -> StepFiles:
        return StepFiles(files=self.files, format="bigbench_mistake", validation=self.validation, test=self.test)

    def _train(self, file: str) -> list[LabelledSteps]:
        found = [trace for trace in self._real().part("train", file) if len(trace.steps) <= self.longest]
        if not found:
            raise InputError(f"{file}: no trace is left to train on; lower data.test, or raise data.longest")
        return found

    def _renamed(self, task: Task, trace: LabelledSteps, rng: Random) -> LabelledSteps:
        """Under other names, or as it is where those make it a held-out problem."""
        renamed = task.renamed(trace, rng)
        return trace if canonical_text(renamed.prompt) in _held_out(self) else renamed

    def _task(self, file: str, rng: Random) -> Task:
        """The writer of a file's task; the words of this epoch are drawn here."""
        name = _task_name(file)
        if name == "dyck_languages":
            return Task(dyck.problem, dyck.written, dyck.flawed, dyck.renamed)
        if name == "tracking_shuffled_objects":
            return Task(tracking.problem, tracking.written, tracking.flawed, tracking.renamed)
        known = _words(tuple(trace.prompt for trace in self._train(file)))
        made_up = word_sorting.invented(known, round(len(known) * self.invented / max(1 - self.invented, 0.01)), rng)
        words = [*known, *made_up] if self.invented < 1 else made_up

        def problem(like: str, rng: Random) -> str:
            return word_sorting.problem(like, rng, words)

        return Task(problem, word_sorting.written, word_sorting.flawed, word_sorting.renamed)

    def _fresh(self, task: Task, models: Models, id: str, flawed: float, rng: Random) -> LabelledSteps:
        """Of the size of a real trace, and wrong where that is wrong; a held-out or long one is drawn again."""
        for _ in range(DRAWS):
            found = _drawn(task, models, flawed, rng)
            if len(found.steps) > self.longest:
                continue
            trace = found.labelled(id)
            if canonical_text(trace.prompt) not in _held_out(self):
                return trace
            rng = rng.spawn(1)[0]  # other traces stay as they are
        raise InputError(
            f"data.generated: {DRAWS} fresh problems in a row are too long or held out; give files with longer "
            "problems, raise data.longest, or set data.generated to 0"
        )


@lru_cache(maxsize=4)
def _held_out(data: MistakeTraces) -> frozenset[str]:
    """The canonical forms of the problems that are never trained on."""
    validation, test, _ = data.held_out()
    return frozenset(
        canonical_text(trace.prompt) for traces in (*validation.values(), *test.values()) for trace in traces
    )


def _drawn(task: Task, models: Models, flawed: float, rng: Random) -> Planted:
    is_wrong = rng.random() < flawed
    like = (models.wrong if is_wrong else models.right) or models.wrong or models.right
    model, at = like[rng.integers(len(like))]
    problem = task.problem(model.prompt, rng)
    share = min((at + rng.random()) / len(model.steps), 0.999)
    return task.flawed(problem, share, rng) if is_wrong else task.written(problem, rng)


def _models(real: Sequence[LabelledSteps]) -> Models:
    found = Models([], [])
    for trace in real:
        first = trace.first_error
        if first is None:
            found.right.append((trace, len(trace.steps) // 2))
        else:
            found.wrong.append((trace, first))
    return found


def _task_name(file: str) -> str:
    return Path(file).name.split(".")[0]


@lru_cache(maxsize=4)
def _words(problems: tuple[str, ...]) -> list[str]:
    """The words of problems, those of small letters alone."""
    found = {word for problem in problems for word in problem.split()}
    return sorted(word for word in found if word.isascii() and word.isalpha() and word.islower() and len(word) > 2)
