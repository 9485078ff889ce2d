"""Ratings against closed forms of two players, an independent likelihood, a public package, and simulations."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from reward_models.ratings import (
    ELO,
    category_win_rates,
    fit_bradley_terry,
    fit_davidson,
    make_games,
    rating_difference,
)

NAMES = tuple("abcdef")
STRENGTH = np.array([-1.0, -0.5, -0.1, 0.2, 0.5, 0.9])
LOG_TIE = np.log(0.8)


def simulate(rng, games, log_tie=-np.inf):
    """Games of random pairs of NAMES by Davidson's model; without ties by default."""
    pairs = np.array([rng.choice(6, size=2, replace=False) for _ in range(games)])
    half = (STRENGTH[pairs[:, 0]] - STRENGTH[pairs[:, 1]]) / 2
    weight = np.stack([np.exp(half), np.exp(-half), np.full(games, np.exp(log_tie))], axis=1)
    drawn = (rng.random(games)[:, None] > np.cumsum(weight / weight.sum(1, keepdims=True), axis=1)).sum(1)
    first, second = np.array(NAMES)[pairs.T].tolist()
    return make_games(first, second, np.array([1.0, 0.0, 0.5])[drawn])


def brute_force(games, ties):
    """Maximum likelihood by a general optimiser on the likelihood written out game by game."""

    def cost(theta):
        total = 0.0
        for i, j, s in zip(games.first, games.second, games.score, strict=True):
            win, loss, tie = theta[i], theta[j], (theta[i] + theta[j]) / 2 + theta[-1]
            if ties:
                total -= {1.0: win, 0.0: loss, 0.5: tie}[s] - math.log(math.exp(win) + math.exp(loss) + math.exp(tie))
            else:
                total -= s * win + (1 - s) * loss - math.log(math.exp(win) + math.exp(loss))
        return total + 0.5 * theta[:-1].sum() ** 2

    best = minimize(cost, np.zeros(len(games.players) + 1), options={"gtol": 1e-6})
    return 1000 + ELO * (best.x[:-1] - best.x[:-1].mean()), best.x[-1]


@pytest.mark.parametrize("fit", [fit_bradley_terry, fit_davidson])
def test_equals_brute_force(fit):
    games = simulate(np.random.default_rng(1), 60, LOG_TIE)
    rating, log_tie = brute_force(games, fit is fit_davidson)
    ratings = fit(games)
    np.testing.assert_allclose(ratings.rating, rating, atol=0.05)
    if fit is fit_davidson:
        assert np.isclose(ratings.log_tie, log_tie, atol=1e-3)


@pytest.mark.parametrize("ties", [False, True])
def test_equals_choix(ties):
    """choix counts a tie as a win each way when the pair is given in both orders: half a win, twice."""
    choix = pytest.importorskip("choix")
    games = simulate(np.random.default_rng(2), 300, LOG_TIE if ties else -np.inf)
    wins = []
    for i, j, s in zip(games.first.tolist(), games.second.tolist(), games.score, strict=True):
        wins += [(i, j)] * round(2 * s) + [(j, i)] * round(2 - 2 * s)
    theirs = 1000 + ELO * choix.opt_pairwise(6, wins, alpha=0.0, tol=1e-10)
    np.testing.assert_allclose(fit_bradley_terry(games).rating, theirs, atol=1e-2)


def test_two_players_by_hand():
    """3 wins of 4: odds 3 to 1. The variance of a log-odds is 1 / (n p q)."""
    ratings = fit_bradley_terry(make_games("aaaa", "bbbb", [1, 1, 1, 0]), mean=1500)
    assert np.allclose(ratings.rating, 1500 + np.array([200, -200]) * math.log10(3))
    value, low, high = rating_difference(ratings, "a", "b")
    half = 1.959964 * 400 / math.log(10) / math.sqrt(4 * 0.75 * 0.25)
    assert np.allclose([value, low, high], 400 * math.log10(3) + np.array([0, -half, half]))
    assert np.allclose(ratings.high - ratings.rating, half / 2) and np.allclose(ratings.rating - ratings.low, half / 2)


def test_sandwich_where_the_model_is_wrong():
    """Ties as half wins: the variance is that of the scores, n^-2 sum (s - p)^2 / (p q)^2, not 1 / (n p q)."""
    score = np.array([1, 1, 0.5, 0.5, 0.5, 0])
    ratings = fit_bradley_terry(make_games("a" * 6, "b" * 6, score))
    p = score.mean()
    deviation = ELO * math.sqrt(((score - p) ** 2).sum()) / (6 * p * (1 - p))
    value, _, high = rating_difference(ratings, "a", "b")
    assert np.isclose(high - value, 1.959964 * deviation)


def test_davidson_of_two_players_by_hand():
    """w wins, l losses, t ties: odds w/l and nu = t / sqrt(w l)."""
    ratings = fit_davidson(make_games("ababab", "bababa", [1, 0, 1, 1, 0.5, 0.5], repeats=[4, 4, 1, 3, 2, 4]))
    assert np.isclose(ratings.rating[0] - ratings.rating[1], 400 * math.log10(9 / 3))
    assert np.isclose(np.exp(ratings.log_tie), 6 / math.sqrt(27))


def test_planted_ratings_are_recovered():
    games = simulate(np.random.default_rng(3), 20_000, LOG_TIE)
    ratings = fit_davidson(games)
    planted = 1000 + ELO * (STRENGTH - STRENGTH.mean())
    np.testing.assert_allclose(ratings.rating, planted, atol=15)
    assert np.isclose(np.exp(ratings.log_tie), 0.8, rtol=0.1)
    assert ratings.rating.mean() == pytest.approx(1000)


@pytest.mark.parametrize(("fit", "log_tie"), [(fit_bradley_terry, -np.inf), (fit_davidson, LOG_TIE)])
def test_intervals_cover(fit, log_tie):
    """95% intervals of 1200 simulated ratings: 93 to 97 in a hundred hold the truth."""
    planted, rng = 1000 + ELO * (STRENGTH - STRENGTH.mean()), np.random.default_rng(4)
    fits = [fit(simulate(rng, 300, log_tie)) for _ in range(200)]
    held = [(ratings.low <= planted) & (planted <= ratings.high) for ratings in fits]
    assert 0.93 <= np.mean(held) <= 0.97


def test_difference_of_two_players_by_hand():
    """With 30 wins of 40: ELO log 3, and z ELO / sqrt(n p (1 - p)) on either side."""
    ratings = fit_bradley_terry(make_games("aa", "bb", [1, 0], repeats=[30, 10]))
    value, low, high = rating_difference(ratings, "a", "b")
    assert np.isclose(value, ELO * math.log(3))
    half = 1.959964 * ELO / math.sqrt(40 * 0.75 * 0.25)
    np.testing.assert_allclose([value - low, high - value], half, rtol=1e-5)


def test_counts_are_repeated_games_and_sides_do_not_matter():
    counted = make_games("abac", "bccb", [1, 1, 0.5, 1], repeats=[3, 2, 2, 2])
    turned = make_games("bbbccaabb", "aaabbcccc", [0, 0, 0, 0, 0, 0.5, 0.5, 0, 0])
    for ours, theirs in zip(
        fit_bradley_terry(counted, ridge=0.01)[1:5], fit_bradley_terry(turned, ridge=0.01)[1:5], strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_ridge_keeps_a_perfect_record_finite():
    """One win and ridge r: the gap d solves sigmoid(-d) = r d / 2."""
    ratings = fit_bradley_terry(make_games("a", "b", [1]), ridge=0.1)
    gap = (ratings.rating[0] - ratings.rating[1]) / ELO
    assert np.isclose(1 / (1 + np.exp(gap)), 0.1 * gap / 2)


def test_davidson_on_a_cycle_of_wins_is_finite():
    """Nobody beat anybody both ways, but a threshold cannot tell a cycle of wins from ties."""
    ratings = fit_davidson(make_games("abca", "bcab", [1, 1, 1, 0.5]))
    np.testing.assert_allclose(ratings.rating, 1000, atol=1e-6)


@pytest.mark.parametrize(
    ("fit", "games", "message"),
    [
        (fit_bradley_terry, ("ab", "ba", [1, 1], "abxy"), "players without games: 'x', 'y'; leave them out"),
        (fit_bradley_terry, ("abcd", "badc", [1, 1, 1, 1]), "'a', 'b' never met 'c', 'd', not even through others"),
        (fit_bradley_terry, ("aab", "bcc", [1, 1, 0.5]), "'b', 'c' lost every game against the other players: no fin"),
        (fit_bradley_terry, ("bcc", "cab", [0.5, 1, 0]), "'b', 'c' won every game against the other players: no fin"),
        (fit_davidson, ("ab", "ba", [1, 1]), "no game was tied.*use fit_bradley_terry"),
        (fit_davidson, ("ab", "ba", [0.5, 0.5]), "every game was tied"),
        (fit_davidson, ("ab", "ba", [0.5, 0.7]), "scores must be 0, 0.5 or 1; fit_bradley_terry takes shares"),
        (fit_davidson, ("abaa", "bccb", [0.5, 0.5, 1, 0.5]), "one threshold tells all ties from all wins"),
    ],
)
def test_what_cannot_be_rated(fit, games, message):
    first, second, score, *players = games
    with pytest.raises(ValueError, match=message):
        fit(make_games(first, second, score, players=players[0] if players else None))


@pytest.mark.parametrize(
    ("columns", "options", "message"),
    [
        (("ab", "b", [1, 1]), {}, "columns of unequal length: .*'first': 2, 'second': 1"),
        (("", "", []), {}, "games: there are none"),
        (("ac", "bc", [1, 1]), {}, "game 1, 'c' against 'c', is a player against itself"),
        (("ac", "bd", [1, 1]), {"players": "abc"}, "game 1, 'c' against 'd', has a player that is not among"),
        (("ab", "ba", [1, 1]), {"players": "abb"}, "players: 'b' named twice"),
        (("aab", "bba", [1, 2, np.nan]), {}, r"game 1, 'a' against 'b', has a score outside 0..1 .*\(2 such games\)"),
        (("ab", "ba", [1, 1]), {"repeats": [1, -1]}, "game 1, 'b' against 'a', has repeats that are negative"),
    ],
)
def test_bad_games(columns, options, message):
    with pytest.raises(ValueError, match=message):
        make_games(*columns, **options)


def test_bad_options():
    games = make_games("ab", "ba", [1, 1])
    with pytest.raises(ValueError, match="level: expected a number between 0 and 1, got 95"):
        fit_bradley_terry(games, level=95)
    with pytest.raises(ValueError, match="category: 1 for 2 games"):
        category_win_rates(games, ["maths"])


def test_win_rates_by_hand():
    """8 of 10: Wilson's interval is (0.490, 0.943)."""
    games = make_games("aaba", "bccb", [1, 0.5, 0, 0], repeats=[8, 4, 1, 2])
    rates = category_win_rates(games, ["maths", "code", "code", "maths"])
    assert rates.players == ("a", "b", "c") and rates.categories == ("code", "maths")
    np.testing.assert_array_equal(rates.games, [[4, 10], [1, 10], [5, 0]])
    np.testing.assert_allclose(rates.rate, [[0.5, 0.8], [0, 0.2], [0.6, np.nan]])
    assert np.allclose([rates.low[0, 1], rates.high[0, 1]], [0.490, 0.943], atol=5e-4)
    assert np.allclose([rates.low[2, 1], rates.high[2, 1]], [0, 1])


@pytest.mark.parametrize("won", [0, 1])
def test_rates_are_inside_their_intervals(won):
    """At 0 and 1 rounding used to exclude some."""
    for count in range(1, 300):
        games = make_games(["a"], ["b"], [won], repeats=[count])
        rates = category_win_rates(games, ["all"])
        assert (rates.low <= rates.rate).all() and (rates.rate <= rates.high).all(), count
