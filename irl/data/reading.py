"""A file of reward-model data as a stream of records, with an account of the rows that did not fit.

    reading = read_records("pairs.jsonl.gz")
    for record in reading: ...
    print(reading.report)

A record keeps the id of its row; without one it is `row-N`, N counting rows (of a file of lines: lines) from 1.
Memory does not grow with the file: one row is held at a time, and of the rows that do not fit the first 1,000 are
listed and all are counted. A file none of whose rows fits is an error.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

from irl.data.containers import numbered_rows
from irl.data.detect import Format, Record, detect, named
from irl.data.fields import Row
from irl.data.json_lines import FilePath
from irl.types import InputError

LISTED = 1_000
_LOOKED_AT = 16
_SHOWN = 20
_LONGEST = 1_000


class Unfit(NamedTuple):
    """A row that became no record, and why; `reason` names the field, `id` is the row's own or `row-N`."""

    row: int
    reason: str
    id: str


class Report(NamedTuple):
    """What became of the rows read so far."""

    path: str
    format: str
    rows: int
    records: int
    unfit: int
    listed: tuple[Unfit, ...]
    """The first of the unfit rows."""

    def __str__(self) -> str:
        head = f"{self.path} ({self.format}): {self.rows} rows, {self.records} records, {self.unfit} rows do not fit"
        lines = [f"  {_called(unfit)}: {unfit.reason}" for unfit in self.listed[:_SHOWN]]
        more = self.unfit - len(lines)
        return "\n".join([head, *lines, *([f"  ... and {more} more"] if more else [])])


class Reading(Iterator[Record]):
    """Records of a file, once, in its order; `report` counts as it goes."""

    def __init__(self, path: FilePath, name: str, form: Format, rows: Iterator[tuple[int, Row]]):
        self._path, self._name = str(path), name
        self._rows = self._records = self._unfit = 0
        self._listed: list[Unfit] = []
        self._stream = self._read(form, rows)

    def __next__(self) -> Record:
        return next(self._stream)

    @property
    def rows(self) -> int:
        """How many have been read so far."""
        return self._rows

    @property
    def report(self) -> Report:
        return Report(self._path, self._name, self._rows, self._records, self._unfit, tuple(self._listed))

    def _read(self, form: Format, rows: Iterator[tuple[int, Row]]) -> Iterator[Record]:
        for number, row in rows:
            self._rows += 1
            try:
                parsed = form.read(row, f"row-{number}")
            except InputError as error:
                self._note(Unfit(number, str(error), _own_id(row) or f"row-{number}"))
                continue
            for record in parsed if isinstance(parsed, Sequence) else [parsed]:
                self._records += 1
                yield record
        if self._records == 0:
            raise InputError(f"{self._path}: no row fits the format {self._name}\n{self.report}")

    def _note(self, unfit: Unfit) -> None:
        self._unfit += 1
        if len(self._listed) < LISTED:
            self._listed.append(Unfit(unfit.row, _printable(unfit.reason), _printable(unfit.id)))


def _printable(text: str) -> str:
    """A text that can be written as UTF-8, of bounded length: rows may hold half of a surrogate pair, or megabytes."""
    text = text.encode(errors="backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _own_id(row: Row) -> str:
    """The id of a row that may be wrong in any of its fields; empty where it has none."""
    value = row.get("id")
    return str(value) if type(value) in (int, str) else ""


def _called(unfit: Unfit) -> str:
    return f"row {unfit.row}" if unfit.id == f"row-{unfit.row}" else f"row {unfit.row} ({unfit.id})"


def read_records(path: FilePath, format: str | None = None) -> Reading:
    """Records of a file in any known format and container (detect.py, containers.py).

    Without `format` the columns of the first rows decide; InputError where they decide nothing.
    """
    rows = numbered_rows(path)
    if format is not None:
        return Reading(path, format, named(format), rows)
    first = list(islice(rows, _LOOKED_AT))
    try:
        name = detect([row for _, row in first])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    return Reading(path, name, named(name), chain(first, rows))
