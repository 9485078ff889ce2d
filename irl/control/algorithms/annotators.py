"""What answers queries: a program that knows the reward, files that somebody fills in, a person at the command line.

An answer has a number per fragment of its query: how many of the others it is better than, a tie counting one half, as
a mean over judges. Of two fragments that is the share of judges who prefer each: [1, 0], [0.5, 0.5]. A synthetic judge
prefers i to j with probability

    P(i > j) = sigmoid((G_i - G_j) / temperature),    G = sum_t discount^t r_t

and ranks more than two as Plackett and Luce do, by G + temperature * Gumbel noise (Christiano et al. 2017, arXiv
1706.03741, eq. 1, at temperature and discount 1). A folder holds two files per round, queries_000.jsonl and
answers_000.jsonl:

    {"id": "0-17", "fragments": [{"observation": [...], "action": [...], ..., "present": [...]}, ...]}
    {"id": "0-17", "answer": [1, 0]}                  null where nobody can tell; the last line of an id counts

A round that was asked before is read back, not asked again, so a program that stops loses neither queries nor answers.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from irl.control.algorithms.fragments import Fragments, discounted_sum, take
from irl.control.types import Transitions
from irl.data.json_lines import FilePath, read_json_lines, write_json_lines
from irl.types import InputError
from reward_models.ranges import Few, Share, Weight
from reward_models.records import record


class Answered(NamedTuple):
    """Queries on the host, and what was said of them; NaN where nobody could tell."""

    queries: Fragments
    answers: Float[np.ndarray, "queries items"]


Gatherer = Callable[[int, Fragments], Answered]
"""(round, queries) -> the round's queries, which may be those of a run before, with answers"""


class Unanswered(InputError):
    """Queries that wait for somebody; the same call after that goes on."""


@record
class Synthetic:
    """Answers by the environment's own reward."""

    temperature: Weight = 1.0
    """In units of return; 0 always prefers the higher return."""
    discount: Share = 1.0
    noise: Share = 0.0
    """Share of answers that are given at random."""
    tie: Weight = 0.0
    """Returns no further apart are called equal."""
    judges: Few = 1

    def answers(self, queries: Fragments, key: jax.Array) -> Float[Array, "queries items"]:
        """As a pure function."""
        of_luck, of_noise = jax.random.split(key)
        returns = discounted_sum(queries.reward, queries.present, self.discount)
        shape = (self.judges, *returns.shape)
        luck = jax.random.gumbel(of_luck, shape)
        careless = jax.random.bernoulli(of_noise, self.noise, (*shape[:-1], 1))
        felt = jnp.where(careless, luck, returns + self.temperature * luck)
        equal = (jnp.abs(_gaps(returns)) <= self.tie) & ~careless[..., None]
        return beaten(jnp.where(equal, 0.0, _gaps(felt))).mean(axis=0)

    def gatherer(self, key: jax.Array) -> Gatherer:
        """On the host; the answers of a round depend on `key` and the round alone."""

        def gather(number: int, queries: Fragments) -> Answered:
            asked = jax.tree.map(jnp.asarray, queries)
            return Answered(queries, np.asarray(self.answers(asked, jax.random.fold_in(key, number))))

        return gather


def beaten(gaps: Float[Array, "*lists items items"]) -> Float[Array, "*lists items"]:
    """How many others each is better than, by the sign of its lead over each; equals count one half."""
    return ((1 + jnp.sign(gaps)) / 2).sum(axis=-1) - 0.5


def _gaps(values: Float[Array, "*lists items"]) -> Float[Array, "*lists items items"]:
    return values[..., :, None] - values[..., None, :]


class QueryFolder:
    """The files of queries and answers."""

    def __init__(self, folder: FilePath):
        self.folder = Path(folder)

    def queries_file(self, number: int) -> Path:
        return self.folder / f"queries_{number:03}.jsonl"

    def answers_file(self, number: int) -> Path:
        return self.folder / f"answers_{number:03}.jsonl"

    def ask(self, number: int, queries: Fragments) -> Fragments:
        """Write the queries of a round, or read those that it was begun with, and return them."""
        path = self.queries_file(number)
        if path.exists():
            return self._queries(number, queries)
        self.folder.mkdir(parents=True, exist_ok=True)
        count = len(queries.present)
        write_json_lines(path, ({"id": f"{number}-{i}", **_as_json(take(queries, i))} for i in range(count)))
        return queries

    def answers(self, number: int, count: int, items: int) -> dict[int, Float[np.ndarray, " items"]]:
        """What was said of a round's `count` queries, by their index."""
        path = self.answers_file(number)
        if not path.exists():
            return {}
        found = {}
        for line, row in read_json_lines(path):
            where = f"{path}, line {line}"
            index = _index(row.get("id"), number, count, where)
            if "answer" not in row:
                raise InputError(f"{where}: expected the fields id and answer, got {', '.join(row)}")
            found[index] = _checked(row["answer"], items, f"{where}, answer")
        return found

    def answer(self, number: int, answers: dict[int, Float[np.ndarray, " items"]]) -> None:
        """Replace a round's answers, by a complete file or not at all."""
        rows = ({"id": f"{number}-{i}", "answer": _answer_as_json(a)} for i, a in sorted(answers.items()))
        write_json_lines(self.answers_file(number), rows)

    def _queries(self, number: int, like: Fragments) -> Fragments:
        path, count = self.queries_file(number), len(like.present)
        rows = list(read_json_lines(path))
        if len(rows) != count:
            raise InputError(f"{path}: expected {count} queries, got {len(rows)}; give a new run a folder of its own")
        read = [_from_json(row, take(like, i), f"{path}, line {line}") for i, (line, row) in enumerate(rows)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *read)


def from_files(folder: FilePath) -> Gatherer:
    """Answers that somebody writes into answers_*.jsonl. Unanswered: some are missing; the message says which."""
    files = QueryFolder(folder)

    def gather(number: int, queries: Fragments) -> Answered:
        queries = files.ask(number, queries)
        count, items = queries.present.shape[:2]
        answers = files.answers(number, count, items)
        missing = [i for i in range(count) if i not in answers]
        if missing:
            example = json.dumps({"id": f"{number}-{missing[0]}", "answer": list(range(items))[::-1]})
            raise Unanswered(
                f"{files.queries_file(number)}: {len(missing)} of {count} queries are not answered, first "
                f"{number}-{missing[0]}; add lines such as {example} to {files.answers_file(number)} and run again"
            )
        return Answered(queries, np.stack([answers[i] for i in range(count)]))

    return gather


def from_command_line(
    folder: FilePath, *, ask: Callable[[str], str] = input, show: Callable[[str], Any] = print, rows: int = 10
) -> Gatherer:
    """A person who is shown tables of `rows` steps and asked; every answer is on disk before the next question.

    Unanswered: nobody is there any more (end of file).
    """
    files = QueryFolder(folder)

    def gather(number: int, queries: Fragments) -> Answered:
        queries = files.ask(number, queries)
        count, items = queries.present.shape[:2]
        answers = files.answers(number, count, items)
        for index in range(count):
            if index not in answers:
                show(f"query {number}-{index}, {count - len(answers)} left\n{table(take(queries, index), rows)}")
                answers[index] = _asked(ask, show, items, files.answers_file(number))
                files.answer(number, answers)
        return Answered(queries, np.stack([answers[i] for i in range(count)]))

    return gather


def table(query: Fragments, rows: int = 10) -> str:
    """Fragments side by side: observation and action at steps spread evenly over them, blank after an episode's end."""
    items, length = query.present.shape
    steps = np.unique(np.linspace(0, length - 1, min(rows, length)).round().astype(int)).tolist()
    head = ["step", *(f"{i + 1}: observation -> action" for i in range(items))]
    lines = [head] + [[str(t), *(_cell(query, i, t) for i in range(items))] for t in steps]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def parse_answer(reply: str, items: int) -> Float[np.ndarray, " items"]:
    """A ranking such as `2 1 3`, best first, or `2 1=3`; `=` all are equal, `s` cannot tell; of a pair `1` is enough.

    InputError: anything else.
    """
    text, everything = re.sub(r"\s*=\s*", "=", reply.strip().lower()), list(range(1, items + 1))
    if text == "s":
        return np.full(items, np.nan, np.float32)
    text = "=".join(map(str, everything)) if text == "=" else text
    text = {"1": "1 2", "2": "2 1"}.get(text, text) if items == 2 else text
    named = sorted(int(n) for n in re.findall(r"\d+", text))
    if named != everything or not re.fullmatch(r"[\d\s>=]+", text):
        expected = "1, 2, = (equal)" if items == 2 else f"{' '.join(map(str, everything))} in order, best first,"
        raise InputError(f"expected {expected} or s (cannot tell), got {reply.strip()!r}")
    groups = [re.findall(r"\d+", group) for group in re.split(r"[\s>]+", text)]
    place = {int(n): -i for i, group in enumerate(groups) for n in group}
    return np.asarray(beaten(_gaps(jnp.array([place[n] for n in everything], jnp.float32))))


def _asked(
    ask: Callable[[str], str], show: Callable[[str], Any], items: int, kept: Path
) -> Float[np.ndarray, " items"]:
    question = "better (1, 2, = equal, s cannot tell): " if items == 2 else "best first (2 1=3; s cannot tell): "
    while True:
        try:
            return parse_answer(ask(question), items)
        except EOFError:
            told = f"the answers ended before the queries did; those given are in {kept}, run again to go on"
            raise Unanswered(told) from None
        except InputError as error:
            show(str(error))


def _cell(query: Fragments, item: int, step: int) -> str:
    if not query.present[item, step]:
        return ""
    observation, action = (np.asarray(x[item, step]).reshape(-1) for x in query.transitions[:2])
    return f"{' '.join(f'{v:.3g}' for v in observation)} -> {' '.join(f'{v:.3g}' for v in action)}"


_FIELDS = (*Transitions._fields, "present")


def _arrays(query: Fragments) -> Iterable[tuple[str, np.ndarray]]:
    return zip(_FIELDS, map(np.asarray, (*query.transitions, query.present)), strict=True)


def _as_json(query: Fragments) -> dict[str, Any]:
    items = range(len(query.present))
    return {"fragments": [{name: array[i].tolist() for name, array in _arrays(query)} for i in items]}


def _from_json(row: dict[str, Any], like: Fragments, where: str) -> Fragments:
    pieces = row.get("fragments")
    items, fields = len(like.present), list[Any]()
    if not isinstance(pieces, list) or len(pieces) != items:
        raise InputError(f"{where}, fragments: expected a list of {items}")
    for name, array in _arrays(like):
        try:
            value = np.array([piece[name] for piece in pieces], array.dtype)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{where}, fragments, {name}: expected numbers of shape {array.shape} ({error})") from None
        if value.shape != array.shape:
            raise InputError(f"{where}, fragments, {name}: expected shape {array.shape}, got {value.shape}")
        fields.append(value)
    present, nothing = jnp.asarray(fields[-1]), jnp.zeros(like.present.shape)
    return Fragments(Transitions(*fields[:-1]), present, nothing)


def _index(name: Any, number: int, count: int, where: str) -> int:
    found = re.fullmatch(rf"{number}-(\d+)", name) if isinstance(name, str) else None
    if found is None or int(found[1]) >= count:
        raise InputError(f"{where}, id: expected one of {number}-0 to {number}-{count - 1}, got {name!r}")
    return int(found[1])


def _checked(answer: Any, items: int, where: str) -> Float[np.ndarray, " items"]:
    if answer is None:
        return np.full(items, np.nan, np.float32)
    numbers = isinstance(answer, list) and all(isinstance(a, int | float) for a in answer)
    total = items * (items - 1) / 2
    if not numbers or len(answer) != items or min(answer) < 0 or not abs(sum(answer) - total) < 1e-3:
        example = [1, 0] if items == 2 else list(range(items))[::-1]
        raise InputError(
            f"{where}: expected {items} numbers, how many others each is better than, that sum to {total:g} "
            f"({example}; ties count one half), or null; got {json.dumps(answer)}"
        )
    return np.array(answer, np.float32)


def _answer_as_json(answer: Float[np.ndarray, " items"]) -> list[float] | None:
    return None if np.isnan(answer).any() else answer.tolist()
