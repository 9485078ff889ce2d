"""Pairs: split by prompt, votes as shares, rankings as pairs."""

import json
import random

import pytest

from experiments.core.overlap import PARTS
from experiments.text_rewards.pair_data import PairFiles, read_pairs
from irl.data.json_lines import write_json_lines
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
    half = PairFiles(train=data.train, held_out=0.5, validation=1e-9)
    assert prompts(half.part("test")) > prompts(parts["test"]) and half.part("validation") == []


def test_test_files_are_reported_whole(tmp_path):
    train, test = write(tmp_path / "a.jsonl", preferences(40)), write(tmp_path / "b.jsonl.x", preferences(80)[80:])
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


def respelled(row, number):
    """The same comparison in another spelling, under another id, with its answers in another order of keys."""
    prompt = [row["prompt"].upper(), f"  {row['prompt']}\r\n", row["prompt"].replace(" ", "\u00a0\u200b ")][number % 3]
    return {"id": f"other-{number}", "rejected": row["rejected"], "chosen": row["chosen"], "prompt": prompt}


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_the_training_file_as_a_test_file_is_refused(tmp_path, ending):
    rows = preferences(40)
    others = [respelled(row, number) for number, row in enumerate(rows)]
    random.Random(1).shuffle(others)
    test = tmp_path / f"test{ending}"
    write_json_lines(test, others)
    data = PairFiles(train=(write(tmp_path / "train.jsonl", rows),), test=(str(test),))
    for part in ("train", "validation"):
        with pytest.raises(InputError, match=r"data.train: each of the \d+ .* pairs has a prompt of test set test"):
            data.part(part)
    assert len(data.tests()["test"]) == 80, "the test file stays as it is"


def test_prompts_of_a_test_file_are_removed_and_counted(tmp_path):
    """Other answers to the same prompt are an overlap as well."""
    rows = preferences(100)
    shared = [{"prompt": f"PROMPT  {n}", "chosen": "other", "rejected": "answers"} for n in range(0, 100, 4)]
    train = write(tmp_path / "train.jsonl", rows)
    whole = PairFiles(train=(train,))
    data = PairFiles(train=(train,), test=(write(tmp_path / "test.jsonl", shared),))
    tested = {f"Prompt {n}" for n in range(0, 100, 4)}
    for part, overlap in zip(("train", "validation"), data.overlaps(), strict=True):
        assert prompts(data.part(part)) == prompts(whole.part(part)) - tested
        assert overlap.total == len(whole.part(part)) and overlap.held_out == "test set test" and overlap.removed
        assert overlap.records == len(whole.part(part)) - len(data.part(part)) > 0
    assert data.part("test") == whole.part("test") and whole.overlaps() == []


def test_variants_of_a_prompt_are_in_one_part(tmp_path):
    """Within a file and between files, whatever the spelling; prompts of one spelling are where they were."""
    rows = preferences(100)
    others = [{**row, "prompt": f" {row['prompt']} ".lower()} for row in rows]
    one = PairFiles(train=(write(tmp_path / "one.jsonl", rows),))
    two = PairFiles(train=(one.train[0], write(tmp_path / "two.jsonl", others)))
    for name in PARTS:
        canonical = [pair.question.prompt.strip().lower() for pair in two.part(name)]
        assert all(canonical.count(prompt) == 4 for prompt in canonical)
    assert sum(len(two.part(name)) for name in PARTS) == 400


def test_files_of_one_name_are_two_test_sets(tmp_path):
    for folder in ("da", "db"):
        (tmp_path / folder).mkdir()
    first, second = ({"prompt": p, "chosen": "yes", "rejected": "no"} for p in ("One?", "Two?"))
    files = (write(tmp_path / "da" / "test.jsonl", [first]), write(tmp_path / "db" / "test.jsonl", [second]))
    data = PairFiles(train=(write(tmp_path / "train.jsonl", preferences(40)),), test=files)
    assert {name: prompts(pairs) for name, pairs in data.tests().items() if name != "train"} == {
        "da/test": {"One?"},
        "db/test": {"Two?"},
    }


@pytest.mark.parametrize("again", ["{0}", "{0}/../{1}/pairs.jsonl"])
@pytest.mark.parametrize("option", ["train", "test"])
def test_a_file_given_twice_is_refused(tmp_path, option, again):
    file = write(tmp_path / "pairs.jsonl", preferences(4))
    again = again.format(file if again == "{0}" else tmp_path, tmp_path.name)
    given = {"train": (file, again)} if option == "train" else {"train": (file,), "test": (again,)}
    with pytest.raises(
        InputError, match=rf"PairFiles.{option}: .*(distinct values|is given twice \(first as .* in PairFiles.train\))"
    ):
        PairFiles(**given)
