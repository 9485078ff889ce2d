"""Spaces, what networks read of them, and what is refused."""

import numpy as np
import pytest

from irl.control.spaces import Box, Discrete, box, check_values, features
from irl.types import InputError


def test_features():
    np.testing.assert_array_equal(features(Discrete(3), np.array([2, 0])), [[0, 0, 1], [1, 0, 0]])
    np.testing.assert_array_equal(features(Box((2, 2)), np.arange(8).reshape(2, 2, 2)), [[0, 1, 2, 3], [4, 5, 6, 7]])
    assert features(Box(()), np.zeros((5, 3))).shape == (5, 3, 1)


def test_bounds():
    low, high = Box((2,), -1.0, (1.0, 2.0)).bounds()
    np.testing.assert_array_equal(low, [-1, -1])
    np.testing.assert_array_equal(high, [1, 2])
    assert Box((2,), -1.0, 1.0).bounded and not Box((2,), -1.0).bounded
    assert box(np.full(3, -2.0), np.array([1, 2, 3])) == Box((3,), -2.0, (1.0, 2.0, 3.0))
    assert hash(Box((1,), -1.0, 1.0)) == hash(Box((1,), -1.0, 1.0))


@pytest.mark.parametrize(
    ("space", "values", "told"),
    [
        (Discrete(2), np.zeros((4, 1), int), r"acts: expected shape \(4,\) of Discrete\(n=2\), got \(4, 1\)"),
        (Discrete(2), np.zeros(4), "acts: expected integers below 2, got dtype float64"),
        (Discrete(2), np.array([0, 1, 2, 0]), "acts: expected 0 to 1, got 0 to 2"),
        (Box((2,)), np.zeros((4, 3)), r"acts: expected shape \(4, 2\) of Box.*, got \(4, 3\)"),
        (Box((2,)), np.zeros((4, 2), int), "acts: expected floats, got dtype int64"),
        (Box((1,)), np.array([[0.0], [np.nan], [1], [np.inf]]), r"acts\[1\]: NaN or infinite, as 2 of 4 rows are"),
    ],
)
def test_values_that_do_not_fit(space, values, told):
    with pytest.raises(InputError, match=told):
        check_values("acts", space, values, (4,))


def test_values_that_fit():
    check_values("acts", Discrete(2), np.array([0, 1]), (2,))
    check_values("obs", Box((2,)), np.zeros((3, 2), np.float32), (3,))
