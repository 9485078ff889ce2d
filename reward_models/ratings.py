"""Ratings of many players from pairwise results; win rates by category.

Players are models, annotators' favourites, reward models: whatever meets in pairs. Ratings are on the Elo scale
(400 points are odds of 10 to 1) with a given mean; only their differences mean anything. Numpy float64, on the host.

    Bradley-Terry   log P(i beats j) = log sigmoid(t_i - t_j); a tie is half a win for each
    Davidson        P(i, j, tie) = softmax [t_i, t_j, (t_i + t_j)/2 + log nu]; nu is fitted
    rating          mean + 400 / ln 10 (t - average t)

Bradley & Terry 1952; Davidson 1970. Both are softmax regressions, concave, solved by Newton's method. Intervals:
the sandwich H^-1 G H^-1 (Huber 1967; White 1982), right also where the model is not. It treats games as independent:
results of one prompt or one annotator that move together need wider ones.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

ELO = 400 / math.log(10)
"""Elo points of one nat."""


class Games(NamedTuple):
    """Pairwise results, checked; built by `make_games`."""

    players: tuple[str, ...]
    first: Int[np.ndarray, " games"]
    """Index of a player."""
    second: Int[np.ndarray, " games"]
    score: Float[np.ndarray, " games"]
    """Of `first`: 1 won, 0.5 tied, 0 lost; Bradley-Terry takes any share."""
    repeats: Float[np.ndarray, " games"]
    """How many equal games the line stands for."""


class Ratings(NamedTuple):
    """Ratings on the Elo scale with an interval for each."""

    players: tuple[str, ...]
    rating: Float[np.ndarray, " players"]
    low: Float[np.ndarray, " players"]
    high: Float[np.ndarray, " players"]
    covariance: Float[np.ndarray, "players players"]
    """In squared points. Differences between players are surer than single ratings suggest: `rating_difference`."""
    log_tie: float | None
    """Davidson's log nu; None of Bradley-Terry."""


class Interval(NamedTuple):
    """An estimate with its interval."""

    value: float
    low: float
    high: float


def make_games(
    first: Sequence[str],
    second: Sequence[str],
    score: Sequence[float] | Float[np.ndarray, " games"],
    *,
    repeats: Sequence[float] | Float[np.ndarray, " games"] | None = None,
    players: Sequence[str] | None = None,
) -> Games:
    """Check results given by name; game g is `first[g]` against `second[g]`.

    `players` fixes who is rated, and their order; None takes all that played, sorted.
    ValueError, with the game: unequal lengths, nobody, a player against itself or unknown, scores outside 0..1,
    repeats that are negative or not finite.
    """
    scores = np.asarray(score, np.float64)
    counts = np.ones(len(scores)) if repeats is None else np.asarray(repeats, np.float64)
    lengths = {"first": len(first), "second": len(second), "score": len(scores), "repeats": len(counts)}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"games: columns of unequal length: {lengths}")
    if not len(scores):
        raise ValueError("games: there are none")
    names = tuple(sorted({*first, *second}) if players is None else players)
    index = {name: at for at, name in enumerate(names)}
    if len(index) < len(names):
        raise ValueError(f"players: {_some([name for name in index if names.count(name) > 1])} named twice")
    pairs = list(zip(first, second, strict=True))
    unknown = np.array([a not in index or b not in index for a, b in pairs])
    _refuse(unknown, pairs, "has a player that is not among `players`")
    _refuse(np.array([a == b for a, b in pairs]), pairs, "is a player against itself")
    _refuse(~((scores >= 0) & (scores <= 1)), pairs, "has a score outside 0..1 (1 first won, 0.5 tie, 0 lost)")
    _refuse(~(np.isfinite(counts) & (counts >= 0)), pairs, "has repeats that are negative or not finite")
    one, other = (np.array([index[name] for name in side], np.int64) for side in (first, second))
    return Games(names, one, other, scores, counts)


def fit_bradley_terry(games: Games, *, ridge: float = 0.0, mean: float = 1000.0, level: float = 0.95) -> Ratings:
    """Maximum-likelihood ratings with sandwich intervals; a tie is half a win for each.

    `ridge` subtracts ridge/2 sum t^2 from the log-likelihood (in nats): what keeps a player that won all games finite.
    ValueError: players without games, groups that never met, players that won or lost everything (without `ridge`).
    """
    lines = _tally(games)
    _check_connected(lines)
    if ridge == 0:
        _check_separation(lines)
    share = np.stack([lines.score, 1 - lines.score], axis=1)
    return _fit(lines, np.array([[0.5], [-0.5]]), share, ridge, mean, level)


def fit_davidson(games: Games, *, ridge: float = 0.0, mean: float = 1000.0, level: float = 0.95) -> Ratings:
    """Maximum-likelihood ratings where a tie is an outcome of its own, with sandwich intervals.

    ValueError: as `fit_bradley_terry`; scores other than 0, 0.5 and 1; no tie at all, or nothing else.
    """
    lines = _tally(games)
    share = np.stack([lines.score == 1, lines.score == 0, lines.score == 0.5], axis=1).astype(float)
    if not share.any(axis=1).all():
        raise ValueError("Davidson: scores must be 0, 0.5 or 1; fit_bradley_terry takes shares")
    if not share[:, 2].any():
        raise ValueError("Davidson: no game was tied, so nothing tells how likely ties are; use fit_bradley_terry")
    if share[:, 2].all():
        raise ValueError("Davidson: every game was tied; there is nothing to rate")
    _check_connected(lines)
    if ridge == 0:
        _check_separation(lines)
        _check_tie_separation(lines)
    return _fit(lines, np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 1.0]]), share, ridge, mean, level)


def rating_difference(ratings: Ratings, first: str, second: str, *, level: float = 0.95) -> Interval:
    """How many points `first` is above `second`, with a normal interval that knows how the two move together."""
    a, b = ratings.players.index(first), ratings.players.index(second)
    variance = ratings.covariance[a, a] + ratings.covariance[b, b] - 2 * ratings.covariance[a, b]
    half = _quantile(level) * math.sqrt(max(variance, 0.0))
    value = float(ratings.rating[a] - ratings.rating[b])
    return Interval(value, value - half, value + half)


class WinRates(NamedTuple):
    """Mean score of every player in every category, a tie being half; nan where nobody played."""

    players: tuple[str, ...]
    categories: tuple[str, ...]
    games: Float[np.ndarray, "players categories"]
    rate: Float[np.ndarray, "players categories"]
    low: Float[np.ndarray, "players categories"]
    high: Float[np.ndarray, "players categories"]


def category_win_rates(games: Games, category: Sequence[str], *, level: float = 0.95) -> WinRates:
    """Win rates by category of game, with Wilson's score interval (1927); with ties it is a little too wide.

    ValueError: not one category per game.
    """
    if len(category) != len(games.score):
        raise ValueError(f"category: {len(category)} for {len(games.score)} games")
    names = tuple(sorted(set(category)))
    column = np.searchsorted(names, list(category))
    total, won = np.zeros((2, len(games.players), len(names)))
    for player, score in ((games.first, games.score), (games.second, 1 - games.score)):
        np.add.at(total, (player, column), games.repeats)
        np.add.at(won, (player, column), games.repeats * score)
    return WinRates(games.players, names, total, *_wilson(won, total, _quantile(level)))


def _wilson(won, total, z):
    known = np.maximum(total, np.finfo(float).tiny)
    rate = won / known
    middle = (won + z**2 / 2) / (total + z**2)
    half = z / (total + z**2) * np.sqrt(won * (1 - rate) + z**2 / 4)
    low, high = np.minimum(np.maximum(middle - half, 0), rate), np.maximum(np.minimum(middle + half, 1), rate)
    played = total > 0  # `rate` bounds the interval where rounding would exclude it
    return np.where(played, rate, np.nan), np.where(played, low, 0.0), np.where(played, high, 1.0)


def _quantile(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number between 0 and 1, got {level}")
    return NormalDist().inv_cdf((1 + level) / 2)


def _tally(games: Games) -> Games:
    """Equal games merged: what the fits cost grows with the number of pairs, not of games."""
    rows = np.stack([games.first, games.second, games.score], axis=1)[games.repeats > 0]
    lines, place = np.unique(rows, axis=0, return_inverse=True)
    count = np.bincount(place.ravel(), games.repeats[games.repeats > 0], len(lines))
    return Games(games.players, lines[:, 0].astype(int), lines[:, 1].astype(int), lines[:, 2], count)


def _fit(lines: Games, features, share, ridge: float, mean: float, level: float) -> Ratings:
    """Newton's method from equal ratings; H is singular along "all ratings up", which `_lift` fills."""
    players, shared = len(lines.players), features.shape[1] - 1
    theta = np.zeros(players + shared)
    value, gradient, hessian, _ = _derivatives(theta, lines, features, share, ridge)
    for _ in range(100):
        step, size = np.linalg.solve(hessian + _lift(hessian, players), gradient), 1.0
        while _value(theta + size * step, lines, features, share, ridge) < value - 1e-12 * abs(value) and size > 1e-6:
            size /= 2
        theta = theta + size * step
        value, gradient, hessian, scores = _derivatives(theta, lines, features, share, ridge)
        if np.abs(step).max() < 1e-10:
            break
    else:
        raise ValueError("ratings: Newton's method did not converge in 100 steps; give ridge, for example 1e-3")
    inverse = np.linalg.inv(hessian + _lift(hessian, players))
    covariance = ELO**2 * (inverse @ scores @ inverse)[:players, :players]
    rating = mean + ELO * theta[:players]
    half = _quantile(level) * np.sqrt(np.diag(covariance))
    log_tie = float(theta[players]) if shared else None
    return Ratings(lines.players, rating, rating - half, rating + half, covariance, log_tie)


def _lift(hessian, players: int):
    lift = np.zeros_like(hessian)
    lift[:players, :players] = np.trace(hessian) / players**2
    return lift


def _log_probabilities(theta, lines: Games, features):
    """log softmax of features . (t_first - t_second, shared parameters), per line."""
    players = len(lines.players)
    gap = theta[lines.first] - theta[lines.second]
    logits = np.outer(gap, features[:, 0]) + features[:, 1:] @ theta[players:]
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def _value(theta, lines: Games, features, share, ridge: float) -> float:
    log_p = _log_probabilities(theta, lines, features)
    return lines.repeats @ (share * log_p).sum(1) - ridge / 2 * (theta[: len(lines.players)] ** 2).sum()


def _derivatives(theta, lines: Games, features, share, ridge: float):
    """Value, gradient, -Hessian and sum of outer products of the scores of single games."""
    players = len(lines.players)
    p = np.exp(_log_probabilities(theta, lines, features))
    expected = p @ features
    score = share @ features - expected
    curvature = np.einsum("nk,ka,kb->nab", p, features, features) - expected[:, :, None] * expected[:, None, :]
    gradient = np.concatenate([_incidence(lines, lines.repeats * score[:, 0]), lines.repeats @ score[:, 1:]])
    gradient[:players] -= ridge * theta[:players]
    hessian = _assemble(lines, curvature)
    hessian[np.arange(players), np.arange(players)] += ridge
    scores = _assemble(lines, score[:, :, None] * score[:, None, :])
    return _value(theta, lines, features, share, ridge), gradient, hessian, scores


def _incidence(lines: Games, values):
    """Sum of values by player: plus for the first, minus for the second."""
    players = len(lines.players)
    return np.bincount(lines.first, values, players) - np.bincount(lines.second, values, players)


def _assemble(lines: Games, blocks):
    """sum_n repeats_n A_n^T block_n A_n, where A_n maps all parameters to (gap, shared parameters) of line n."""
    players, blocks = len(lines.players), lines.repeats[:, None, None] * blocks
    total = np.zeros((players + blocks.shape[1] - 1,) * 2)
    np.subtract.at(total, (lines.first, lines.second), blocks[:, 0, 0])
    total += total.T
    degree = np.bincount(lines.first, blocks[:, 0, 0], players) + np.bincount(lines.second, blocks[:, 0, 0], players)
    total[np.arange(players), np.arange(players)] += degree
    for k in range(1, blocks.shape[1]):
        total[:players, players + k - 1] = total[players + k - 1, :players] = _incidence(lines, blocks[:, 0, k])
    total[players:, players:] = blocks[:, 1:, 1:].sum(0)
    return total


def _check_connected(lines: Games) -> None:
    played = np.isin(np.arange(len(lines.players)), [lines.first, lines.second])
    if not played.all():
        raise ValueError(f"players without games: {_names(lines, ~played)}; leave them out of `players`")
    met = _reach(np.concatenate([lines.first, lines.second]), np.concatenate([lines.second, lines.first]), len(played))
    if not met.all():
        groups = f"{_names(lines, met)} never met {_names(lines, ~met)}, not even through others"
        raise ValueError(f"ratings: {groups}; rate the groups apart, or add games between them")


def _check_separation(lines: Games) -> None:
    """Ford 1957: ratings are finite if and only if everybody scored, perhaps through others, against everybody."""
    won, lost = lines.score > 0, lines.score < 1
    better = np.concatenate([lines.first[won], lines.second[lost]])
    worse = np.concatenate([lines.second[won], lines.first[lost]])
    for source, target, verb in ((better, worse, "won"), (worse, better, "lost")):
        reached = _reach(source, target, len(lines.players))
        if not reached.all():
            who = f"{_names(lines, ~reached)} {verb} every game against the other players"
            raise ValueError(f"ratings: {who}: no finite rating fits best; add games, or give ridge, for example 1e-3")


def _check_tie_separation(lines: Games) -> None:
    """Ties and wins that a scale with a threshold tells apart without error drive all ratings to infinity.

    It exists if t_i - t_j >= 1 for every win and |t_i - t_j| <= 1 for every tie can be met: no negative cycle
    in the graph of these constraints (Bellman & Ford).
    """
    first, second, score = lines.first, lines.second, lines.score
    won, lost, tied = score == 1, score == 0, score == 0.5
    source = np.concatenate([first[won], second[lost], first[tied], second[tied]])
    target = np.concatenate([second[won], first[lost], second[tied], first[tied]])
    length = np.repeat([-1.0, 1.0], [won.sum() + lost.sum(), 2 * tied.sum()])
    wins = set(zip(source[length < 0].tolist(), target[length < 0].tolist(), strict=True))
    if any((worse, better) in wins for better, worse in wins):
        return  # each beat the other: the shortest negative cycle, and the usual one
    distance = np.zeros(len(lines.players))
    for _ in lines.players:
        before = distance.copy()
        np.minimum.at(distance, target, before[source] + length)
        if (distance == before).all():
            reason = "one threshold tells all ties from all wins, so no finite ratings fit best"
            raise ValueError(f"Davidson: {reason}; add games, give ridge, or use fit_bradley_terry")


def _reach(source, target, players: int) -> Bool[np.ndarray, " players"]:
    """Who can be reached from player 0 along the edges."""
    reached, before = np.arange(players) == 0, 0
    while reached.sum() > before:
        before = reached.sum()
        reached[target[reached[source]]] = True
    return reached


def _names(lines: Games, chosen) -> str:
    return _some([name for name, is_chosen in zip(lines.players, chosen, strict=True) if is_chosen])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(repr, names[:5])) + more


def _refuse(bad, pairs: Sequence[tuple[str, str]], why: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        more = f" ({bad.sum()} such games)" if bad.sum() > 1 else ""
        raise ValueError(f"games: game {at}, {pairs[at][0]!r} against {pairs[at][1]!r}, {why}{more}")
