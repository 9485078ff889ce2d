"""Real and fresh traces of BIG-Bench-Mistake's tasks: what is trained on, held out, and the same from the same seed."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.mistake_data import MistakeTraces
from irl.traces.mistakes import dyck
from irl.types import InputError


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
    held_out = {name: {trace.prompt for trace in traces} for name, traces in data.held_out().items()}
    trained = {trace.prompt for trace in data._train(data.files[0])}
    assert set(held_out) == {"validation", "dyck_languages"}
    assert not trained & (held_out["validation"] | held_out["dyck_languages"])


def test_another_task_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.files: no task 'chess'; there are dyck_languages"):
        MistakeTraces(files=("chess.jsonl",))


def test_shares_must_leave_something_to_train_on() -> None:
    with pytest.raises(InputError, match=r"data.test, data.validation: .* got 0.8 and 0.2; lower one"):
        MistakeTraces(files=(), test=0.8, validation=0.2)


def test_steps_are_read_with_what_they_follow_from(data: MistakeTraces) -> None:
    """A window a step, in order; an epoch knows a few right labels of a trace and that of its wrong step."""
    for trace in data.epoch(0, 0)[-50:]:
        windows = data.windows(trace)
        assert [window.steps for window in windows] == [(step,) for step in trace.steps]
        assert tuple(window.labels[0] for window in windows) == trace.labels
        assert windows[2].prompt == f"due: {trace.prompt.split()[0]}\n{trace.steps[1]}"
        right = sum(label == 1.0 for label in trace.labels)
        assert right <= data.right_steps and (right == data.right_steps or trace.first_error is not None)
    whole = data.held_out()["dyck_languages"]
    assert max(sum(label == 1.0 for label in trace.labels) for trace in whole) > data.right_steps
