"""`traceward ratings FILE`: ratings of systems from pairwise comparisons, with intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import tyro
from rich.console import Console
from rich.table import Table

from irl.data.containers import numbered_rows
from irl.data.fields import Row, brief, expect, number, required, text
from irl.types import InputError
from reward_models.ranges import Weight
from reward_models.ratings import (
    Interval,
    Ratings,
    WinRates,
    category_win_rates,
    fit_bradley_terry,
    fit_davidson,
    make_games,
    rating_difference,
)
from reward_models.records import record

_WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (bothbad)": 0.5}
_VOTES = {1: 1.0, 2: 0.0, 0: 0.5}


@record
class Options:
    """Rate systems on the Elo scale (400 points are odds of 10 to 1) by maximum likelihood.

    Prints the rating of every system, its lead over the next one and its win rates, with 95% intervals. Only
    differences of ratings have a meaning. The intervals treat comparisons as independent.
    """

    file: tyro.conf.Positional[Path]
    """A row per comparison, in any container: {"first", "second", "score"} with the score of the first (1 won, 0.5
    tied, 0 lost); {"model_a", "model_b", "winner"} with "model_a", "model_b" or "tie"; or PandaLM's {"cmp_key",
    "annotator1", ...}, where the score is the mean vote. With "category" in the rows, win rates are printed by
    category."""
    ties: Literal["half a win", "davidson"] = "half a win"
    """Bradley-Terry with ties as half a win for each, or Davidson's model, in which a tie is an outcome."""
    ridge: Weight = 0.0
    """Weight of a quadratic penalty, such as 1e-3, that keeps the rating of a system that won everything finite."""


class _Game(NamedTuple):
    first: str
    second: str
    score: float
    category: str


def main(arguments: Sequence[str]) -> int:
    options = tyro.cli(Options, args=list(arguments), prog="traceward ratings")
    rows = [_game(row, options.file, at) for at, row in numbered_rows(options.file)]
    fit = fit_davidson if options.ties == "davidson" else fit_bradley_terry
    try:
        games = make_games([r.first for r in rows], [r.second for r in rows], [r.score for r in rows])
        ratings = fit(games, ridge=options.ridge)
    except ValueError as error:
        raise InputError(f"{options.file}: {error}") from error
    _show(len(rows), ratings, category_win_rates(games, [r.category for r in rows]))
    return 0


def _game(row: Row, path: Path, at: int) -> _Game:
    try:
        category = text(row.get("category", "all"), "category")
        if "winner" in row:
            return _Game(*_systems(row, "model_a", "model_b"), _score(row, "winner", _WINNERS), category)
        if "cmp_key" in row:
            first, _, second = text(row["cmp_key"], "cmp_key").partition("_")
            expect(bool(first and second), "cmp_key", "two systems, FIRST_SECOND", brief(row["cmp_key"]))
            votes = [_score(row, name, _VOTES) for name in row if name.startswith("annotator")]
            expect(bool(votes), "annotator1", "a vote", "nothing")
            return _Game(first, second, sum(votes) / len(votes), category)
        return _Game(*_systems(row, "first", "second"), number(required(row, "score"), "score"), category)
    except InputError as error:
        raise InputError(f"{path}, row {at}, {error}") from None


def _systems(row: Row, first: str, second: str) -> tuple[str, str]:
    return text(required(row, first), first), text(required(row, second), second)


def _score(row: Row, field: str, scores: Mapping[Any, float]) -> float:
    value = row[field]
    known = type(value) in (int, str) and value in scores
    expect(known, field, f"one of {', '.join(map(str, scores))}", brief(value))
    return scores[value]


def _show(count: int, ratings: Ratings, rates: WinRates) -> None:
    order = ratings.rating.argsort()[::-1]
    table = Table(title=f"{len(order)} systems, {count} comparisons, 95% intervals")
    for name in ("system", "games", "rating", "above the next", *(f"win rate, {name}" for name in rates.categories)):
        table.add_column(name)
    for place, i in enumerate(order):
        lead = "-"
        if place + 1 < len(order):
            lead = _cell(rating_difference(ratings, ratings.players[i], ratings.players[order[place + 1]]), 0)
        rating = _cell(Interval(ratings.rating[i], ratings.low[i], ratings.high[i]), 0)
        won = [_cell(Interval(*values), 3) for values in zip(rates.rate[i], rates.low[i], rates.high[i], strict=True)]
        table.add_row(ratings.players[i], f"{rates.games[i].sum():.0f}", rating, lead, *won)
    Console().print(table)


def _cell(found: Interval, digits: int) -> str:
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"
