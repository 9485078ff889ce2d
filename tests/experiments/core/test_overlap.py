"""Overlaps: found in linear time, removed, counted and put into words; files have names of their own."""

import time
from pathlib import Path

import pytest

from experiments.core.overlap import (
    Overlap,
    file_labels,
    parts_by_prompt,
    refuse_repeated_files,
    sentences,
    shared_prompts,
    without_overlap,
)
from irl.types import InputError


def test_records_of_held_out_prompts_are_removed_and_counted():
    held_out = {"test set a": ["One", "two "], "test set b": ["TWO", "nine"]}
    kept, overlaps = without_overlap("records", ["one", "two", "three", "Two"], str, held_out, "data.train")
    assert kept == ["three"]
    assert [(each.held_out, each.records, each.total) for each in overlaps] == [
        ("test set a", 3, 4),
        ("test set b", 2, 4),
    ]
    assert sentences(overlaps) == [
        "3 of 4 records removed: their prompts are in test set a.",
        "2 of 4 records removed: their prompts are in test set b.",
    ]


def test_a_domain_has_its_own_form():
    held_out = {"test": ["1 2 3"]}
    kept, _ = without_overlap("traces", ["3 2 1", "4 5 6"], str, held_out, "f", lambda text: "".join(sorted(text)))
    assert kept == ["4 5 6"]


def test_nothing_is_left():
    with pytest.raises(
        InputError, match=r"data.train: each of the 2 pairs has a prompt of test and is left out, so .*"
    ):
        without_overlap("pairs", ["a", "A "], str, {"test": ["a"], "other": ["b"]}, "data.train")
    assert without_overlap("pairs", [], str, {"test": ["a"]}, "data.train")[0] == []


def test_sentences_of_no_overlap_and_of_one_that_stays():
    none = Overlap(data="pairs", held_out="test set a", records=0, total=1500)
    assert sentences([none, none]) == ["No training prompt is in the held-out data (test set a)."]
    assert sentences([]) == []
    stays = shared_prompts("training problems", ["a", "b"], "candidates pool", ["A", "c"])
    assert sentences([none, stays]) == [
        "1 of 2 training problems have a prompt of candidates pool; its results are not held-out results."
    ]


def test_parts_do_not_depend_on_order_or_spelling():
    prompts = [f"Prompt {number}" for number in range(400)]
    parts = parts_by_prompt(prompts, test=0.25, validation=0.15)
    assert parts_by_prompt(prompts[::-1], test=0.25, validation=0.15) == parts[::-1]
    assert [0.15 < parts.count("test") / 400 < 0.35, 0.08 < parts.count("validation") / 400 < 0.22] == [True, True]
    both = parts_by_prompt([*prompts, *(f"{prompt.upper()}\u200b" for prompt in prompts)], test=0.25, validation=0.15)
    assert both[:400] == both[400:]
    assert set(parts_by_prompt(["\ud800", "ok"], test=0.5, validation=0.1)) <= {"train", "validation", "test"}


@pytest.mark.parametrize(
    ("files", "labels"),
    [
        (["x/a.jsonl", "x/b.jsonl.gz"], ["a", "b"]),
        (["da/test.jsonl", "db/test.jsonl"], ["da/test", "db/test"]),
        (["p/da/test.jsonl", "q/da/test.jsonl", "q/other.jsonl"], ["p/da/test", "q/da/test", "other"]),
        (["x/test.jsonl", "x/test.json"], ["test.jsonl", "test.json"]),
        (["x/t.a.jsonl", "x/t.b.jsonl", "y/t.a.jsonl"], ["x/t.a.jsonl", "t.b.jsonl", "y/t"]),
        (["x/.hidden.jsonl"], ["hidden"]),
    ],
)
def test_labels_are_short_and_unambiguous(files, labels):
    assert file_labels(files) == dict(zip(files, labels, strict=True))


def test_a_link_to_a_file_is_that_file(tmp_path: Path):
    (tmp_path / "a").write_text("")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    refuse_repeated_files({"data.train": [f"{tmp_path}/a"], "data.test": [f"{tmp_path}/c"]})
    with pytest.raises(InputError, match=r"data.test: .*/b is given twice \(first as .*/a in data.train\)"):
        refuse_repeated_files({"data.train": [f"{tmp_path}/a"], "data.test": [f"{tmp_path}/b"]})


def test_the_time_is_linear():
    train, test = (
        [f"Prompt number {n} of a file" for n in numbers] for numbers in (range(100_000), range(50_000, 150_000))
    )
    begun = time.process_time()
    kept, _ = without_overlap("records", train, str, {"test": test}, "data.train")
    assert len(kept) == 50_000 and time.process_time() - begun < 4
