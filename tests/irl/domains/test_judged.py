"""Pairs of a better and a worse trace from the labels of every format."""

import json

import pytest

from irl.data import read_records
from irl.domains.files import TraceFiles
from irl.domains.judged import judged_pairs
from irl.text.steps import step_rule


def pairs_of(tmp_path, rows):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = judged_pairs(read_records(str(file)), step_rule("lines"), "\n")
    return [(pair.prompt, "|".join(pair.better), "|".join(pair.worse), pair.ended) for pair in pairs]


GOOD = {"text": "a", "correct": True}


def response(text, label):
    return {"prompt": "p", "completion": text, "label": label}


@pytest.mark.parametrize(
    ("rows", "pairs"),
    [
        ([response("a\nb", True), response("c", False)], [("p", "a|b", "c", True)]),
        ([response("a\nb", True)], []),
        (
            [response("a", True), *(response(text, False) for text in "cde")],
            [("p", "a", "c", True), ("p", "a", "d", True)],
        ),
        (
            [
                {
                    "prompt": "p",
                    "candidates": [{"text": "a", "correct": True}, {"text": "b", "correct": False}, {"text": "c"}],
                }
            ],
            [("p", "a", "b", True)],
        ),
        ([{"prompt": "p", "chosen": "a\nb", "rejected": "c"}], [("p", "a|b", "c", True)]),
        (
            [{"prompt": "p", "completions": ["a", "b", "c"], "labels": [True, True, False]}],
            [("p", "a|b", "a|b|c", False)],
        ),
        ([{"prompt": "p", "completions": ["a", "b"], "labels": [False, False]}], []),
        (
            [
                {"prompt": "p", "completions": ["a", "x"], "labels": [True, False]},
                {"prompt": "p", "completions": ["a", "b"], "labels": [True, True]},
            ],
            [("p", "a", "a|x", False), ("p", "a|b", "a|x", True)],
        ),
        (
            [{"prompt": "p", "steps": ["a", {"text": "x", "label": False}]}, {"prompt": "p", "steps": ["a", "b"]}],
            [("p", "a", "a|x", False)],
        ),
    ],
)
def test_pairs_of_labels(tmp_path, rows, pairs):
    assert pairs_of(tmp_path, rows) == pairs


def test_pairs_of_test_prompts_are_not_for_training(tmp_path):
    rows = [
        {"prompt": f"p{n}", "candidates": [{"text": "a\nb", "correct": True}, {"text": f"c{n}", "correct": False}]}
        for n in range(10)
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    domain = TraceFiles(train=str(file), held_out=0.3)
    train, test = ({pair.prompt for pair in domain.judged(split)} for split in ("train", "test"))
    assert test == {problem.prompt for problem in domain.problems("test")} and len(test) == 3
    assert train == {problem.prompt for problem in domain.problems("train")}
