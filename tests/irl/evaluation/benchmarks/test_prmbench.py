"""PRMBench by hand: steps counted together, dimensions averaged, multi_solutions by F1 alone."""

import numpy as np
import pytest

from irl.evaluation.benchmarks.prmbench import CLASSES, CORRECT, DIMENSIONS, f1_score, prmbench
from irl.types import InputError


def steps(*rows):
    return [np.array([mark == "1" for mark in row]) for row in rows]


def test_by_hand():
    #            right accepted, wrong accepted...
    accepted = steps("1101", "10", "111", "0000")
    wrong = steps("0110", "01", "000", "0000")
    # circular: TP 2 (steps 1, 4), FP 1, TN 1. deception: TP 1, TN 1. multi_solutions: TP 3. correct: outside.
    found = prmbench(accepted, wrong, ["circular", "deception", "multi_solutions", CORRECT], resamples=20)
    circular = (2 * 2 / (4 + 1) + 2 * 1 / (2 + 1)) / 2
    assert found["circular"].mean == pytest.approx(circular)
    assert found["deception"].mean == 1.0 and found["multi_solutions"].mean == 1.0
    assert found["simplicity"].mean == pytest.approx(circular)
    assert found["sensitivity"].mean == 1.0 and "soundness" not in found
    assert found["f1"].mean == pytest.approx(12 / 13) and found["f1_negative"].mean == pytest.approx(4 / 5)
    assert found["overall"].mean == pytest.approx((12 / 13 + 4 / 5) / 2)
    assert found["right_step_accuracy"].mean == 1.0
    assert found["wrong_step_accuracy"].mean == pytest.approx(2 / 3)
    assert found["step_accuracy"].mean == pytest.approx(8 / 9)
    assert found["first_error_accuracy"].mean == 0.5 and found["first_error_accuracy"].num_prompts == 2
    assert found["overall"].num_prompts == 3


def test_a_dimension_is_the_mean_of_its_classes():
    accepted, wrong = steps("10", "11"), steps("01", "01")
    found = prmbench(accepted, wrong, ["redundency", "circular"], resamples=5)
    assert found["circular"].mean == pytest.approx((2 / 3 + 0) / 2)  # nothing rejected: F1_neg 0
    assert found["simplicity"].mean == pytest.approx((1 + 1 / 3) / 2)
    assert found["overall"].mean != pytest.approx(found["simplicity"].mean)


def test_ends():
    assert f1_score(0, 1, 1) == 0 and f1_score(2, 0, 0) == 1 and np.isnan(f1_score(0, 0, 0))
    every = list(CLASSES)
    wrong = [np.array([False, name != "multi_solutions"]) for name in every]
    found = prmbench([~row for row in wrong], wrong, every, resamples=5)
    assert found["overall"].mean == 1.0 and all(found[name].mean == 1.0 for name in DIMENSIONS)
    rejected = prmbench([np.array([False])], [np.array([False])], ["multi_solutions"], resamples=5)
    assert rejected["multi_solutions"].mean == 0.0 and np.isnan(rejected["first_error_accuracy"].mean)


@pytest.mark.parametrize(
    ("accepted", "names", "message"),
    [
        (["10"], ["circle"], "solution 0: unknown class 'circle'"),
        (["1"], ["circular"], "solution 0: 1 steps accepted or not, 2 labelled"),
        (["10"], ["correct"], "every solution is 'correct'"),
        (["10", "10"], ["circular"], "got 2, 1 and 1"),
    ],
)
def test_bad_input(accepted, names, message):
    with pytest.raises((InputError, ValueError), match=message):
        prmbench(steps(*accepted), steps("01"), names)
