"""A domain that is its files: formats, splits, answers, and files that do not fit."""

import json

import numpy as np
import pytest

from irl.domains.base import Environment
from irl.domains.files import TraceFiles
from irl.types import InputError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def solution(number):
    return {"question": f"What is {number} + 1?", "answer": f"It is {number} + 1.\nSo {number + 1}.\n#### {number + 1}"}


def test_prompts_are_split_and_none_is_in_both(tmp_path):
    domain = TraceFiles(train=write(tmp_path / "a.jsonl", [solution(number) for number in range(40)]))
    train, test = ({problem.prompt for problem in domain.problems(split)} for split in ("train", "test"))
    assert len(test) == 4 and len(train) == 36 and not train & test
    assert isinstance(domain, Environment) and domain.verifies()
    shuffled = TraceFiles(train=write(tmp_path / "b.jsonl", [solution(number) for number in reversed(range(40))]))
    assert {problem.prompt for problem in shuffled.problems("test")} == test
    assert {trace.prompt for trace in domain.demonstrations("train")} == train


def test_answers_are_checked_against_the_demonstration(tmp_path):
    domain = TraceFiles(train=write(tmp_path / "a.jsonl", [solution(number) for number in range(20)]))
    problem = domain.problems("test")[0]
    trace = domain.expert(problem, np.random.default_rng(0))
    assert domain.split_steps(trace.text) == tuple(step.text for step in trace.steps)
    assert domain.verify(problem, trace.text).outcome == "correct"
    assert domain.verify(problem, "#### 999").outcome == "wrong"
    assert domain.verify(problem, "so what").outcome == "malformed"


def test_training_prompts_of_the_test_file_are_removed_and_counted(tmp_path):
    train = write(tmp_path / "a.jsonl", [solution(number) for number in range(10)])
    spelled = solution(3) | {"question": "  what is 3 + 1? "}
    domain = TraceFiles(train=train, test=write(tmp_path / "b.jsonl", [spelled, solution(50)]))
    assert domain.removed() == (("training traces", "the test problems", 1, 10),)
    assert len(domain.problems("train")) == 9
    assert [problem.prompt.strip() for problem in domain.problems("test")] == ["what is 3 + 1?", "What is 50 + 1?"]


def test_three_files_share_no_prompt(tmp_path):
    files = {
        name: write(tmp_path / f"{name}.jsonl", [solution(number) for number in numbers])
        for name, numbers in {"train": range(10), "validation": range(3, 15), "test": range(5, 8)}.items()
    }
    domain = TraceFiles(**files)
    splits = {name: {problem.id for problem in domain.problems(name)} for name in files}
    prompts = {name: {problem.prompt for problem in domain.problems(name)} for name in files}
    assert {name: len(known) for name, known in prompts.items()} == {"train": 3, "validation": 9, "test": 3}
    assert len(set().union(*prompts.values())) == 15 and splits["test"]
    assert [(each.data, each.held_out, each.records, each.total) for each in domain.removed()] == [
        ("training traces", "the test problems", 3, 10),
        ("training traces", "the validation set", 4, 7),
        ("validation traces", "the test problems", 3, 12),
    ]
    assert domain.summary()[0] == "3 training traces of 3 prompts; 3 test problems; 9 validation traces"
    problem = domain.problems("validation")[0]
    assert domain.expert(problem, np.random.default_rng(0)).prompt == problem.prompt


def test_problems_are_held_out_of_what_validation_leaves(tmp_path):
    train = write(tmp_path / "a.jsonl", [solution(number) for number in range(30)])
    domain = TraceFiles(train=train, validation=write(tmp_path / "b.jsonl", [solution(n) for n in range(10)]))
    sizes = [len(domain.problems(name)) for name in ("train", "validation", "test")]
    assert sizes == [18, 10, 2] and domain.demonstrations("validation")
    assert "2 of 20 prompts of a.jsonl (10%) are held out" in domain.summary()[1]


def test_a_validation_file_of_test_prompts_alone(tmp_path):
    train = write(tmp_path / "a", [solution(number) for number in range(9)])
    other = write(tmp_path / "b", [solution(20), solution(21)])
    with pytest.raises(InputError, match=r"/b: each of its prompts is a test prompt.*give a file with other prompts"):
        TraceFiles(train=train, validation=other, test=other).problems("train")


def test_what_is_left_out_of_a_file_is_reported(tmp_path):
    rows = [{"prompt": f"p{number}", "completion": "a\nb", "label": number != 3} for number in range(9)]
    rows += [{"prompt": "", "completion": "a\nb", "label": True}, {"prompt": "q", "completion": 5, "label": True}]
    file = write(tmp_path / "a.jsonl", rows)
    account = TraceFiles(train=file).summary()[3:]
    assert account[0].startswith(f"{file} (unpaired): 11 rows, 9 records, 2 rows do not fit\n  row 10: ")
    assert "row 11: " in account[0] and "completion: expected" in account[0]
    assert account[1].startswith(f"{file}: 1 of 9 records are no demonstrations (wrong, rejected, ")
    assert len(TraceFiles(train=file).demonstrations("train")) == 7


def test_a_file_with_few_answers_is_reported(tmp_path):
    rows = [solution(number) for number in range(9)]
    rows += [{"question": f"Why {n}?", "answer": "Because.\n####"} for n in range(11)]
    domain = TraceFiles(train=write(tmp_path / "a.jsonl", rows))
    assert not domain.verifies()
    assert domain.summary()[-1] == (
        "55.0% of the traces of a.jsonl have no answer by 'marked'; give another --domain.answer if they have"
    )


@pytest.mark.parametrize(
    ("row", "texts"),
    [
        ({"prompt": "p", "steps": ["a", "b"]}, ["a\nb"]),
        ({"prompt": "p", "steps": ["a", {"text": "b", "label": False}]}, []),
        ({"prompt": "p", "completion": "a\nb"}, ["a\nb"]),
        ({"prompt": "p", "completion": "a\nb", "label": False}, []),
        ({"prompt": "p", "completion": "a\nb", "label": True}, ["a\nb"]),
        ({"prompt": "p", "chosen": "a\nb", "rejected": "c\nd"}, ["a\nb"]),
        ({"prompt": "p", "completions": ["a", "b"], "labels": [True, True]}, ["a\nb"]),
        ({"prompt": "p", "completions": ["a", "b"], "labels": [True, False]}, []),
        (
            {"prompt": "p", "candidates": [{"text": "a\nb", "correct": True}, {"text": "c\nd", "correct": False}]},
            ["a\nb"],
        ),
        ({"messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a\nb"}]}, ["a\nb"]),
    ],
)
def test_right_traces_of_every_format_are_demonstrations(tmp_path, row, texts):
    test = write(tmp_path / "test.jsonl", [{"prompt": "other", "steps": ["x", "y"]}])
    rows = [row, {**row, **({"prompt": "q"} if "prompt" in row else {})}]
    domain = TraceFiles(train=write(tmp_path / "a.jsonl", rows), test=test)
    if not texts:
        with pytest.raises(InputError, match=r"a\.jsonl: none of its 2 records is a demonstration"):
            domain.problems("train")
        return
    assert [trace.text for trace in domain.demonstrations("train")] == texts * 2


def test_without_answers_nothing_is_verified(tmp_path):
    rows = [{"prompt": f"p{number}", "completion": "first\nsecond"} for number in range(4)]
    assert not TraceFiles(train=write(tmp_path / "a.jsonl", rows)).verifies()


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"prompt": "p"}] * 3, {}, "a prompt alone has no answer"),
        ([{"steps": ["a", "b"]}] * 3, {}, "no known format has the columns steps"),
        ([{"prompt": f"p{n}", "completion": "one line"} for n in range(3)], {}, "each of its 3 traces is one step"),
        (
            [{"prompt": f"p{n}", "completion": "a\nb"} for n in range(3)],
            {"steps": "STEP"},
            "each of its 3 traces is one step by the rule 'STEP'; give --domain.steps",
        ),
        (
            [{"prompt": f"p{n}", "completion": "a\nb"} for n in range(3)],
            {"answer": "boxed"},
            r"only 0% of its 3 traces have an answer by the rule 'boxed' \(row-1 has none\); give another",
        ),
        ([{"prompt": "p", "completion": "a\nb"}] * 3, {}, "all traces have one prompt"),
    ],
)
def test_files_that_do_not_fit(tmp_path, rows, options, message):
    domain = TraceFiles(train=write(tmp_path / "a.jsonl", rows), **options)
    with pytest.raises(InputError, match=f"a.jsonl.*{message}"):
        domain.problems("train")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="absent"):
        TraceFiles(train=str(tmp_path / "absent.jsonl")).problems("train")
