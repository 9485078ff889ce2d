"""Rows of the step evaluation against numbers worked out by hand."""

import numpy as np
import pytest

from experiments.text_rewards.step_evaluation import (
    Scored,
    calibration,
    ensemble,
    location_rows,
    lowest_of_all,
    order_rows,
)
from irl.types import InputError


def steps(*rows):
    return [np.array(row, float) for row in rows]


def by_name(rows):
    assert len({row["name"] for row in rows}) == len(rows)
    return {row["name"]: row for row in rows}


def test_ensemble_is_the_mean_of_step_scores():
    found = ensemble([steps([0, 1], [2]), steps([4, 5], [6])])
    np.testing.assert_array_equal(found[0], [2, 3])
    np.testing.assert_array_equal(found[1], [4])


VALIDATION = Scored(
    label=np.array([1, -1]),
    subset=np.array(["slip", "right"]),
    # thresholds (.2, .8] for the first and (.1, .5] for the second: the middles are .5 and .3
    learned={"model": [steps([0.9, 0.2], [0.8, 0.9]), steps([0.9, 0.1], [0.5, 0.6])]},
    baselines={"guess": steps([5.0, 1.0], [3.0, 4.0])},  # (1, 3]: 2
)
TEST = Scored(
    label=np.array([0, 1, -1, 2]),
    subset=np.array(["slip", "carry", "right", "carry"]),
    learned={
        "model": [
            steps([0.1, 0.0], [0.9, 0.4], [0.6, 0.7], [0.4, 0.9, 0.1]),  # 0 right, 1 right, none right, 0 for 2 wrong
            steps([0.9, 0.8], [0.9, 0.2], [0.2, 0.9], [0.9, 0.9, 0.1]),  # none wrong, 1 right, 0 wrong, 2 right
        ]
    },
    baselines={"guess": steps([1.0, 0.0], [3.0, 1.0], [5.0, 5.0], [3.0, 3.0, 3.0])},  # 0, 1, none, none for 2
)
LABELS = {"model": "step labels"}


def test_location_rows():
    rows = by_name(location_rows("set", VALIDATION, TEST, {"model": "demonstrations"}))
    values = {name.removeprefix("set").lstrip(":, "): (row["value"], row["count"]) for name, row in rows.items()}
    # means of two: thresholds from (.9, .15), (.65, .75) are (.15, .65], .4; traces (.5, .4), (.9, .3), (.4, .8),
    # (.65, .9, .1) then say none, 1, none, 2
    assert values == {
        "model: first wrong step found": (pytest.approx(4 / 6), 3),
        "model: first wrong step found, mean of seeds": (pytest.approx(2 / 3), 3),
        "model: lowest step is the first wrong one": (pytest.approx(4 / 6), 3),
        "model: exact location, all traces": (pytest.approx(5 / 8), 4),
        "model: exact location, all traces, mean of seeds": (pytest.approx(3 / 4), 4),
        "commonest location, all traces": (pytest.approx(1 / 4), 4),  # none, the first of two as common
        "model: right trace found right": (pytest.approx(1 / 2), 1),
        "model: carry": (pytest.approx(3 / 4), 2),
        "model: slip": (pytest.approx(1 / 2), 1),
        "guess": (pytest.approx(2 / 3), 3),
        "guess, lowest": (pytest.approx(1 / 3), 3),
        "guess, exact location, all traces": (pytest.approx(3 / 4), 4),
        "chance": (pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3), 3),
    }
    levels = {name.removeprefix("set").lstrip(":, "): row["information"] for name, row in rows.items()}
    assert {name for name, level in levels.items() if level == "none"} == {
        "guess",
        "guess, lowest",
        "guess, exact location, all traces",
        "chance",
        "commonest location, all traces",
    }
    assert {level for level in levels.values()} == {"none", "demonstrations"}
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows.values())


def test_a_set_without_right_traces_has_no_row_of_them():
    kept = TEST.label >= 0
    picked = [[row for row, keep in zip(seed, kept, strict=True) if keep] for seed in TEST.learned["model"]]
    wrong = Scored(TEST.label[kept], TEST.subset[kept], {"model": picked}, {})
    names = {row["name"] for row in location_rows("set", VALIDATION, wrong, LABELS)}
    assert "set, model: right trace found right" not in names and "set, model: slip" in names


def test_the_threshold_is_that_of_the_validation_set_given():
    """Scores of two tasks on two scales: each task's own threshold finds all, one from both finds one task's half."""
    label, subset = np.array([0, -1]), np.array(["", ""])

    def scored(shift):
        rows = steps([0.0 + shift, 1.0 + shift], [1.0 + shift, 1.0 + shift])
        return Scored(label, subset, {"model": [rows]}, {"guess": rows})

    first, second = scored(0.0), scored(10.0)
    name = "set, model: exact location, all traces"
    for task in (first, second):
        rows = by_name(location_rows("set", task, task, LABELS))
        assert rows[name]["value"] == rows["set: guess, exact location, all traces"]["value"] == 1
    both = Scored(
        np.concatenate([first.label, second.label]),
        np.concatenate([subset, subset]),
        {"model": [first.learned["model"][0] + second.learned["model"][0]]},
        {"guess": first.baselines["guess"] + second.baselines["guess"]},
    )
    found = [by_name(location_rows("set", both, task, LABELS))[name]["value"] for task in (first, second)]
    assert sorted(found) == [0.5, 1.0]


@pytest.mark.parametrize(("label", "count"), [([-1, -1], 0), ([0, 1], 2)])
def test_a_threshold_takes_right_and_wrong_traces(label, count):
    one_kind = VALIDATION._replace(label=np.array(label))
    with pytest.raises(
        InputError,
        match=rf"^set: of the 2 traces that set its threshold {count} have a wrong step; expected both kinds",
    ):
        location_rows("set", one_kind, TEST, LABELS)


def test_the_first_step_that_breaks_the_rules_is_the_oracle():
    rules = steps([0, 1], [1, 1], [1, 1], [1, 1, 0])  # right but for the second trace
    rows = by_name(location_rows("set", VALIDATION, TEST._replace(oracle=rules), LABELS))
    assert rows["set: the rules, exact location, all traces"]["value"] == 0.75


def test_order_rows():
    """Three problems, of which the last has only right answers: it has no area."""
    problem, correct = np.array([0, 0, 1, 1, 1, 2]), np.array([True, False, True, False, False, True])
    learned = [[np.array([score, 9.0]) for score in member] for member in ([2.0, 1, 0, 1, -1, 0], [1.0, 2, 3, 1, 1, 0])]
    baselines = {"longest": np.array([1.0, 1, 2, 1, 1, 9])}
    rows = by_name(order_rows("pool", problem, correct, {"learned": learned}, baselines, {"learned": "step labels"}))
    assert len(rows) == 4 and rows["pool: learned, mean"]["value"] == rows["pool: learned, sum"]["value"]
    learned, longest = rows["pool: learned, min"], rows["pool: longest"]
    assert learned["value"] == pytest.approx(((1 + 0.5) + (0 + 1)) / 4)
    assert longest["value"] == pytest.approx((0.5 + 1) / 2)
    assert (learned["information"], longest["information"]) == ("step labels", "none")
    assert learned["count"] == longest["count"] == 2


def test_calibration_counts_the_steps_up_to_the_first_wrong_one():
    """Of step scores 1 three in four are right, of -1 one in four: what follows an error is not known."""
    scores = steps([1, 1, 1], [1], [-1], [-1], [-1, 1], [-1, -1])
    label = np.array([-1, 0, -1, 0, 0, 0])
    fitted = calibration(scores, label)
    np.testing.assert_allclose(fitted(np.array([1.0, -1.0])), np.log([3.0, 1 / 3]), atol=1e-4)


def test_the_lowest_of_two_scores():
    """Calibrated over both validation sets: a 1 is right in three of four cases, a -1 in one of four."""
    half = steps([1, 1, 1], [1]), np.array([-1, 0])
    other = steps([-1], [-1], [-1], [-1]), np.array([-1, 0, 0, 0])
    validation = [Scored(label, label, {"a": [rows], "b": [rows]}, {}) for rows, label in (half, other)]
    learned = {"a": [steps([1.0, 1.0], [-1.0])], "b": [steps([1.0, -1.0], [1.0])]}
    together = lowest_of_all("both", validation)(learned)
    assert list(together) == ["a", "b", "both"] and together["a"] is learned["a"]
    ((first, second),) = together["both"]
    np.testing.assert_allclose(first, np.log([3.0, 1 / 3]), atol=1e-4)
    np.testing.assert_allclose(second, np.log([1 / 3]), atol=1e-4)
