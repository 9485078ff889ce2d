"""BIG-Bench-Mistake by hand, and the published bar of its F1."""

import json
import lzma

import numpy as np
import pytest

from irl.evaluation.benchmarks.bigbench_mistake import bigbench_mistake, majority_location, weighted_f1

TASK = ["sorting"] * 5 + ["dyck"]


def test_by_hand():
    label = np.array([0, 3, 2, -1, -1, 1])
    predicted = np.array([0, 2, -1, -1, 4, 1])
    right = np.array([False, False, True, True, True, False])
    found = bigbench_mistake(predicted, label, TASK, right, resamples=50)
    assert found["sorting accuracy"].mean == pytest.approx(2 / 5)
    assert (
        found["sorting mistake_accuracy"].mean == pytest.approx(1 / 3)
        and found["sorting mistake_accuracy"].num_prompts == 3
    )
    assert found["sorting no_mistake_accuracy"].mean == 0.5 and found["sorting no_mistake_accuracy"].num_prompts == 2
    # called right: traces 2 and 3; right: 2, 3, 4. F1 of right 4/5, of wrong 4/5.
    assert found["sorting answer_f1"].mean == pytest.approx(0.8)
    assert found["dyck accuracy"].mean == 1.0
    assert np.isnan(found["dyck no_mistake_accuracy"].mean)
    assert found["mean"].mean == pytest.approx((0.4 + 1) / 2)
    assert "sorting answer_f1" not in bigbench_mistake(predicted, label, TASK, resamples=5)


def test_weighted_f1_by_hand():
    truth, predicted = np.array([1, 1, 1, 0]), np.array([1, 1, 0, 0])
    assert weighted_f1(predicted, truth) == pytest.approx(3 / 4 * 4 / 5 + 1 / 4 * 2 / 3)
    assert weighted_f1(truth, truth) == 1.0
    assert weighted_f1(np.zeros(4), np.ones(4)) == 0.0
    weights = np.array([0.0, 2.0, 0.0, 1.0])
    assert weighted_f1(predicted, truth, weights) == 1.0
    assert np.isnan(weighted_f1(predicted, truth, np.zeros(4)))


def test_the_published_bar():
    """Calling every answer wrong where 85% are reaches .78 (Tyen et al., section 3.3)."""
    assert weighted_f1(np.zeros(300), np.arange(300) < 45) == pytest.approx(0.78, abs=0.005)


def test_locations():
    assert majority_location(np.array([3, -1, 3, 2, -1])) == -1


def test_on_the_data_set(shared_data):
    with lzma.open(shared_data / "bigbench_mistake" / "word_sorting.jsonl.xz", "rt") as lines:
        rows = [json.loads(line) for line in lines]
    label = np.array([-1 if row["mistake_index"] is None else row["mistake_index"] for row in rows])
    right = np.array([row["answer"] == row["target"] for row in rows])
    found = bigbench_mistake(label, label, ["word sorting"] * len(rows), right, resamples=5)
    assert found["mean"][:3] == (1.0, 1.0, 1.0) and found["mean"].num_prompts == 300
    nothing = bigbench_mistake(np.zeros_like(label), label, ["word sorting"] * len(rows), right, resamples=5)
    assert nothing["word sorting answer_f1"].mean == pytest.approx(0.78, abs=0.01)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": ["a"]}, "task: expected a name for each of 2 traces"),
        ({"answer_right": np.array([0, 2])}, "answer_right: expected 0 or 1"),
        ({"predicted": np.array([0.0, 1.0])}, "predicted: expected step indices"),
    ],
)
def test_bad_input(change, message):
    given = {"predicted": np.array([0, 1]), "label": np.array([0, -1]), "task": ["a", "a"]} | change
    with pytest.raises(ValueError, match=message):
        bigbench_mistake(**given)
