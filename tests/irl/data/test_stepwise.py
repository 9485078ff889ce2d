"""Step labels: what each format says of every step, and nothing it does not say."""

from typing import ClassVar

import pytest

from irl.data.stepwise import (
    read_bigbench_mistake,
    read_prm800k,
    read_prmbench,
    read_processbench,
    read_stepwise,
)
from irl.types import InputError, LabelledSteps
from tests.irl.data.writing import stepwise_row


def reason(read, row):
    with pytest.raises(InputError) as caught:
        read(row, "row-1")
    return str(caught.value)


class TestStepwise:
    ROW: ClassVar = {"prompt": "p", "completions": ["a", "b", "c"], "labels": [True, 0.25, False]}

    def test_soft_labels_stay_soft(self):
        expected = LabelledSteps(id="row-1", prompt="p", steps=("a", "b", "c"), labels=(1.0, 0.25, 0.0))
        assert read_stepwise(self.ROW, "row-1") == expected
        assert expected.first_error == 1

    def test_written_labels_are_booleans_only_where_certain(self):
        soft = read_stepwise(self.ROW, "x")
        hard = read_stepwise(self.ROW | {"labels": [1, 1, 0]}, "x")
        assert stepwise_row(soft)["labels"] == [1.0, 0.25, 0.0]
        assert [type(label) for label in stepwise_row(hard)["labels"]] == [bool] * 3
        assert [read_stepwise(stepwise_row(each), "y") for each in (soft, hard)] == [soft, hard]

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"labels": [True]}, "field labels: expected 3 entries, one per completion, got 1"),
            ({"labels": [True, float("nan"), True]}, "field labels[1]: expected a finite number, got nan"),
            ({"labels": [True, "+", True]}, "field labels[1]: expected a finite number, got '+'"),
            ({"labels": [True, 1.5, True]}, "field labels[1]: expected true, false or a number from 0 to 1, got 1.5"),
            ({"labels": [True, -100, True]}, "field labels[1]: expected true, false or a number from 0 to 1, got -100"),
            ({"completions": ["a", " ", "c"]}, "field completions[1]: expected text, got an empty string"),
            ({"completions": "abc"}, "field completions: expected a list, got str"),
            ({"completions": []}, "field completions: expected at least one entry, got an empty list"),
            ({"prompt": None}, "field prompt: expected a string, got null"),
        ],
    )
    def test_rows_that_do_not_fit(self, change, expected):
        assert reason(read_stepwise, self.ROW | change) == expected


class TestFirstError:
    PROCESS: ClassVar = {"id": "gsm8k-3", "generator": "m", "problem": "p", "steps": ["a", "b", "c"], "label": 1}
    MISTAKE: ClassVar = {"input": "p", "steps": ["a", "b", "c"], "answer": "x", "target": "y", "mistake_index": 0}

    def test_nothing_is_known_after_the_first_error(self):
        record = read_processbench(self.PROCESS | {"final_answer_correct": False}, "row-1")
        assert (record.labels, record.first_error) == ((1.0, 0.0, None), 1)
        assert (record.id, record.source, record.correct) == ("gsm8k-3", "m", False)
        assert read_bigbench_mistake(self.MISTAKE, "row-1").labels == (0.0, None, None)

    def test_no_error(self):
        assert read_processbench(self.PROCESS | {"label": -1}, "x").labels == (1.0, 1.0, 1.0)
        record = read_bigbench_mistake(self.MISTAKE | {"mistake_index": None, "answer": "y"}, "x")
        assert (record.labels, record.first_error, record.correct) == ((1.0, 1.0, 1.0), None, True)

    @pytest.mark.parametrize("label", [3, -2])
    def test_no_such_step(self, label):
        expected = f"field label: expected the number of a step, 0 to 2, got {label}"
        assert reason(read_processbench, self.PROCESS | {"label": label}) == expected

    def test_missing_index_is_not_the_same_as_null(self):
        row = {name: value for name, value in self.MISTAKE.items() if name != "mistake_index"}
        assert reason(read_bigbench_mistake, row).startswith("field mistake_index: missing")
        assert reason(read_bigbench_mistake, self.MISTAKE | {"mistake_index": 1.0}).endswith("an integer, got 1.0")


class TestPrmbench:
    ROW: ClassVar = {
        "idx": "q7",
        "classification": "circular",
        "original_question": "o",
        "original_process": ["1. x", "2. y"],
        "modified_question": "m",
        "modified_process": ["1. a", "2. b", "3. c"],
        "error_steps": [2, 3],
    }

    def test_error_steps_count_from_one(self):
        (record,) = read_prmbench(self.ROW, "row-1")
        assert (record.labels, record.subset, record.prompt) == ((1.0, 0.0, 0.0), "circular", "m")

    def test_originals_come_once_from_one_class(self):
        original, modified = read_prmbench(self.ROW | {"classification": "redundency"}, "row-1")
        assert (original.id, original.subset, original.labels) == ("correct_q7", "correct", (1.0, 1.0))
        assert (modified.id, modified.subset) == ("redundency_q7", "redundency")

    def test_no_error_at_all(self):
        assert read_prmbench(self.ROW | {"error_steps": []}, "x")[0].first_error is None

    @pytest.mark.parametrize("wrong", [[0], [4]])
    def test_no_such_step(self, wrong):
        expected = f"field error_steps: expected numbers from 1 to 3, got {wrong}"
        assert reason(read_prmbench, self.ROW | {"error_steps": wrong}) == expected


def step(*ratings, chosen, human=None):
    """A PRM800K step whose completions are named after step and rating."""
    completions = [{"text": text, "rating": rating, "flagged": None} for text, rating in ratings]
    return {"completions": completions, "chosen_completion": chosen, "human_completion": human}


def labelled(*steps, finish="found_error"):
    return {"question": {"problem": "p"}, "label": {"steps": list(steps), "finish_reason": finish}}


class TestPrm800k:
    def test_path_and_other_completions(self):
        row = labelled(
            step(("a", 1), chosen=0),
            step(("b", 0), ("b2", -1), ("b3", None), chosen=0),
            step(("c", -1), ("c2", 1), chosen=None),
        )
        records = [(r.id, r.steps, r.labels, r.correct) for r in read_prm800k(row, "r")]
        assert records == [
            ("r", ("a", "b"), (1.0, 1.0), None),
            ("r/1/1", ("a", "b2"), (None, 0.0), None),
            ("r/2/0", ("a", "b", "c"), (None, None, 0.0), None),
            ("r/2/1", ("a", "b", "c2"), (None, None, 1.0), None),
        ]

    def test_neutral_steps_count_as_told(self):
        row = labelled(step(("a", 0), chosen=0), finish="solution")
        assert read_prm800k(row, "r")[0].labels == (1.0,)
        assert read_prm800k(row, "r", neutral=0.0)[0].labels == (0.0,)
        assert read_prm800k(row, "r")[0].correct

    def test_step_written_by_the_labeller(self):
        row = labelled(
            step(("a", -1), chosen=None, human={"text": "h", "rating": None}),
            step(("b", 1), chosen=0),
        )
        main, other = read_prm800k(row, "r")
        assert (main.steps, main.labels) == (("h", "b"), (1.0, 1.0))
        assert (other.steps, other.labels) == (("a",), (0.0,))

    @pytest.mark.parametrize(
        ("row", "expected"),
        [
            (labelled(), "field label.steps: expected at least one entry"),
            (labelled(step(("a", None), chosen=0)), "field label.steps: expected at least one rated completion"),
            (labelled(step(("a", 2), chosen=0)), "field label.steps[0].completions[0].rating: expected -1, 0 or 1"),
            (labelled(step(("a", 1), chosen=1)), "field label.steps[0].chosen_completion: expected a number below 1"),
            (labelled(step(("", 1), chosen=0)), "field label.steps[0].completions[0].text: expected text"),
            (
                labelled(step(("a", 1), chosen=None), step(("b", 1), chosen=0)),
                "field label.steps[0].chosen_completion: expected a completion (more steps follow)",
            ),
            ({"question": {}, "label": {"steps": []}}, "field question.problem: missing"),
        ],
    )
    def test_rows_that_do_not_fit(self, row, expected):
        assert expected in reason(read_prm800k, row)
