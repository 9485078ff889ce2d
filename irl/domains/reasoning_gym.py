"""The tasks of reasoning-gym as domains: problems from a generator, answers, and the exact verifier of the task.

    ReasoningGym(task="chain_sum"),  ReasoningGym(task="sudoku", file="solutions.jsonl")

Stojanovski et al. 2025 (arXiv 2505.24760); pip install 'traceward[tasks]'. A trace ends with a line that begins with
"Answer:"; an answer of several lines goes on below it. Demonstrations are the traces of a file: an expert's, or samples
of a policy (self-demonstrations). Without a file a demonstration is the answer alone. The verifier's score is from 0 to
1, and a trace is correct at 1. Steps have no verdict of their own.
"""

import difflib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

import numpy as np

from irl.canonical import canonical_text
from irl.data import read_records
from irl.text.steps import step_rule
from irl.types import InputError, Problem, Step, Trace, Verdict
from reward_models.ranges import Name, Rows, Seed
from reward_models.records import record

ANSWER = "Answer:"


class Task(NamedTuple):
    """A task of the library with its problems."""

    verifier: Any
    problems: dict[str, tuple[Problem, ...]]
    traces: dict[str, tuple[Trace, ...]]
    """Demonstrations by prompt."""


@record
class ReasoningGym:
    """A task of reasoning-gym with the settings of its generator's defaults."""

    SPLITS: ClassVar[tuple[str, ...]] = ("test", "validation", "train")

    task: Name = "chain_sum"
    """A name of a data set of reasoning-gym."""
    train_size: Rows = 1000
    """Problems to generate; those that occur twice, or in another split, are left out."""
    validation_size: Rows = 50
    test_size: Rows = 100
    file: Name | None = None
    """Traces of problems of the training split, in any format that `irl/data` reads."""
    instruction: str = f"End with a line that begins with '{ANSWER}' and gives the answer."
    """Follows every question."""
    seed: Seed = 0
    """Of the generator."""

    @property
    def files(self) -> tuple[str, ...]:
        return () if self.file is None else (self.file,)

    def removed(self) -> tuple[()]:
        """The generated splits share no prompt."""
        return ()

    def summary(self) -> list[str]:
        task = _task(self)
        train, test = (len(task.problems[split]) for split in ("train", "test"))
        source = "their answers" if self.file is None else f"{sum(map(len, task.traces.values())):,} traces"
        return [f"{self.task}: {train:,} training problems with {source} as demonstrations; {test:,} test problems"]

    def problems(self, split: str) -> Sequence[Problem]:
        if split not in self.SPLITS:
            raise InputError(f"unknown split {split!r}; expected train, validation or test")
        return _task(self).problems[split]

    def demonstrations(self, split: str) -> list[Trace]:
        """Every demonstration of a split; those of the test split are answers."""
        of_file = _task(self).traces if split == "train" else {}
        if of_file:
            return [trace for traces in of_file.values() for trace in traces]
        return [_answer_alone(self, problem) for problem in self.problems(split)]

    def expert(self, problem: Problem, rng: np.random.Generator) -> Trace:
        """One of the problem's traces in the file, or its answer."""
        traces = _task(self).traces.get(problem.prompt) or (_answer_alone(self, problem),)
        return traces[rng.integers(len(traces))]

    def canonical(self, prompt: str) -> str:
        return canonical_text(prompt)

    def split_steps(self, text: str) -> tuple[str, ...]:
        return step_rule("lines")(text)

    def answer_key(self, problem: Problem, text: str) -> str | None:
        """What follows the last "Answer:", without the blank space around it."""
        _, marker, answer = "\n".join(self.split_steps(text)).rpartition(ANSWER)
        return answer.strip() or None if marker else None

    def verifies(self) -> bool:
        return True

    def verify(self, problem: Problem, text: str) -> Verdict:
        answer = self.answer_key(problem, text)
        if answer is None:
            return Verdict(outcome="malformed", reason=f"no line begins with {ANSWER!r}")
        entry = _entry(self, problem)
        try:
            score = float(_task(self).verifier.score_answer(answer, entry))
        except Exception as error:  # a verifier of the library may raise anything for an answer that it cannot read
            return Verdict(outcome="wrong", reason=f"the verifier cannot read the answer ({type(error).__name__})")
        outcome = "correct" if score >= 1 else "wrong"
        return Verdict(outcome=outcome, reason=f"the verifier's score of {answer[:80]!r} is {score:g}")


def _entry(domain: ReasoningGym, problem: Problem) -> Any:
    """The problem as the library generated it."""
    if "entry" not in problem.truth:
        raise InputError(f"prompt {problem.prompt[:60]!r}: not a problem of {domain.task}")
    return problem.truth["entry"]


def _answer_alone(domain: ReasoningGym, problem: Problem) -> Trace:
    steps = domain.split_steps(f"{ANSWER} {_entry(domain, problem)['answer']}")
    return _trace(problem, steps)


def _trace(problem: Problem, steps: Sequence[str]) -> Trace:
    return Trace(
        problem_id=problem.id,
        prompt=problem.prompt,
        steps=tuple(Step(text=step) for step in steps),
        source="expert",
    )


@lru_cache(maxsize=4)
def _task(domain: ReasoningGym) -> Task:
    """The generated problems and the demonstrations, made once."""
    sizes = (domain.test_size, domain.validation_size, domain.train_size)
    seen: set[str] = set()
    made, problems = {}, {}
    for number, (split, size) in enumerate(zip(domain.SPLITS, sizes, strict=True)):
        made[split] = _generator(domain.task, size, len(sizes) * domain.seed + number)
        problems[split] = tuple(_distinct(domain, made[split], split, seen))
    return Task(made["test"], problems, _demonstrations(domain, problems["train"]))


def _distinct(domain: ReasoningGym, generated: Any, split: str, seen: set[str]):
    """The problems whose prompts are not in `seen`, which gains them."""
    for number, entry in enumerate(generated):
        prompt = f"{entry['question']}\n{domain.instruction}".strip()
        form = canonical_text(prompt)
        if form not in seen:
            seen.add(form)
            yield Problem(id=f"{domain.task}-{split}-{number}", prompt=prompt, truth={"entry": entry})


def _demonstrations(domain: ReasoningGym, problems: Sequence[Problem]) -> dict[str, tuple[Trace, ...]]:
    """The traces of the file by prompt. InputError: none is of a training problem."""
    if domain.file is None:
        return {}
    by_form = {canonical_text(problem.prompt): problem for problem in problems}
    by_form |= {canonical_text(problem.truth["entry"]["question"]): problem for problem in problems}
    found: dict[str, list[Trace]] = {}
    for given in read_records(domain.file):
        if isinstance(given, Trace) and (problem := by_form.get(canonical_text(given.prompt))) is not None:
            found.setdefault(problem.prompt, []).append(_trace(problem, [step.text for step in given.steps]))
    if not found:
        advice = f"prompts are questions of {domain.task} with this seed"
        raise InputError(f"{domain.file}: no trace is of one of the {len(problems):,} training problems; {advice}")
    return {prompt: tuple(traces) for prompt, traces in found.items()}


def _generator(task: str, size: int, seed: int) -> Any:
    try:
        import reasoning_gym
        from reasoning_gym.factory import DATASETS
    except ImportError as error:
        raise InputError(f"task: reasoning-gym is not installed ({error}); pip install 'traceward[tasks]'") from error
    if task not in DATASETS:
        near = ", ".join(difflib.get_close_matches(task, DATASETS, n=3, cutoff=0.4)) or ", ".join(sorted(DATASETS)[:5])
        raise InputError(f"task: no task {task!r} in reasoning-gym; did you mean {near}?")
    return reasoning_gym.create_dataset(task, size=size, seed=seed)
