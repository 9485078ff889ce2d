"""Labelled steps: problems are held out whole, kinds of errors too, and an epoch can be drawn again."""

import json
import random
from dataclasses import replace

import pytest

from experiments.text_rewards.step_data import VALIDATION, PlantedErrors, StepFiles
from irl.domains.gsm8k.calculations import KINDS, evaluate, written
from irl.types import InputError, LabelledSteps


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def gsm8k(count, first=0):
    """Problems of two steps."""
    rows = []
    for n in range(first, first + count):
        a, b = 11 + n, 3 + n % 7
        answer = (
            f"First {a}*{b} = <<{a}*{b}={a * b}>>{a * b}.\nThen {a * b}+{b} = <<{a * b}+{b}={a * b + b}>>{a * b + b}."
        )
        rows.append({"question": f"Problem {n}: take {a} and {b}.", "answer": f"{answer}\n#### {a * b + b}"})
    return rows


@pytest.fixture
def planted(tmp_path):
    train, test = write(tmp_path / "train.jsonl", gsm8k(40)), write(tmp_path / "test.jsonl", gsm8k(12, 100))
    return PlantedErrors(train=train, test=test, drills=0, demonstrated_drills=0)


def problem(trace):
    """Its number: other numbers of a problem leave that alone only where the problem is not carried over."""
    return trace.prompt.split(":")[0]


# ----------------------------------------------------------------------------------- planted errors


def test_problems_are_held_out_whole(planted):
    plain = replace(planted, renumber=0.0)
    validation, test, threshold = plain.held_out()
    assert threshold == {"kinds trained on": VALIDATION, "held-out kinds": VALIDATION}
    tested = [{trace.prompt for trace in test[name]} for name in ("kinds trained on", "held-out kinds")]
    assert tested[0] == tested[1] == {row["question"] for row in gsm8k(12, 100)} and len(test) == 2
    held_out = {trace.prompt for trace in validation[VALIDATION]}
    assert held_out == {row["question"] for row in gsm8k(40)[::10]} and len(validation) == 1
    shown = {trace.prompt for number in range(4) for trace in plain.epoch(number, 0)}
    shown |= {trace.prompt for trace in plain.demonstrations(0)}
    assert shown == {row["question"] for row in gsm8k(40)} - held_out


def test_kinds_are_held_out(planted):
    shown = {trace.subset for number in range(5) for seed in range(2) for trace in planted.epoch(number, seed)}
    assert shown == {"right", *planted.kinds}
    held_out = planted.held_out()
    assert {trace.subset for trace in held_out.validation[VALIDATION]} <= {"right", *planted.kinds}
    sets = {name: {trace.subset for trace in traces} for name, traces in held_out.test.items()}
    assert sets["kinds trained on"] <= {"right", *planted.kinds}
    assert sets["held-out kinds"] <= {"right", *planted.held_out_kinds}
    assert "right" in sets["held-out kinds"] and len(sets["held-out kinds"]) > 1
    assert {*planted.kinds, *planted.held_out_kinds} == {*KINDS}


def test_labels(planted):
    """Right up to the error, wrong there, nothing known behind; calculations in << >> stay, final answers go."""
    traces = planted.epoch(0, 0)
    assert next(trace.labels for trace in traces if trace.subset == "right") == (1.0, 1.0)
    assert {trace.labels for trace in traces if trace.subset != "right"} == {(0.0, None), (1.0, 0.0)}
    assert all("<<" in step and "####" not in step for trace in traces for step in trace.steps)
    assert all(len(trace.steps) == 2 for trace in traces)
    every = replace(planted, flawed=1.0).epoch(0, 0)
    assert all(trace.first_error is not None for trace in every)
    none = replace(planted, flawed=0.0).epoch(0, 0)
    assert all(trace.labels == (1.0, 1.0) for trace in none) and len(none) == len(every) == 36


def test_epochs_come_again_and_differ(planted):
    assert planted.epoch(3, 1) == planted.epoch(3, 1)
    assert planted.epoch(3, 1) != planted.epoch(4, 1)
    assert planted.epoch(3, 1) != planted.epoch(3, 2)
    assert planted.demonstrations(0) == planted.demonstrations(0) != planted.demonstrations(1)
    assert planted.held_out() == planted.held_out()
    as_written = replace(planted, renumber=0.0)
    assert as_written.demonstrations(0) == as_written.demonstrations(1)


def test_drills_come_on_top(planted):
    """Calculations for themselves, every one with its label; those of demonstrations are all right."""
    with_drills = replace(planted, drills=5, demonstrated_drills=5)
    traces, right = with_drills.epoch(1, 0), with_drills.demonstrations(0)
    assert traces[:36] == planted.epoch(1, 0) and len(traces) == len(right) == 36 + 5
    assert traces == with_drills.epoch(1, 0)
    assert {label for trace in traces[36:] for label in trace.labels} == {0.0, 1.0}
    assert {label for trace in right[36:] for label in trace.labels} == {1.0}
    for trace in traces[36:]:
        for step, label in zip(trace.steps, trace.labels, strict=True):
            expression, _, result = step.rpartition("=")
            value = evaluate(expression.replace("x", "*"))
            assert (written(value) == "".join(c for c in result if c in "0123456789.")) == bool(label), step


def test_about_planted_errors(planted):
    assert planted.about() == (
        "the human solutions of train.jsonl, with errors planted by a program (slip, digit, operation, operand); "
        "errors of other kinds (transposed, magnitude, carry) and all test problems were never shown"
    )
    assert planted.information == "demonstrations"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kinds": ("slip", "typo")}, "PlantedErrors.kinds.1: expected 'slip', 'digit', .* got 'typo'"),
        ({"held_out_kinds": ("typo",)}, "PlantedErrors.held_out_kinds.0: expected 'slip'"),
        (
            {"kinds": ("slip", "carry"), "held_out_kinds": ("carry", "slip")},
            "PlantedErrors.held_out_kinds: carry, slip is in kinds too; remove it from one of them",
        ),
    ],
)
def test_bad_kinds(given, message):
    with pytest.raises(InputError, match=message):
        PlantedErrors(train="train", test="test", **given)


# -------------------------------------------------------------------------------------- labelled files


def stepwise(count):
    """Two traces of every problem, one with an error."""
    rows = []
    for n in range(count):
        rows.append({"prompt": f"Problem {n}", "completions": ["one", "two"], "labels": [True, True]})
        rows.append({"prompt": f"Problem {n}", "completions": ["one", "four"], "labels": [True, False]})
    return rows


def by_part(data):
    validation, test, threshold = data.held_out()
    assert {*threshold} == {*test} and {*threshold.values()} == {*validation} == {VALIDATION}
    parts = {name: {trace.prompt for trace in traces} for name, traces in (validation | test).items()}
    return parts | {"train": {trace.prompt for trace in data.epoch(0, 0)}}


def test_files_are_split_by_problem_whatever_the_order(tmp_path):
    rows = stepwise(120)
    data = StepFiles(files=(write(tmp_path / "steps.jsonl", rows),))
    parts = by_part(data)
    assert {*parts} == {VALIDATION, "steps", "train"}
    assert sum(map(len, parts.values())) == 120 == len(set().union(*parts.values())), "disjoint, and nothing is lost"
    assert 12 <= len(parts["steps"]) <= 36 and 4 <= len(parts[VALIDATION]) <= 20
    random.Random(0).shuffle(rows)
    assert by_part(StepFiles(files=(write(tmp_path / "steps_2.jsonl", rows),))) == {
        VALIDATION: parts[VALIDATION],
        "steps_2": parts["steps"],
        "train": parts["train"],
    }
    assert data.epoch(0, 0) == data.epoch(5, 1)
    assert data.about() == "labelled steps of steps.jsonl" and data.information == "step labels"


def test_every_file_is_reported_by_itself(tmp_path):
    rows = stepwise(60)
    files = write(tmp_path / "a.jsonl", rows[:60]), write(tmp_path / "b.jsonl", rows[60:])
    validation, test, _ = StepFiles(files=files).held_out()
    prompts = {name: {trace.prompt for trace in traces} for name, traces in test.items()}
    assert {*prompts} == {"a", "b"} and not prompts["a"] & prompts["b"]
    tuned = {trace.prompt for trace in validation[VALIDATION]}
    assert all(tuned & {row["prompt"] for row in part} for part in (rows[:60], rows[60:])), "one set of both files"


def test_demonstrations_are_right_where_any_is(tmp_path):
    data = StepFiles(files=(write(tmp_path / "steps.jsonl", stepwise(30)),))
    assert all(isinstance(trace, LabelledSteps) and trace.first_error is None for trace in data.demonstrations(0))
    assert 2 * len(data.demonstrations(0)) == len(data.epoch(0, 0)) > 0
    wrong = StepFiles(files=(write(tmp_path / "wrong.jsonl", stepwise(30)[1::2]),))
    assert wrong.demonstrations(0) == wrong.epoch(0, 0) != []


def test_other_records_are_refused(tmp_path):
    path = write(tmp_path / "pairs.jsonl", [{"prompt": "1", "chosen": "2", "rejected": "3"}])
    with pytest.raises(InputError, match=r"pairs.jsonl: expected labelled steps, got Preference; name the format by"):
        StepFiles(files=(path,)).epoch(0, 0)


# ------------------------------------------------------------------------------------------- overlaps


def test_the_training_file_as_a_test_file_is_refused(tmp_path):
    rows = [{**row, "question": f" {row['question'].upper()}\n"} for row in gsm8k(40)[::-1]]
    data = PlantedErrors(train=write(tmp_path / "a.jsonl", gsm8k(40)), test=write(tmp_path / "b.jsonl", rows))
    for learn in (data.overlaps, data.prompts, lambda: data.epoch(0, 0), lambda: data.demonstrations(0)):
        with pytest.raises(InputError, match=r"data.train: each of the 36 training problems has a prompt of the test"):
            learn()
    with pytest.raises(InputError, match=r"PlantedErrors.test: .* is given twice"):
        replace(data, test=data.train)


def test_test_problems_are_removed_from_the_training_file(tmp_path):
    rows = gsm8k(40)
    shared = [{**row, "question": row["question"].replace(" ", "\t")} for row in rows[::8]]
    twice = {**rows[10], "question": f"{rows[10]['question']} "}  # every tenth is a validation problem, so rows[9] too
    train, test = write(tmp_path / "a.jsonl", [*rows, rows[9], twice]), write(tmp_path / "b.jsonl", shared)
    data = PlantedErrors(train=train, test=test, drills=0, demonstrated_drills=0, renumber=0.0)
    counts = [(each.data, each.held_out, each.records, each.total) for each in data.overlaps()]
    assert counts == [
        ("training problems", "the test set", 4, 37),
        ("training problems", "the validation set", 2, 37),
        ("validation problems", "the test set", 1, 5),
    ]
    held_out = {row["question"] for row in (*rows[::8], *rows[::10], rows[9])}
    assert (
        set(data.prompts()) == {trace.prompt for trace in data.epoch(0, 0)} == {r["question"] for r in rows} - held_out
    )
    assert len(data.held_out().test["kinds trained on"]) >= len(shared)


def test_steps_of_files_of_one_name_are_two_test_sets(tmp_path):
    for folder in ("da", "db"):
        (tmp_path / folder).mkdir()
    files = [write(tmp_path / folder / "steps.jsonl", stepwise(60)) for folder in ("da", "db")]
    data = StepFiles(files=tuple(files))
    assert {*data.held_out().test} == {"da/steps", "db/steps"}
    parts = by_part(data)
    assert not parts["train"] & (parts["da/steps"] | parts["db/steps"] | parts[VALIDATION])
    with pytest.raises(InputError, match=r"StepFiles.files: .* is given twice"):
        StepFiles(files=(files[0], f"{tmp_path}/db/../da/steps.jsonl"))
