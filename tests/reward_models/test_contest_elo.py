"""Contest ratings by hand, and against the rule written out player by player."""

import math

import numpy as np
import pytest

from reward_models.contest_elo import expected_place, performance_rating, update_ratings


def test_expected_place_by_hand():
    """Against equals half of them are before you; 400 points below, ten of eleven."""
    field = np.array([1500.0, 1500.0])
    np.testing.assert_allclose(expected_place(np.array([1500.0, 1100.0]), field), [2, 1 + 20 / 11])


def test_performance_by_hand():
    """Second of four among equals: each of three is before you with 1/3, odds of 2 to 1."""
    assert np.isclose(performance_rating([np.full(3, 1500.0)], [2]), 1500 + 400 * math.log10(2))
    even = performance_rating([np.array([1500.0]), np.array([1500.0])], [1, 2])
    assert np.isclose(even, 1500)


def test_performance_adds_up_over_contests():
    rng = np.random.default_rng(0)
    fields = [rng.normal(1400, 300, size=n) for n in (5, 30, 12)]
    rating = performance_rating(fields, [2, 9, 9])
    assert np.isclose(sum(expected_place(rating, field) for field in fields), 20)


def test_update_by_hand():
    """Two equals expect place 1.5; goals sqrt(1.5) and sqrt(3), of which 1 is their own; then minus one point each."""
    changes = [200 * math.log10((2 - goal) / (goal - 1)) for goal in (math.sqrt(1.5), math.sqrt(3))]
    expected = 1500 + np.array(changes) - sum(changes) / 2 - 1
    np.testing.assert_allclose(update_ratings(np.array([1500.0, 1500.0]), np.array([1, 2])), expected)


def slow_update(ratings, places):
    """The published rule, one player at a time."""
    n, changes = len(ratings), []

    def seed(i, rating):
        return 1 + sum(1 / (1 + 10 ** ((rating - ratings[j]) / 400)) for j in range(n) if j != i)

    for i in range(n):
        goal, low, high = math.sqrt(seed(i, ratings[i]) * places[i]), -4000.0, 8000.0
        while high - low > 1e-9:
            middle = (low + high) / 2
            low, high = (middle, high) if seed(i, middle) > goal else (low, middle)
        changes.append((low - ratings[i]) / 2)
    changes = [change - sum(changes) / n - 1 for change in changes]
    best = sorted(range(n), key=lambda i: -ratings[i])[: min(n, 4 * round(math.sqrt(n)))]
    top = sum(changes[i] for i in best)
    return [r + change + min(max(-top / len(best), -10), 0) for r, change in zip(ratings, changes, strict=True)]


@pytest.mark.parametrize("upset", [False, True])
def test_update_is_the_published_rule(upset):
    rng = np.random.default_rng(1)
    ratings = rng.normal(1500, 350, size=40)
    noisy = (-1 if upset else 1) * ratings + rng.normal(0, 200, size=40)
    places = np.argsort(np.argsort(-noisy)) + 1
    np.testing.assert_allclose(update_ratings(ratings, places), slow_update(ratings.tolist(), places), atol=1e-6)


PUBLISHED = """
    2841 9 -78, 2410 8 -17, 2388 9 82, 2195 7 -23, 2102 8 71, 2080 7 9, 1977 5 -52, 1903 6 11, 1899 7 59, 1874 6 19,
    1811 5 -11, 1790 3 -78, 1742 6 56, 1705 5 17, 1688 4 -20, 1650 2 -85, 1622 5 40, 1590 4 5, 1543 4 17, 1500 3 -15,
    1500 1 -92, 1467 3 -7, 1433 4 49, 1402 2 -39, 1377 3 17, 1350 2 -28, 1288 2 -14, 1201 1 -53, 1120 1 -39,
    996 0 -60"""
"""Ratings and points of 30 players, and their changes by cheran-senthil/TLE, tle/util/ranklist/rating_calculator.py
(commit 250ea7c), which follows Codeforces in integers. All tie with somebody but the last; both corrections are at
work: the 20 best rated gain 7 points together, all together lose 259."""


def test_update_by_an_independent_implementation():
    """Within a point: what truncation costs."""
    ratings, points, changes = np.array([line.split() for line in PUBLISHED.split(",")], int).T
    places = [(points >= own).sum() for own in points]
    assert places[:3] == [2, 4, 2]
    np.testing.assert_allclose(update_ratings(ratings, np.array(places)) - ratings, changes, atol=1)


@pytest.mark.parametrize(
    ("fields", "places", "message"),
    [
        ([], [], "0 fields and 0 places"),
        ([[1500.0]], [1, 2], "1 fields and 2 places"),
        ([[1500.0], [1500.0]], [1, 3], "contest 1: place 3, expected 1..2"),
        ([[1500.0], [1500.0]], [1, 1], "first place in every contest: no finite rating fits"),
        ([[1500.0, 1400.0]], [3], "last place in every contest: no finite rating fits"),
    ],
)
def test_bad_contests(fields, places, message):
    with pytest.raises(ValueError, match=message):
        performance_rating([np.array(field) for field in fields], places)


def test_bad_updates():
    with pytest.raises(ValueError, match="1 ratings and 1 places; expected as many, of two players or more"):
        update_ratings(np.array([1500.0]), np.array([1]))
    with pytest.raises(ValueError, match="3 ratings and 2 places"):
        update_ratings(np.zeros(3), np.ones(2))
    with pytest.raises(ValueError, match=r"player 1: place 4, expected 1..2"):
        update_ratings(np.zeros(2), np.array([1, 4]))
