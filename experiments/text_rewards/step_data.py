"""Labelled steps for process reward models: files of any format, and solutions in which errors are planted."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import Field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from annotated_types import MinLen

from experiments.core.overlap import Overlap, file_labels, parts_by_prompt, refuse_repeated_files, without_overlap
from irl.data import read_records
from irl.data.gsm8k import final_answer, without_calculations
from irl.domains.gsm8k.calculations import Drilled, Kind, Solution, drill, renumbered, with_error
from irl.types import InputError, LabelledSteps, Trace, Written
from reward_models.ranges import Distinct, Files, Name, OpenShare, RowsOrZero, Share
from reward_models.records import record
from reward_models.types import Information

VALIDATION = "validation"
PART = 10
"""One in every `PART` training solutions is held out to tune the threshold."""
ANSWERS = (
    *["#### {}"] * 5,
    "A: {}",
    "Answer: {}",
    "The answer is {}.",
    '"answer": "{}"',
    "So the final answer is \\boxed{{{}}}.",
)
"""Last lines of solutions, half of them in the format of GSM8K."""
DRILL, DRILLED, DRILL_FLAWED = "Calculate.", 8, 0.45
"""The prompt of a drill, how many calculations it has, and the share of them that is wrong."""


class HeldOut(NamedTuple):
    """Sets of problems that are never trained on."""

    validation: Mapping[str, list[LabelledSteps]]
    """Those that thresholds come from."""
    test: Mapping[str, list[LabelledSteps]]
    """Those that are reported."""
    threshold: Mapping[str, str]
    """For every test set the name of the validation set that its threshold comes from."""


class StepData(ABC):
    """The config class of labelled steps, a record: training data of judges, and held-out data.

    A soft Q-function of windows needs `demonstrations` and `complete`, a process model needs `epoch` as well.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    information: ClassVar[Information]
    """The level of `epoch`."""

    @abstractmethod
    def sources(self) -> Sequence[str]:
        """The files."""

    @abstractmethod
    def about(self) -> str:
        """What `epoch` gives, for the model card."""

    @abstractmethod
    def about_right(self) -> str:
        """What `demonstrations` and `complete` give, for the model card."""

    @abstractmethod
    def demonstrations(self, seed: int) -> list[LabelledSteps]:
        """Right solutions without final answers; `seed` draws variants where there are any."""

    @abstractmethod
    def epoch(self, number: int, seed: int) -> list[LabelledSteps]:
        """The labelled traces of an epoch of training."""

    @abstractmethod
    def held_out(self) -> HeldOut:
        """The test sets, and the validation sets that set their thresholds."""

    @abstractmethod
    def prompts(self) -> list[str]:
        """The training problems as in the files."""

    def complete(self, seed: int) -> list[Written]:
        """Complete correct training traces, final answer included; the score of ends learns from them."""
        return [(trace.prompt, trace.steps) for trace in self.demonstrations(seed)]

    def complete_held_out(self) -> list[Written]:
        """The same of right test problems."""
        tests = self.held_out().test.values()
        return [(trace.prompt, trace.steps) for test in tests for trace in test if trace.first_error is None]

    def windows(self, trace: LabelledSteps) -> list[LabelledSteps]:
        """What a process model reads at once: the whole trace, or each of its steps with what it follows from."""
        return [trace]

    def overlaps(self) -> list[Overlap]:
        """Training problems that were left out because they are held out; none where files are split by problem."""
        return []

    def oracle(self, traces: Sequence[LabelledSteps]) -> list[np.ndarray] | None:
        """1 for the steps that are right by the rules of the domain, 0 for others; None without such rules."""
        return None


def check_shares(data: str, test: float, validation: float) -> None:
    """Raises InputError unless the held-out shares leave problems to train on."""
    if test + validation >= 1:
        raise InputError(
            f"{data}: expected shares for testing and validation that leave problems to train on, got {test} and "
            f"{validation}; lower one of them"
        )


@record
class StepFiles(StepData):
    """Files of labelled steps in any format (irl/data); part of their problems is held out.

    Every file is reported by itself, with one threshold from validation problems of all files.
    """

    files: Files
    format: Name | None = None
    validation: OpenShare = 0.1
    """Share of the problems that sets the threshold."""
    test: OpenShare = 0.2
    """Share of the problems that is reported."""

    information: ClassVar[Information] = "step labels"

    def __post_init__(self):
        check_shares("StepFiles.test", self.test, self.validation)
        refuse_repeated_files({"StepFiles.files": self.files})

    def sources(self) -> Sequence[str]:
        return self.files

    def about(self) -> str:
        return f"labelled steps of {', '.join(Path(file).name for file in self.files)}"

    def about_right(self) -> str:
        return f"right traces of {', '.join(Path(file).name for file in self.files)}"

    def demonstrations(self, seed: int) -> list[LabelledSteps]:
        return [trace for trace in self.part("train") if trace.first_error is None] or self.part("train")

    def epoch(self, number: int, seed: int) -> list[LabelledSteps]:
        return self.part("train")

    def held_out(self) -> HeldOut:
        test = {label: self.part("test", file) for file, label in file_labels(self.files).items()}
        return HeldOut({VALIDATION: self.part(VALIDATION)}, test, dict.fromkeys(test, VALIDATION))

    def prompts(self) -> list[str]:
        return [trace.prompt for trace in self.part("train")]

    def part(self, name: str, file: str | None = None) -> list[LabelledSteps]:
        """Traces of train, validation or test, of one file or of all; a problem is in one part in all files."""
        found = _by_part(self)
        return [trace for each in self.files if file in (None, each) for trace in found.get((each, name), [])]


@lru_cache(maxsize=4)
def _by_part(data: StepFiles) -> dict[tuple[str, str], list[LabelledSteps]]:
    """Traces by file and part."""
    traces = [(file, trace) for file in data.files for trace in _labelled(file, data.format)]
    parts = parts_by_prompt([trace.prompt for _, trace in traces], test=data.test, validation=data.validation)
    found: dict[tuple[str, str], list[LabelledSteps]] = {}
    for (file, trace), part in zip(traces, parts, strict=True):
        found.setdefault((file, part), []).append(trace)
    return found


@lru_cache(maxsize=4)
def _labelled(file: str, format: str | None) -> list[LabelledSteps]:
    records = list(read_records(file, format))
    bad = next((record for record in records if not isinstance(record, LabelledSteps)), None)
    if bad is not None:
        raise InputError(f"{file}: expected labelled steps, got {type(bad).__name__}; name the format by --data.format")
    return [record for record in records if isinstance(record, LabelledSteps)]


@record
class PlantedErrors(StepData):
    """GSM8K's human solutions, and the same with one planted error (irl/domains/gsm8k/calculations.py).

    Test problems are the file `test`; a tenth of the training problems sets the threshold. Problems of `train` that are
    test problems too are left out, and so are training problems that set the threshold. Errors of `kinds` are trained
    on and set the threshold; those of `held_out_kinds` are only ever tested on. Only demonstrations are used.
    """

    train: Name
    test: Name
    kinds: Annotated[tuple[Kind, ...], MinLen(1), Distinct] = ("slip", "digit", "operation", "operand")
    held_out_kinds: Annotated[tuple[Kind, ...], Distinct] = ("transposed", "magnitude", "carry")
    flawed: Share = 0.7
    """Share of the traces of an epoch that have an error."""
    renumber: Share = 0.8
    """Share of the training solutions that are carried over to other numbers."""

    drills: RowsOrZero = 12000
    """Further traces of an epoch: calculations of the training solutions one a line, each right or wrong for itself."""
    demonstrated_drills: RowsOrZero = 12000
    """The same among the demonstrations, all right: a language model learns to calculate from them."""

    information: ClassVar[Information] = "demonstrations"

    def __post_init__(self):
        refuse_repeated_files({"PlantedErrors.train": (self.train,), "PlantedErrors.test": (self.test,)})
        if shared := set(self.kinds) & set(self.held_out_kinds):
            raise InputError(
                f"PlantedErrors.held_out_kinds: {', '.join(sorted(shared))} is in kinds too; remove it from one of them"
            )

    def sources(self) -> Sequence[str]:
        return self.train, self.test

    def about_right(self) -> str:
        return f"the human solutions of {Path(self.train).name}, without any error"

    def about(self) -> str:
        shown, never = ", ".join(self.kinds), ", ".join(self.held_out_kinds)
        return (
            f"the human solutions of {Path(self.train).name}, with errors planted by a program ({shown}); errors of "
            f"other kinds ({never}) and all test problems were never shown"
        )

    def demonstrations(self, seed: int) -> list[LabelledSteps]:
        rng = np.random.default_rng([seed, 1])
        varied = [self._varied(solution, rng) for solution in _problems(self).training]
        return [*map(_right, range(len(varied)), varied), *self._drills(self.demonstrated_drills, 0.0, rng)]

    def complete(self, seed: int) -> list[Written]:
        """Solutions with their final answers, half of which are in other formats, half without annotations."""
        known = {solution.question for solution in _problems(self).training}
        solutions = [(question, lines) for question, lines in _complete(self.train) if question in known]
        return [(question, _rewritten(lines, number)) for number, (question, lines) in enumerate(solutions)]

    def complete_held_out(self) -> list[Written]:
        return _complete(self.test)

    def epoch(self, number: int, seed: int) -> list[LabelledSteps]:
        rng, solutions = np.random.default_rng([seed, 2, number]), _problems(self).training
        traces = [self._drawn(index, self._varied(solution, rng), rng) for index, solution in enumerate(solutions)]
        return traces + self._drills(self.drills, DRILL_FLAWED, rng)

    def held_out(self) -> HeldOut:
        """One threshold for both test sets, from the kinds of errors that are trained on."""
        validation, solutions = _problems(self).validation, _solutions(self.test, 0)[0]
        test = {
            "kinds trained on": self._both(solutions, self.kinds, 4),
            "held-out kinds": self._both(solutions, self.held_out_kinds, 5),
        }
        return HeldOut({VALIDATION: self._both(validation, self.kinds, 3)}, test, dict.fromkeys(test, VALIDATION))

    def prompts(self) -> list[str]:
        return [solution.question for solution in _problems(self).training]

    def overlaps(self) -> list[Overlap]:
        return _problems(self).overlaps

    def _drills(self, count: int, flawed: float, rng: np.random.Generator) -> list[LabelledSteps]:
        """Calculations of solutions drawn at random, all carried over to other numbers."""
        kinds = [kind for kind in self.kinds if kind != "operand"]
        solutions = _problems(self).training
        drilled: list[Drilled] = []
        while len(drilled) < count * DRILLED:
            chosen = [solutions[i] for i in rng.integers(len(solutions), size=500)]
            more = drill([renumbered(solution, rng) for solution in chosen], kinds, flawed if kinds else 0.0, rng)
            if not more:
                raise InputError(f"{self.train}: no right <<calculation>> was found; set both drills to 0")
            drilled += more
        order = rng.permutation(len(drilled))[: count * DRILLED].reshape(count, DRILLED)
        return [_drill(number, [drilled[i] for i in row]) for number, row in enumerate(order.tolist())]

    def _varied(self, solution: Solution, rng: np.random.Generator) -> Solution:
        return renumbered(solution, rng) if rng.random() < self.renumber else solution

    def _drawn(self, index: int, solution: Solution, rng: np.random.Generator) -> LabelledSteps:
        flawed = with_error(solution, self.kinds, rng) if rng.random() < self.flawed else None
        return _right(index, solution) if flawed is None else _wrong(index, flawed.solution, flawed.wrong, flawed.kind)

    def _both(self, solutions: Sequence[Solution], kinds: Sequence[Kind], seed: int) -> list[LabelledSteps]:
        """Every solution as it is, and with one error where one can be planted."""
        rng, out = np.random.default_rng(seed), []
        for index, solution in enumerate(solutions):
            out.append(_right(index, solution))
            flawed = with_error(solution, kinds, rng)
            if flawed is not None:
                out.append(_wrong(index, flawed.solution, flawed.wrong, flawed.kind))
        return out


class Problems(NamedTuple):
    """Solutions of the training file by what they are for, without those of held-out problems."""

    training: list[Solution]
    validation: list[Solution]
    overlaps: list[Overlap]


@lru_cache(maxsize=4)
def _problems(data: PlantedErrors) -> Problems:
    (first, second), (test, _) = _solutions(data.train, PART), _solutions(data.test, 0)
    tested, tuned = ([solution.question for solution in each] for each in (test, second))
    known = {"the test set": tested, "the validation set": tuned}
    training, of_training = without_overlap("training problems", first, _question, known, "data.train")
    known = {"the test set": tested}
    validation, of_validation = without_overlap("validation problems", second, _question, known, "data.train")
    return Problems(training, validation, of_training + of_validation)


def _question(solution: Solution) -> str:
    return solution.question


@lru_cache(maxsize=4)
def _solutions(file: str, part: int) -> tuple[list[Solution], list[Solution]]:
    """(all but every `part`-th, every `part`-th) solution of a file; all of them for part 0."""
    found: tuple[list[Solution], list[Solution]] = ([], [])
    for number, (question, complete) in enumerate(_complete(file)):
        lines = tuple(line for line in complete if final_answer(line) is None)
        if lines:
            found[bool(part) and number % part == 0].append(Solution(question, lines))
    if not found[0]:
        raise InputError(f"{file}: has no solution of several lines; give GSM8K's format, with a last line '#### ...'")
    return found


def _complete(file: str) -> list[Written]:
    """Questions and all lines of their solutions."""
    traces = (trace for trace in read_records(file, "gsm8k") if isinstance(trace, Trace))
    return [(trace.prompt, [step.text for step in trace.steps]) for trace in traces]


def _rewritten(lines: Sequence[str], number: int) -> list[str]:
    """The lines of a solution as other authors would write them, in one of 20 ways."""
    format = ANSWERS[number // 2 % len(ANSWERS)]
    *before, last = lines if number % 2 else map(without_calculations, lines)
    return [*before, format.format(final_answer(last) or "")]


def _right(index: int, solution: Solution) -> LabelledSteps:
    lines = solution.lines
    return LabelledSteps(
        id=f"{index}", prompt=solution.question, steps=lines, labels=(1.0,) * len(lines), subset="right"
    )


def _drill(index: int, drilled: Sequence[Drilled]) -> LabelledSteps:
    steps, labels = tuple(each.text for each in drilled), tuple(float(each.right) for each in drilled)
    return LabelledSteps(id=f"drill-{index}", prompt=DRILL, steps=steps, labels=labels, subset="drill")


def _wrong(index: int, solution: Solution, wrong: int, kind: str) -> LabelledSteps:
    """Right up to the error; what follows it is not known."""
    lines = solution.lines
    labels = (*(1.0,) * wrong, 0.0, *(None,) * (len(lines) - wrong - 1))
    return LabelledSteps(id=f"{index}-{kind}", prompt=solution.question, steps=lines, labels=labels, subset=kind)
