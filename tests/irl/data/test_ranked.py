"""Ranked lists and judged candidates."""

from typing import ClassVar

import pytest

from irl.data.ranked import (
    read_candidates_row,
    read_completion,
    read_gsm8k_solutions,
    read_messages,
    read_nemo_ranks,
    read_rewardbench2,
    read_rlhflow_answers,
)
from irl.types import Candidate, Candidates, InputError, Message, RankedResponses
from tests.irl.data.writing import candidates_row, nemo_ranks_row


def user(content):
    return {"role": "user", "content": content}


def said(content):
    return {"role": "assistant", "content": content}


def reason(read, row):
    with pytest.raises(InputError) as caught:
        read(row, "row-1")
    return str(caught.value)


def judged(record):
    return [(each.text, each.correct) for each in record.candidates]


class TestNemoRanks:
    ROW: ClassVar = {
        "context": [user("p")],
        "completions": [{"rank": 1, "completion": [said("b")]}, {"rank": 0, "completion": [said("a")]}],
    }

    def test_ranks_and_order_stay(self):
        expected = RankedResponses(
            prompt="p", responses=("b", "a"), ranks=(1, 0), messages=(Message(role="user", content="p"),), id="x"
        )
        assert read_nemo_ranks(self.ROW, "x") == expected
        assert nemo_ranks_row(expected) == self.ROW | {"id": "x"}

    @pytest.mark.parametrize(
        ("completions", "expected"),
        [
            ([{"rank": 0, "completion": [said("a")]}], "field completions: expected 2 or more, got 1"),
            ([{"completion": [said("a")]}], "field completions[0].rank: missing; present: completion"),
            ([{"rank": 0.5, "completion": [said("a")]}], "field completions[0].rank: expected an integer, got 0.5"),
            ([{"rank": 0, "completion": [said("")]}], "field completions[0].completion: expected text"),
            ([{"rank": 0, "completion": []}], "field completions[0].completion: expected at least one entry"),
        ],
    )
    def test_rows_that_do_not_fit(self, completions, expected):
        assert expected in reason(read_nemo_ranks, self.ROW | {"completions": completions})


class TestRlhflowAnswers:
    @pytest.mark.parametrize("name", ["label", "labels"])
    def test_both_names_of_the_labels(self, name):
        record = read_rlhflow_answers({"prompt": "p", "answers": ["a", ""], name: [1, 0]}, "row-3")
        assert (record.id, judged(record)) == ("row-3", [("a", True), ("", False)])

    @pytest.mark.parametrize(
        ("labels", "expected"),
        [
            ([1], "field labels: expected 2 entries, one per answer, got 1"),
            ([1, 2], "field labels[1]: expected true or false, got 2"),
            ([1, float("nan")], "field labels[1]: expected true or false, got nan"),
        ],
    )
    def test_rows_that_do_not_fit(self, labels, expected):
        assert reason(read_rlhflow_answers, {"prompt": "p", "answers": ["a", "b"], "labels": labels}) == expected


class TestRewardbench2:
    ROW: ClassVar = {
        "id": "tied:3",
        "subset": "Ties",
        "prompt": "p",
        "chosen": ["a", "b"],
        "rejected": ["c"],
        "num_correct": 2,
    }

    def test_right_ones_stand_first(self):
        record = read_rewardbench2(self.ROW | {"total_completions": 3}, "row-1")
        assert (record.id, record.subset) == ("tied:3", "Ties")
        assert judged(record) == [("a", True), ("b", True), ("c", False)]

    def test_counts_must_agree(self):
        expected = "field num_correct: expected 2, the number of texts in the row, got 1"
        assert reason(read_rewardbench2, self.ROW | {"num_correct": 1}) == expected


class TestCandidates:
    def test_gsm8k_solutions_hide_the_models(self):
        row = {
            "question": "q",
            "ground_truth": "...",
            "zebra_model": {"solution": "A: 1", "is_correct": False},
            "ant_model": {"solution": "A: 2", "is_correct": True},
        }
        record = read_gsm8k_solutions(row, "row-1")
        assert judged(record) == [("A: 2", True), ("A: 1", False)]
        assert "model" not in repr(record)

    def test_solutions_without_any(self):
        assert "at least one model's solution" in reason(read_gsm8k_solutions, {"question": "q", "ground_truth": "g"})

    def test_own_rows_with_everything(self):
        record = Candidates(
            id="7",
            prompt="p",
            candidates=(Candidate(text="a", correct=True), Candidate(text="")),
            subset="s",
            messages=(Message(role="user", content="p"),),
        )
        assert read_candidates_row(candidates_row(record), "row-1") == record

    def test_own_rows_that_do_not_fit(self):
        row = {"prompt": "p", "candidates": [{"text": "a", "correct": "yes"}]}
        assert reason(read_candidates_row, row) == "field candidates[0].correct: expected true or false, got 'yes'"
        assert reason(read_candidates_row, {"prompt": "p"}) == "field candidates: missing; present: prompt"

    def test_one_completion_to_score(self):
        text = read_completion({"prompt": "p", "completion": "c"}, "row-1")
        chat = read_completion({"prompt": [user("p")], "completion": [said("c")]}, "row-1")
        conversation = read_messages({"messages": [user("p"), said("c")]}, "row-1")
        assert judged(text) == judged(chat) == [("c", None)]
        assert chat == conversation and chat.messages and not text.messages

    @pytest.mark.parametrize(
        ("messages", "expected"),
        [
            ([user("p")], "field messages: expected a prompt and an answer, got 1 turn"),
            ([said("a"), user("p")], "field messages: expected one assistant turn after the prompt, got user"),
        ],
    )
    def test_conversation_without_answer(self, messages, expected):
        assert reason(read_messages, {"messages": messages}) == expected
