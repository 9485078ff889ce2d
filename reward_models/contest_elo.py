"""Elo ratings from places in contests of many players, as Codeforces rates them.

    P(i before j) = 1 / (1 + 10^((r_j - r_i) / 400)),    expected place of i = 1 + sum_j P(j before i)

M. Mirzayanov, "Open Codeforces Rating System" (2015), codeforces.com/blog/entry/20762, and the program published with
it, codeforces.com/contest/1/submission/13861109. Places count from 1; Codeforces gives all who share places the last of
them: two winners are both second. Numpy float64, on the host.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Shaped

REACH = 5000.0
"""Ratings are sought within so many points of the field: odds of 10^12.5."""


def expected_place(
    rating: float | Float[np.ndarray, "*shape"], field: Shaped[np.ndarray, " others"]
) -> Float[np.ndarray, "*shape"]:
    """Expected place of a player among others with ratings `field`, who do not include it."""
    gap = np.asarray(rating, np.float64)[..., None] - np.asarray(field, np.float64)
    return np.asarray(1 + np.sum(1 / (1 + 10 ** (gap / 400)), axis=-1))


def performance_rating(fields: Sequence[Shaped[np.ndarray, " _"]], places: Sequence[float]) -> float:
    """The rating whose expected places add up to the places taken, in contests against rated fields.

    For one contest it is where the expected place equals the place; for several it is Bradley-Terry's maximum
    likelihood if every contest counts as a game against each of the others. Differences from Codeforces: the
    field's ratings stay as they are, and all contests count alike, in any order.
    ValueError: no contest, a place that the field has not, first place everywhere or last place everywhere.
    """
    if len(fields) != len(places) or not places:
        raise ValueError(f"contests: {len(fields)} fields and {len(places)} places; expected one place per contest")
    for contest, (field, place) in enumerate(zip(fields, places, strict=True)):
        if not 1 <= place <= len(field) + 1:
            raise ValueError(f"contests: contest {contest}: place {place}, expected 1..{len(field) + 1}")
    everyone, total = np.concatenate(fields), float(sum(places))
    for hopeless, told in ((len(fields), "first"), (len(everyone) + len(fields), "last")):
        if total == hopeless:
            raise ValueError(f"contests: {told} place in every contest: no finite rating fits; add contests")
    low, high = everyone.min() - REACH, everyone.max() + REACH
    target = np.array([total - len(fields) + 1])
    return float(_bisect(lambda rating: expected_place(rating, everyone), target, low, high)[0])


def update_ratings(
    ratings: Shaped[np.ndarray, " players"], places: Shaped[np.ndarray, " places"]
) -> Float[np.ndarray, " players"]:
    """Everybody's rating after a contest.

    Half-way to the rating whose expected place is the geometric mean of the place expected and the place taken.
    Then, against inflation, all change by the same number twice: first by what makes the changes sum to minus one
    point per player; then, the s = min(n, 4 round(sqrt n)) best rated before the contest having changes that sum to S,
    by min(max(-S / s, -10), 0), so that they do not gain together.
    Differences: 1. Ratings are real numbers; Codeforces truncates the rating sought, the half and both corrections to
    integers. 2. The place expected at the rating sought is among the others, as Codeforces computes it today (TLE and
    Carrot, which reproduce its changes); the program of 2015 had the player at the old rating among them too.
    ValueError: fewer than two players, not one place for each, places outside 1..players.
    """
    old, taken = np.asarray(ratings, np.float64), np.asarray(places, np.float64)
    n = len(old)
    if n < 2 or old.shape != taken.shape:
        raise ValueError(f"contest: {n} ratings and {len(taken)} places; expected as many, of two players or more")
    if not ((taken >= 1) & (taken <= n)).all():
        at = int(np.argmax((taken < 1) | (taken > n)))
        raise ValueError(f"contest: player {at}: place {taken[at]:g}, expected 1..{n}")

    def seed(rating):  # the player itself is in the field, where it would beat a copy with its own chance
        return expected_place(rating, old) - 1 / (1 + 10 ** ((rating - old) / 400))

    goal = np.sqrt(seed(old) * taken)
    change = (_bisect(seed, goal, old.min() - REACH, old.max() + REACH) - old) / 2
    change -= change.sum() / n + 1
    best = np.argsort(-old, kind="stable")[: min(n, 4 * round(np.sqrt(n)))]
    return old + change + np.clip(-change[best].sum() / len(best), -10, 0)


def _bisect(falling: Callable, goal, lowest: float, highest: float):
    """Where a falling function of an array takes the values `goal`."""
    low, high = np.full(goal.shape, lowest), np.full(goal.shape, highest)
    for _ in range(60):
        middle = (low + high) / 2
        above = falling(middle) > goal
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2
