"""`traceward evaluate --benchmark`: an oracle reaches 1 on every benchmark, chance does not; rows that do not fit."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.cli import main
from experiments.commands.benchmark import step_scores
from experiments.commands.options import ModelOptions
from irl.rewards.questions import AnswerScores, steps_answer
from reward_models.types import ScoreSpec


class Oracle:
    """Scores an answer by whether it contains "wrong", and its lines each for itself."""

    spec = ScoreSpec(aggregate="min", information="demonstrations")

    def answers(self, questions):
        texts = [answer.text for question in questions for answer in question.answers]
        lines = [tuple(line for line in text.split("\n") if line) for text in texts]
        scores = [[0.0 if "wrong" in line else 1.0 for line in own] for own in lines]
        reasons = ["too long" if "LONG" in text else "" for text in texts]
        return AnswerScores(np.array([min(own) for own in scores]), scores, lines, reasons)


@pytest.fixture
def evaluate(capsys, monkeypatch, tmp_path):
    """The command on rows, with the oracle as the model: exit code, metrics by name, standard error."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setattr(ModelOptions, "open", lambda options: Oracle())

    def run(name, *files, options=()):
        paths = []
        for number, rows in enumerate(files):
            paths.append(tmp_path / f"split{number}.jsonl")
            paths[-1].write_text("\n".join(json.dumps(row) for row in rows))
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(
                ["evaluate", "--benchmark", name, "--model", "unused", "--resamples", "20", *options, *map(str, paths)]
            )
        out, err = capsys.readouterr()
        cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.splitlines() if line.startswith("│")]
        return stop.value.code or 0, {row[0]: [row[1], *row[2:]] for row in cells if row[0]}, err

    return run


def solutions(count, row):
    """Right and wrong solutions in turn; of the wrong ones, step 1 of 3 is the first wrong one."""
    steps = ["two\nlines", "right", "right"], ["right", "wrong a", "wrong b"]
    return [row(number, steps[number % 2], number % 2) for number in range(count)]


def processbench_row(number, steps, wrong):
    return {"problem": f"p{number}", "steps": steps, "label": 1 if wrong else -1}


def prmbench_row(number, steps, wrong):
    row = {"idx": number, "modified_question": f"p{number}", "modified_process": steps}
    return row | {"error_steps": [2, 3] if wrong else [], "classification": "circular" if wrong else "multi_solutions"}


def mistake_row(number, steps, wrong):
    row = {"input": f"p{number}", "steps": steps, "mistake_index": 1 if wrong else None}
    return row | {"answer": "7", "target": "8" if wrong else "7"}


@pytest.mark.parametrize(
    ("name", "row", "metrics"),
    [
        ("processbench", processbench_row, {"split0 error", "split0 correct", "split0 F1", "average F1"}),
        ("prmbench", prmbench_row, {"overall", "simplicity", "sensitivity", "circular", "first_error_accuracy"}),
        ("bigbench_mistake", mistake_row, {"split0 accuracy", "split0 answer_f1", "mean"}),
    ],
)
@pytest.mark.parametrize("options", [(), ("--threshold", "0.5")])
def test_step_benchmarks(evaluate, name, row, metrics, options):
    code, found, _ = evaluate(name, solutions(40, row), options=options)
    assert code == 0 and metrics <= found.keys()
    for metric in metrics:
        assert found[metric][1] == "1.000", metric
    assert any(float(found[metric][-1]) < 0.9 for metric in metrics)


def test_splits_are_files(evaluate):
    _, found, _ = evaluate("processbench", solutions(20, processbench_row), solutions(30, processbench_row))
    assert (found["split0 F1"][0], found["split1 F1"][0], found["average F1"][0]) == ("20", "30", "50")


def test_rewardbench(evaluate):
    pair = {"prompt": "p", "chosen": "fine", "rejected": "wrong"}
    rows = [pair | {"subset": "math-prm", "id": str(n)} for n in range(8)]
    _, found, _ = evaluate("rewardbench", rows)
    assert found["math-prm"][:2] == ["8", "1.000"] and found["Reasoning"][1] == "1.000"
    assert found["overall"][1] == "nan"  # the other sections have no pair
    assert (
        found["math-prm"][2] == "1.000" and found["math-prm"][3] == "0.000"
    )  # the chosen answers are the shorter ones


def test_rewardbench2(evaluate):
    row = {"prompt": "p", "chosen": ["fine"], "rejected": ["wrong 1", "wrong 2", "wrong 3"], "num_correct": 1}
    _, found, _ = evaluate("rewardbench2", [row | {"subset": "Math", "id": str(n)} for n in range(8)])
    assert found["Math"][:2] == ["8", "1.000"] and found["overall"][1] == "1.000"


def test_rows_without_a_score_are_listed(evaluate):
    rows = solutions(40, processbench_row)
    rows[3] = rows[3] | {"steps": ["right", "LONG wrong", "right"]}
    code, found, err = evaluate("processbench", rows)
    assert code == 0 and found["average F1"][:2] == ["39", "1.000"] and "row 4, candidate 0: too long" in err


@pytest.mark.parametrize(
    ("name", "rows", "options", "message"),
    [
        ("processbench", [], (), "empty; expected one JSON object per line"),
        (
            "process",
            solutions(2, processbench_row),
            (),
            "--benchmark process: expected one of bigbench_mistake, prmbench",
        ),
        (
            "rewardbench",
            solutions(2, processbench_row),
            (),
            "expected rows that are read as Preference, got LabelledSteps",
        ),
        (
            "processbench",
            solutions(1, processbench_row),
            (),
            "a threshold needs right and wrong solutions in each half",
        ),
        ("processbench", solutions(2, processbench_row), ("--resamples", "0"), "--resamples 0: expected 1 or more"),
        ("rewardbench", solutions(2, processbench_row), ("--threshold", "0"), "rewardbench compares whole answers"),
    ],
)
def test_refused(evaluate, name, rows, options, message):
    code, _, err = evaluate(name, rows, options=options)
    assert code == 2 and message in err


def test_a_benchmark_needs_files(evaluate):
    code, _, err = evaluate("processbench")
    assert code == 2 and "expected the files of the benchmark" in err


def test_steps_of_other_places():
    """The lowest score of the pieces that begin in a step; a step without a piece has that of the text before."""
    answer = steps_answer(["a\nb", "c", "d"], "\n\n")
    assert step_scores(answer, ("a", "b", "c", "d"), [3, 1, 2, 4]).tolist() == [1, 2, 4]
    assert step_scores(answer, ("a\nb", "c\n\nd"), [3, 2]).tolist() == [3, 2, 2]
    assert len(step_scores(answer, (answer.text,), [1.0])) == 0  # the model reads no steps
    assert len(step_scores(answer, ("a", "x"), [1.0, 2.0])) == 0


def test_processbench_file(evaluate, shared_data, capsys):
    """The published rows are read; a scorer that finds every step right never names one."""
    files = [str(path) for path in Path(shared_data / "processbench").glob("gsm8k*.xz")]
    with pytest.raises(SystemExit):
        main(["evaluate", "--benchmark", "processbench", "--model", "unused", "--resamples", "20", *files])
    assert "200 rows" in capsys.readouterr().out
