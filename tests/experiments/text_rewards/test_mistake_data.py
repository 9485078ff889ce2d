"""Real and fresh traces of BIG-Bench-Mistake's tasks: what is trained on, held out, and the same from the same seed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from experiments.text_rewards.mistake_data import MistakeTraces
from irl.domains.bigbench_mistake import dyck, tracking
from irl.types import InputError

SWAPS = (
    "Alice, Bob, and Claire are friends and avid readers who occasionally trade books. At the start of the semester, "
    "they each buy one new book: Alice gets Ulysses, Bob gets Frankenstein, and Claire gets Lolita.\nAs the semester "
    "proceeds, they start trading around the new books. First, Claire and Alice swap books. Finally, Bob and Alice "
    "swap books. At the end of the semester, Bob has\nOptions:\n(A) Ulysses.\n(B) Frankenstein.\n(C) Lolita."
)


@pytest.fixture
def data(tmp_path: Path) -> MistakeTraces:
    rng, file = np.random.default_rng(0), tmp_path / "dyck_languages.jsonl"
    rows = []
    for number in range(60):
        trace = (
            dyck.flawed(dyck.problem("( ( ( ( ( (", rng), 0.5, rng) if number % 3 else dyck.written("( [ )"[:3], rng)
        )
        row = {"input": f"{trace.problem}", "steps": trace.steps, "mistake_index": trace.wrong}
        rows.append(json.dumps(row | {"answer": "a", "target": "a"}))
    file.write_text("\n".join(rows))
    return MistakeTraces(files=(str(file),), generated=50)


def test_an_epoch_is_drawn_from_its_number_and_seed(data: MistakeTraces) -> None:
    first = data.epoch(0, 0)
    assert first == data.epoch(0, 0) and first != data.epoch(1, 0) and first != data.epoch(0, 1)
    fresh = [trace for trace in first if trace.subset]
    assert len(fresh) == 50 and 0.4 < np.mean([trace.first_error is not None for trace in fresh]) < 0.8


def test_demonstrations_are_right(data: MistakeTraces) -> None:
    assert all(trace.first_error is None for trace in data.demonstrations(0))


def test_problems_are_trained_on_or_held_out(data: MistakeTraces) -> None:
    validation, test, _ = data.held_out()
    held_out = {trace.prompt for traces in (*validation.values(), *test.values()) for trace in traces}
    trained = set(data.prompts())
    assert not trained & held_out and trained and held_out
    fresh = {trace.prompt for seed in range(3) for trace in (*data.epoch(seed, seed), *data.demonstrations(seed))}
    assert not fresh & held_out, "no problem that is written by program or renamed is held out"


def test_a_task_has_its_threshold_from_its_own_problems(data: MistakeTraces, tmp_path: Path) -> None:
    """A file of another task changes nothing for the first."""
    rng, rows = np.random.default_rng(1), []
    for number in range(60):
        problem = tracking.problem(SWAPS, rng)
        trace = tracking.flawed(problem, 0.5, rng) if number % 3 else tracking.written(problem, rng)
        row = {"input": trace.problem, "steps": trace.steps, "mistake_index": trace.wrong}
        rows.append(json.dumps(row | {"answer": "a", "target": "a"}))
    other = tmp_path / "tracking_shuffled_objects.jsonl"
    other.write_text("\n".join(rows))
    validation, test, threshold = replace(data, files=(*data.files, str(other))).held_out()
    assert threshold == {name: f"{name}, validation" for name in ("dyck_languages", "tracking_shuffled_objects")}
    assert {*validation} == {*threshold.values()} and {*test} == {*threshold}
    alone = data.held_out()
    for sets, name in ((validation, "dyck_languages, validation"), (test, "dyck_languages")):
        assert sets[name] == (alone.validation | alone.test)[name]
    own = {trace.prompt for trace in validation["tracking_shuffled_objects, validation"]}
    assert own and own < {json.loads(row)["input"] for row in rows}


def test_another_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"MistakeTraces\.files: no task 'chess'; there are dyck_languages"):
        MistakeTraces(files=("chess.jsonl",))


def test_shares_must_leave_something_to_train_on() -> None:
    with pytest.raises(InputError, match=r"MistakeTraces.test: .* got 0.8 and 0.2; lower one"):
        MistakeTraces(files=("dyck_languages.jsonl",), test=0.8, validation=0.2)


def test_steps_are_read_with_what_they_follow_from(data: MistakeTraces) -> None:
    """A window a step, in order; an epoch knows a few right labels of a trace and that of its wrong step."""
    for trace in data.epoch(0, 0)[-50:]:
        windows = data.windows(trace)
        assert [window.steps for window in windows] == [(step,) for step in trace.steps]
        assert tuple(window.labels[0] for window in windows) == trace.labels
        assert windows[2].prompt == f"due: {trace.prompt.split()[0]}\n{trace.steps[1]}"
        right = sum(label == 1.0 for label in trace.labels)
        assert right <= data.right_steps and (right == data.right_steps or trace.first_error is not None)
    whole = data.held_out().test["dyck_languages"]
    assert max(sum(label == 1.0 for label in trace.labels) for trace in whole) > data.right_steps
