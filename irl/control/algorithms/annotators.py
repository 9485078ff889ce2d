"""Annotators of queries: a program that knows the reward, files that a person fills in, a prompt on the command line.

An answer has one number per fragment of its query: how many of the other fragments it beats, a tie counting one half,
averaged over judges. For two fragments this is the share of judges who prefer each: [1, 0], [0.5, 0.5]. A synthetic
judge prefers i to j with probability

    P(i > j) = sigmoid((G_i - G_j) / temperature),    G = sum_t discount^t r_t

and ranks more than two by G + temperature * Gumbel noise, the Plackett-Luce model (Christiano et al. 2017, arXiv
1706.03741, eq. 1, at temperature and discount 1). A folder holds two files per round, queries_000.jsonl and
answers_000.jsonl:

    {"id": "0-17", "fragments": [{"observation": [...], "action": [...], ..., "present": [...]}, ...]}
    {"id": "0-17", "answer": [1, 0]}                  null if undecided; the last line of an id counts

Queries of a round that already has a file are read from it, so a stopped program loses neither queries nor answers.
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

Answers = dict[int, Float[np.ndarray, " items"]]
"""Index of a query in its round -> answer."""


class AnsweredQueries(NamedTuple):
    """Queries on the host with their answers; NaN if undecided."""

    queries: Fragments
    answers: Float[np.ndarray, "queries items"]


Annotator = Callable[[int, Fragments], AnsweredQueries]
"""(round, queries) -> the queries of the round, possibly those of an earlier run, with answers"""


class Unanswered(InputError):
    """Queries without answers; the same call resumes once the answers are there."""


@record
class Synthetic:
    """Answers computed from the environment's reward."""

    temperature: Weight = 1.0
    """In units of return; at 0 the higher return always wins."""
    discount: Share = 1.0
    noise: Share = 0.0
    """Share of random answers."""
    tie: Weight = 0.0
    """Largest difference of returns that counts as a tie."""
    judges: Few = 1

    def answers(self, queries: Fragments, key: jax.Array) -> Float[Array, "queries items"]:
        """The answers, as a pure function."""
        gumbel_key, noise_key = jax.random.split(key)
        returns = discounted_sum(queries.reward, queries.present, self.discount)
        shape = (self.judges, *returns.shape)
        gumbel = jax.random.gumbel(gumbel_key, shape)
        random = jax.random.bernoulli(noise_key, self.noise, (*shape[:-1], 1))
        perceived = jnp.where(random, gumbel, returns + self.temperature * gumbel)
        tied = (jnp.abs(_gaps(returns)) <= self.tie) & ~random[..., None]
        return wins(jnp.where(tied, 0.0, _gaps(perceived))).mean(axis=0)


def wins(gaps: Float[Array, "*lists items items"]) -> Float[Array, "*lists items"]:
    """How many other items each beats, by the sign of its gap to them; ties count one half."""
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
        """Write the queries of a round, or read those of an earlier run, and return them."""
        path, count = self.queries_file(number), len(queries.present)
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            write_json_lines(path, ({"id": f"{number}-{i}", **_to_json(take(queries, i))} for i in range(count)))
            return queries
        rows = list(read_json_lines(path))
        if len(rows) != count:
            raise InputError(f"{path}: expected {count} queries, got {len(rows)}; use a new folder for a new run")
        read = [_from_json(row, take(queries, i), f"{path}, line {line}") for i, (line, row) in enumerate(rows)]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *read)

    def answers(self, number: int, count: int, items: int) -> Answers:
        """The answers of a round with `count` queries."""
        path = self.answers_file(number)
        if not path.exists():
            return {}
        answers = {}
        for line, row in read_json_lines(path):
            where = f"{path}, line {line}"
            index = _index(row.get("id"), number, count, where)
            if "answer" not in row:
                raise InputError(f"{where}: expected the fields id and answer, got {', '.join(row)}")
            answers[index] = _answer(row["answer"], items, f"{where}, answer")
        return answers

    def write(self, number: int, answers: Answers) -> None:
        """Replace the answers of a round, atomically."""
        rows = (
            {"id": f"{number}-{i}", "answer": None if np.isnan(answer).any() else answer.tolist()}
            for i, answer in sorted(answers.items())
        )
        write_json_lines(self.answers_file(number), rows)


Complete = Callable[[QueryFolder, int, Fragments, Answers], None]
"""(files, round, queries, answers so far): add the missing answers in place, or raise `Unanswered`"""


def _from_folder(folder: FilePath, complete: Complete) -> Annotator:
    files = QueryFolder(folder)

    def annotate(number: int, queries: Fragments) -> AnsweredQueries:
        queries = files.ask(number, queries)
        count, items = queries.present.shape[:2]
        answers = files.answers(number, count, items)
        if len(answers) < count:
            complete(files, number, queries, answers)
        return AnsweredQueries(queries, np.stack([answers[i] for i in range(count)]))

    return annotate


def from_files(folder: FilePath) -> Annotator:
    """Answers that a person writes to answers_*.jsonl. Raises Unanswered, naming the file, if some are missing."""

    def complete(files: QueryFolder, number: int, queries: Fragments, answers: Answers) -> None:
        count, items = queries.present.shape[:2]
        first, *others = (i for i in range(count) if i not in answers)
        example = json.dumps({"id": f"{number}-{first}", "answer": list(range(items))[::-1]})
        raise Unanswered(
            f"{files.queries_file(number)}: {1 + len(others)} of {count} queries are not answered, first "
            f"{number}-{first}; add lines such as {example} to {files.answers_file(number)} and run again"
        )

    return _from_folder(folder, complete)


def from_command_line(
    folder: FilePath, *, ask: Callable[[str], str] = input, show: Callable[[str], Any] = print, rows: int = 10
) -> Annotator:
    """Answers of a person at the command line, who sees tables of `rows` steps. Each answer is saved immediately.

    The annotator raises Unanswered at the end of the input.
    """

    def complete(files: QueryFolder, number: int, queries: Fragments, answers: Answers) -> None:
        count, items = queries.present.shape[:2]
        for index in range(count):
            if index not in answers:
                show(f"query {number}-{index}, {count - len(answers)} left\n{table(take(queries, index), rows)}")
                answers[index] = _prompt(ask, show, items, files.answers_file(number))
                files.write(number, answers)

    return _from_folder(folder, complete)


def table(query: Fragments, rows: int = 10) -> str:
    """Fragments side by side: observation and action at evenly spaced steps, blank after the end of an episode."""
    items, length = query.present.shape
    steps = np.unique(np.linspace(0, length - 1, min(rows, length)).round().astype(int)).tolist()
    head = ["step", *(f"{i + 1}: observation -> action" for i in range(items))]
    lines = [head] + [[str(t), *(_cell(query, i, t) for i in range(items))] for t in steps]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def parse_answer(reply: str, items: int) -> Float[np.ndarray, " items"]:
    """A ranking such as `2 1 3`, best first, or `2 1=3`; `=` all tied, `s` undecided; for a pair `1` is enough.

    Raises InputError for any other reply.
    """
    text, everything = re.sub(r"\s*=\s*", "=", reply.strip().lower()), list(range(1, items + 1))
    if text == "s":
        return np.full(items, np.nan, np.float32)
    text = "=".join(map(str, everything)) if text == "=" else text
    text = {"1": "1 2", "2": "2 1"}.get(text, text) if items == 2 else text
    named = sorted(int(n) for n in re.findall(r"\d+", text))
    if named != everything or not re.fullmatch(r"[\d\s>=]+", text):
        expected = "1, 2, = (tied)" if items == 2 else f"{' '.join(map(str, everything))} in order, best first,"
        raise InputError(f"expected {expected} or s (undecided), got {reply.strip()!r}")
    groups = [re.findall(r"\d+", group) for group in re.split(r"[\s>]+", text)]
    place = {int(n): -i for i, group in enumerate(groups) for n in group}
    return np.asarray(wins(_gaps(jnp.array([place[n] for n in everything], jnp.float32))))


def _prompt(
    ask: Callable[[str], str], show: Callable[[str], Any], items: int, saved: Path
) -> Float[np.ndarray, " items"]:
    question = "better (1, 2, = tied, s undecided): " if items == 2 else "best first (2 1=3; s undecided): "
    while True:
        try:
            return parse_answer(ask(question), items)
        except EOFError:
            message = f"end of input before the last query; the answers so far are in {saved}, run again to resume"
            raise Unanswered(message) from None
        except InputError as error:
            show(str(error))


def _cell(query: Fragments, item: int, step: int) -> str:
    if not query.present[item, step]:
        return ""
    observation, action = (np.asarray(x[item, step]).reshape(-1) for x in query.transitions[:2])
    return f"{' '.join(f'{v:.3g}' for v in observation)} -> {' '.join(f'{v:.3g}' for v in action)}"


def _arrays(query: Fragments) -> Iterable[tuple[str, np.ndarray]]:
    names = (*Transitions._fields, "present")
    return zip(names, map(np.asarray, (*query.transitions, query.present)), strict=True)


def _to_json(query: Fragments) -> dict[str, Any]:
    items = range(len(query.present))
    return {"fragments": [{name: array[i].tolist() for name, array in _arrays(query)} for i in items]}


def _from_json(row: dict[str, Any], like: Fragments, where: str) -> Fragments:
    fragments = row.get("fragments")
    items, fields = len(like.present), list[Any]()
    if not isinstance(fragments, list) or len(fragments) != items:
        raise InputError(f"{where}, fragments: expected a list of {items}")
    for name, array in _arrays(like):
        try:
            value = np.array([fragment[name] for fragment in fragments], array.dtype)
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{where}, fragments, {name}: expected numbers of shape {array.shape} ({error})") from None
        if value.shape != array.shape:
            raise InputError(f"{where}, fragments, {name}: expected shape {array.shape}, got {value.shape}")
        fields.append(value)
    return Fragments(Transitions(*fields[:-1]), jnp.asarray(fields[-1]), jnp.zeros(like.present.shape))


def _index(name: Any, number: int, count: int, where: str) -> int:
    match = re.fullmatch(rf"{number}-(\d+)", name) if isinstance(name, str) else None
    if match is None or int(match[1]) >= count:
        raise InputError(f"{where}, id: expected one of {number}-0 to {number}-{count - 1}, got {name!r}")
    return int(match[1])


def _answer(answer: Any, items: int, where: str) -> Float[np.ndarray, " items"]:
    if answer is None:
        return np.full(items, np.nan, np.float32)
    numbers = isinstance(answer, list) and all(isinstance(a, int | float) for a in answer)
    total = items * (items - 1) / 2
    if not numbers or len(answer) != items or min(answer) < 0 or not abs(sum(answer) - total) < 1e-3:
        raise InputError(
            f"{where}: expected {items} numbers, how many others each beats, with sum {total:g} "
            f"({list(range(items))[::-1]}; ties count one half), or null; got {json.dumps(answer)}"
        )
    return np.array(answer, np.float32)
