"""Solutions in steps with a judgement of each: one pure function per format.

    stepwise         {"prompt", "completions": [text], "labels": [bool | number]}: TRL's
    prm800k          {"question": {"problem"}, "label": {"steps": [...]}} (arXiv 2305.20050)
    processbench     {"problem", "steps", "label": first wrong step or -1, ...} (arXiv 2412.06559)
    bigbench_mistake {"input", "steps", "mistake_index": first wrong step or null, ...} (arXiv 2311.08516)
    prmbench         {"modified_question", "modified_process", "error_steps": from 1, ...} (arXiv 2501.03124)

Labels are numbers: 1 right, 0 wrong, between them a probability, None not known. Where only the first wrong step is
marked, nothing is known of the steps after it.
"""

from typing import Any, NamedTuple

from irl.data.fields import (
    Row,
    brief,
    entries,
    expect,
    name_of,
    number,
    record,
    required,
    text,
    texts,
    whole,
)
from irl.data.fields import truth as true_or_false
from irl.types import LabelledSteps


class _Rated(NamedTuple):
    """A completion of a step and its label."""

    text: str
    label: float | None


def read_stepwise(row: Row, id: str) -> LabelledSteps:
    """Steps with a label each; soft labels stay soft, null is an unknown one."""
    steps = texts(required(row, "completions"), "completions")
    labels = entries(required(row, "labels"), "labels")
    expect(len(labels) == len(steps), "labels", f"{len(steps)} entries, one per completion", f"{len(labels)}")
    return LabelledSteps(
        id=name_of(row, "id", id),
        prompt=text(required(row, "prompt"), "prompt"),
        steps=steps,
        labels=tuple(_label(value, f"labels[{i}]") for i, value in enumerate(labels)),
    )


def read_processbench(row: Row, id: str) -> LabelledSteps:
    """Right steps up to the first wrong one; `source` is the generator."""
    steps = texts(required(row, "steps"), "steps")
    first = whole(required(row, "label"), "label")
    correct = row.get("final_answer_correct")
    return LabelledSteps(
        id=name_of(row, "id", id),
        prompt=text(required(row, "problem"), "problem"),
        steps=steps,
        labels=_up_to_error(len(steps), None if first == -1 else first, "label"),
        source=text(row.get("generator") or "", "generator", blank=True),
        correct=None if correct is None else true_or_false(correct, "final_answer_correct"),
    )


def read_bigbench_mistake(row: Row, id: str) -> LabelledSteps:
    """Right steps up to the first mistake; `correct` compares answer and target as strings."""
    steps = texts(required(row, "steps"), "steps")
    first = required(row, "mistake_index")
    first = None if first is None else whole(first, "mistake_index")
    return LabelledSteps(
        id=name_of(row, "id", id),
        prompt=text(required(row, "input"), "input"),
        steps=steps,
        labels=_up_to_error(len(steps), first, "mistake_index"),
        correct=text(required(row, "answer"), "answer", blank=True) == text(required(row, "target"), "target"),
    )


def read_prmbench(row: Row, id: str) -> list[LabelledSteps]:
    """The modified solution; with class "redundency" (so spelled) also the original, all right, as subset "correct".

    Like the benchmark's own evaluation, which takes each original once, from that class.
    """
    name, subset = name_of(row, "idx", id), text(required(row, "classification"), "classification")
    steps = texts(required(row, "modified_process"), "modified_process")
    marked = required(row, "error_steps")
    wrong = {whole(value, "error_steps") for value in entries(marked, "error_steps")} if marked != [] else set()
    expect(wrong <= set(range(1, len(steps) + 1)), "error_steps", f"numbers from 1 to {len(steps)}", brief(marked))
    prompt = text(required(row, "modified_question"), "modified_question")
    labels = tuple(0.0 if number in wrong else 1.0 for number in range(1, len(steps) + 1))
    modified = LabelledSteps(id=f"{subset}_{name}", prompt=prompt, steps=steps, labels=labels, subset=subset)
    if subset != "redundency":
        return [modified]
    prompt = text(required(row, "original_question"), "original_question")
    steps = texts(required(row, "original_process"), "original_process")
    right = (1.0,) * len(steps)
    return [LabelledSteps(id=f"correct_{name}", prompt=prompt, steps=steps, labels=right, subset="correct"), modified]


def read_prm800k(row: Row, id: str, *, neutral: float = 1.0) -> list[LabelledSteps]:
    """The path the labeller took, then every other rated completion as the last step of the path before it.

    Each rating stands in exactly one record: in those of other completions, the steps before are not labelled.
    Ratings 1 and -1 become 1 and 0, a rating of 0 becomes `neutral`; a step written by the labeller counts as right.
    """
    id, question = name_of(row, "id", id), record(required(row, "question"), "question")
    problem = text(required(question, "problem", "question."), "question.problem")
    judged = record(required(row, "label"), "label")
    steps = entries(required(judged, "steps", "label."), "label.steps")
    path: list[_Rated] = []
    others: list[LabelledSteps] = []
    for index, entry in enumerate(steps):
        where = f"label.steps[{index}]"
        rated, taken, following = _rated_step(record(entry, where), where, neutral)
        before = [_Rated(words, None) for words, _ in path]
        others += [
            _solution(f"{id}/{index}/{k}", problem, [*before, other])
            for k, other in enumerate(rated)
            if k != taken and other.label is not None
        ]
        if following is None:
            expect(index == len(steps) - 1, f"{where}.chosen_completion", "a completion (more steps follow)", "null")
            break
        path.append(following)
    correct = True if judged.get("finish_reason") == "solution" else None
    main = [_solution(id, problem, path, correct)] if any(label is not None for _, label in path) else []
    expect(bool(main or others), "label.steps", "at least one rated completion", "none")
    return main + others


def _label(value: Any, field: str) -> float | None:
    if value is None:
        return None
    label = float(value) if isinstance(value, bool) else number(value, field)
    expect(0 <= label <= 1, field, "true, false or a number from 0 to 1", brief(value))
    return label


def _up_to_error(count: int, first: int | None, field: str) -> tuple[float | None, ...]:
    if first is None:
        return (1.0,) * count
    expect(0 <= first < count, field, f"the number of a step, 0 to {count - 1}", brief(first))
    return (1.0,) * first + (0.0,) + (None,) * (count - first - 1)


def _solution(id: str, prompt: str, path: list[_Rated], correct: bool | None = None) -> LabelledSteps:
    steps, labels = zip(*path, strict=True)
    return LabelledSteps(id=id, prompt=prompt, steps=steps, labels=labels, correct=correct)


def _rated_step(step: Row, where: str, neutral: float) -> tuple[list[_Rated], int | None, _Rated | None]:
    """The completions of a step, the one that the labeller chose, and the next step of the path (None: its end)."""
    completions = entries(step["completions"], f"{where}.completions") if step.get("completions") else []
    rated = [
        _rated(record(entry, f"{where}.completions[{k}]"), f"{where}.completions[{k}]", neutral)
        for k, entry in enumerate(completions)
    ]
    taken = step.get("chosen_completion")
    if taken is not None:
        inside = type(taken) is int and 0 <= taken < len(rated)
        expect(inside, f"{where}.chosen_completion", f"a number below {len(rated)}", brief(taken))
        return rated, taken, rated[taken]
    if step.get("human_completion") is None:
        return rated, None, None
    field = f"{where}.human_completion"
    words = text(required(record(step["human_completion"], field), "text", f"{field}."), f"{field}.text")
    return rated, None, _Rated(words, 1.0)


def _rated(completion: Row, where: str, neutral: float) -> _Rated:
    rating = completion.get("rating")
    known = rating is None or (type(rating) is int and rating in (-1, 0, 1))
    expect(known, f"{where}.rating", "-1, 0 or 1", brief(rating))
    label_of = {1: 1.0, 0: neutral, -1: 0.0, None: None}
    return _Rated(text(required(completion, "text", f"{where}."), f"{where}.text"), label_of[rating])
