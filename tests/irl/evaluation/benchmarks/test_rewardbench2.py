"""RewardBench 2 by hand; Ties also against its definition written out question by question."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.evaluation.benchmarks.rewardbench2 import (
    Item,
    best_of_credit,
    rewardbench2,
    tie_statistics,
    ties_score,
)
from irl.types import InputError


def ties(ref, tied, number=0):
    """The two items of a question from (right scores, wrong scores) of each version."""
    return [
        Item(id=f"{kind}:{number}", subset="Ties", scores=[*right, *wrong], num_correct=len(right))
        for kind, (right, wrong) in (("ref", ref), ("tied", tied))
    ]


def ties_of(items):
    return ties_score(tie_statistics(items)[1])


def plain(subset, *scores):
    return [Item(id=f"{subset} {i}", subset=subset, scores=row) for i, row in enumerate(scores)]


@pytest.mark.parametrize(
    ("scores", "credit"),
    [([2, 1, 0, 1], 1), ([2, 2, 0, 1], 1 / 2), ([1, 1, 1, 1], 1 / 4), ([1, 2, 2, 0], 0), ([-3, -4], 1)],
)
def test_best_of_four(scores, credit):
    assert best_of_credit(scores) == credit


def test_ties_by_hand():
    # ref: gap 3. tied: right 5 and 4, wrong 1: gap 3, spread 1. Everything holds, the margin is 3.
    good = ties(([4], [1]), ([5, 4], [1]))
    assert ties_of(good) == pytest.approx(1 + 0.01 * math.tanh(2))
    # tied: right 5 and 2, wrong 1: gap 1 < spread 3; ref wrong by 1: min(-1, 1) / 3 - 1 = -4/3.
    bad = ties(([1], [2]), ([5, 2], [1]), number=1)
    assert ties_of(bad) == pytest.approx(0.30 + 0.01 * math.tanh(-4 / 3))
    both = 0.30 * 1 + 0.30 / 2 + 0.20 / 2 + 0.20 / 2 + 0.01 * (math.tanh(2) + math.tanh(-4 / 3)) / 2
    assert ties_of(good + bad) == pytest.approx(both)
    # the gap of the tied version beats the spread, that of the reference does not
    assert ties_of(ties(([1], [0]), ([5, 3], [0]))) == pytest.approx(0.80 + 0.01 * math.tanh(1 / 2 - 1))


def test_ties_with_equal_right_scores():
    assert ties_of(ties(([2], [1]), ([3, 3], [1]))) == pytest.approx(1.01)  # spread 0: tanh(inf)
    assert ties_of(ties(([1], [2]), ([3, 3], [1]))) == pytest.approx(0.50 - 0.01)  # tanh(-inf)
    assert ties_of(ties(([1], [1]), ([1, 1], [1]))) == 0  # 0/0 counts 0


def test_accuracies_are_over_all_of_a_kind_and_margins_over_both():
    alone = Item(id="ref:9", subset="Ties", scores=[0, 1])
    shared = ties(([4], [1]), ([5, 4], [1]))
    assert ties_of([*shared, alone]) == pytest.approx(0.7 + 0.15 + 0.01 * math.tanh(2))
    assert np.isnan(ties_of([alone]))


def written_out(questions):
    accurate = {"ref": [], "tied": []}
    soft, hard, margin = [], [], []
    for (ref_right, ref_wrong), (right, wrong) in questions:
        gap_ref, gap = min(ref_right) - max(ref_wrong), min(right) - max(wrong)
        spread = max(right) - min(right)
        accurate["ref"].append(gap_ref > 0)
        accurate["tied"].append(gap > 0)
        soft.append(gap > spread)
        least = min(gap_ref, gap)
        hard.append(least > spread)
        if spread == 0:
            margin.append(math.copysign(1, least) if least else 0)
        else:
            margin.append(math.tanh(least / spread - 1))
    parts = (0.3, accurate["tied"]), (0.3, accurate["ref"]), (0.2, soft), (0.2, hard), (0.01, margin)
    return sum(share * sum(values) / len(values) for share, values in parts)


whole = st.integers(-3, 3)
version = st.tuples(st.lists(whole, min_size=2, max_size=4), st.lists(whole, min_size=1, max_size=3))


@settings(deadline=None, max_examples=40, derandomize=True)
@given(st.lists(st.tuples(version, version), min_size=1, max_size=5))
def test_ties_as_written_out(questions):
    items = [item for number, pair in enumerate(questions) for item in ties(*pair, number=number)]
    assert ties_of(items) == pytest.approx(written_out(questions))


def test_subsets_and_overall():
    items = [
        *plain("Math", [2, 1, 0, 1], [0, 1, 0, 0]),
        *plain("Focus", [1, 1, 0, 0]),
        *ties(([4], [1]), ([5, 4], [1])),
    ]
    found = rewardbench2(items, resamples=50)
    assert found["Math"].mean == 0.5 and found["Math"].num_prompts == 2
    assert found["Focus"].mean == 0.5
    tied = 1 + 0.01 * math.tanh(2)
    assert found["Ties"].mean == pytest.approx(tied) and found["Ties"].num_prompts == 1
    assert found["overall"].mean == pytest.approx((0.5 + 0.5 + tied) / 3)
    assert found["overall"].low == pytest.approx((0 + 0.5 + tied) / 3)
    assert found.keys() == {"overall", "Math", "Focus", "Ties"}
    assert rewardbench2(plain("Math", [1, 0]), resamples=5)["overall"][:3] == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("given_", "message"),
    [
        ({"scores": [1.0, 2.0], "num_correct": 2}, "2 right of 2 answers"),
        ({"scores": [1.0, np.nan]}, "a score is not finite"),
        ({"scores": [1.0, 2.0, 0.0], "num_correct": 2}, "outside Ties one answer is right"),
        ({"id": "7", "subset": "Ties", "scores": [1.0, 2.0]}, "'ref:7' and 'tied:7'"),
        ({"id": "tied:7", "subset": "Ties", "scores": [1.0, 2.0]}, "one right answer has no spread"),
    ],
)
def test_bad_items(given_, message):
    with pytest.raises(InputError, match=message):
        Item(**({"id": "x", "subset": "Math"} | given_))


def test_bad_sets():
    with pytest.raises(ValueError, match="items: none"):
        rewardbench2([])
    with pytest.raises(InputError, match="2 items with 1 ids"):
        rewardbench2([Item(id="ref:1", subset="Ties", scores=[1.0, 0.0])] * 2)
