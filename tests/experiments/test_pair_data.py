"""Pairs: split by prompt, votes as shares, rankings as pairs."""

import json
import random

import pytest

from experiments.pair_data import PARTS, PairFiles, read_pairs
from irl.types import InputError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def preferences(count):
    """Two pairs of every prompt."""
    return [{"prompt": f"Prompt {n // 2}", "chosen": f"yes {n}", "rejected": f"no {n}"} for n in range(2 * count)]


def comparison(*votes, number=0):
    judges = {f"annotator{i + 1}": vote for i, vote in enumerate(votes)}
    texts = {"instruction": f"Say {number}", "input": "", "response1": "first", "response2": "second"}
    return {"idx": number, **texts, **judges}


def texts(pair):
    return [answer.text for answer in pair.question.answers]


def test_a_preference_is_a_pair(tmp_path):
    (pair,) = read_pairs(write(tmp_path / "pairs.jsonl", preferences(1)[:1]), None)
    assert pair.question.prompt == "Prompt 0" and texts(pair) == ["yes 0", "no 0"]
    assert (pair.share, pair.outcome) == (1.0, 1)
    assert [[answer.text for answer in pair.side(index).answers] for index in (0, 1)] == [["yes 0"], ["no 0"]]
    assert pair.side(1).prompt == "Prompt 0"


@pytest.mark.parametrize(
    ("votes", "share", "outcome"),
    [
        ((1, 1, 1), 1.0, 1),
        ((1, 1, 2), 2 / 3, 1),
        ((1, 0, 2), 0.5, 0),
        ((0, 0, 0), 0.5, 0),
        ((1, 0, 0), 2 / 3, 1),
        ((2, 2, 0), 1 / 6, -1),
        ((2, 2), 0.0, -1),
    ],
)
def test_votes_are_shares(tmp_path, votes, share, outcome):
    (pair,) = read_pairs(write(tmp_path / "votes.jsonl", [comparison(*votes)]), "pandalm")
    assert texts(pair) == ["first", "second"]
    assert pair.share == pytest.approx(share) and pair.outcome == outcome


def test_a_ranking_is_its_pairs(tmp_path):
    said = [
        {"rank": rank, "completion": [{"role": "assistant", "content": f"text {rank}{i}"}]}
        for i, rank in enumerate([2, 0, 2])
    ]
    row = {"context": [{"role": "user", "content": "Speak"}], "completions": said}
    pairs = read_pairs(write(tmp_path / "ranks.jsonl", [row]), None)
    found = [(*texts(pair), pair.share, pair.outcome) for pair in pairs]
    assert found == [
        ("text 20", "text 01", 0.0, -1),
        ("text 20", "text 22", 0.5, 0),
        ("text 01", "text 22", 1.0, 1),
    ]
    assert {pair.question.prompt for pair in pairs} == {"Speak"}


def prompts(pairs):
    return {pair.question.prompt for pair in pairs}


def test_split_by_prompt_whatever_the_order(tmp_path):
    rows = preferences(200)
    data = PairFiles(train=(write(tmp_path / "pairs.jsonl", rows),))
    parts = {name: data.part(name) for name in PARTS}
    assert sum(map(len, parts.values())) == 400
    assert sum(len(prompts(pairs)) for pairs in parts.values()) == 200, "no prompt is in two parts"
    assert 30 <= len(prompts(parts["test"])) <= 75 and 12 <= len(prompts(parts["validation"])) <= 50
    assert data.tests() == {"pairs": parts["test"]}
    random.Random(0).shuffle(rows)
    again = PairFiles(train=(write(tmp_path / "shuffled.jsonl", rows),))
    assert {name: prompts(again.part(name)) for name in PARTS} == {name: prompts(parts[name]) for name in PARTS}
    half = PairFiles(train=data.train, held_out=0.5, validation=0.0)
    assert prompts(half.part("test")) > prompts(parts["test"]) and half.part("validation") == []


def test_test_files_are_reported_whole(tmp_path):
    train, test = write(tmp_path / "a.jsonl", preferences(40)), write(tmp_path / "b.jsonl.x", preferences(40))
    data = PairFiles(train=(train,), test=(test,), format="preference")
    found = data.tests()
    assert {name: len(pairs) for name, pairs in found.items()} == {"a": len(data.part("test")), "b": 80}
    assert data.about() == "preference pairs of a.jsonl"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "1", "completions": ["one"], "labels": [True]},
            r"expected preferences, comparisons or rankings, got LabelledSteps",
        ),
        (None, r"none\.jsonl: "),
    ],
)
def test_files_without_pairs(tmp_path, row, message):
    path = write(tmp_path / "none.jsonl", [] if row is None else [row])
    with pytest.raises(InputError, match=message):
        PairFiles(train=(path,)).part("train")
