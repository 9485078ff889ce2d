"""Numbered rows of a file, one at a time: JSON lines, a JSON array (both plain, .gz, .xz, .bz2, .zst), Parquet.

The ending chooses: `.parquet`, `.json` (an array, or lines where it does not begin with a bracket), lines otherwise.
Rows count from 1; in a file of lines the number is the line's. An array is read entry by entry.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

from irl.data.json_lines import (
    BlankSpace,
    FilePath,
    Row,
    as_row,
    check_row,
    is_compressed,
    read_json_lines,
    reading,
    row_limit,
)
from irl.data.parquet import parquet_rows
from irl.types import InputError
from reward_models.records import DECODER, UNREADABLE, unreadable

_CHUNK = 1 << 16


def numbered_rows(path: FilePath) -> Iterator[tuple[int, Row]]:
    """Rows with their numbers; InputError with file and row where the container is broken."""
    plain = Path(path).with_suffix("") if is_compressed(path) else Path(path)
    if plain.suffix.lower() == ".parquet":
        return parquet_rows(path)
    return _array_or_lines(path) if plain.suffix.lower() == ".json" else read_json_lines(path)


def _array_or_lines(path: FilePath) -> Iterator[tuple[int, Row]]:
    entries: _Entries | None = None
    try:
        with reading(path, lambda: entries.next_row if entries else "row 1") as data:
            entries = _Entries(io.TextIOWrapper(data, encoding="utf-8-sig"), path)
            if entries.begin():
                yield from entries
                return
    except UnicodeDecodeError:
        raise InputError(
            f"{path}, {entries.next_row if entries else 'row 1'}: not UTF-8 text; save it as UTF-8"
        ) from None
    yield from read_json_lines(path)


class _Entries:
    """The numbered entries of a JSON array in a stream of text, which is read piece by piece."""

    def __init__(self, stream: io.TextIOWrapper, path: FilePath):
        self._stream, self._path = stream, path
        self._buffer = ""
        self._number = 0
        self._blank = BlankSpace()
        self._largest = row_limit()

    @property
    def next_row(self) -> str:
        """The place that messages name."""
        return f"row {self._number + 1}"

    def begin(self) -> bool:
        """Read an opening bracket; False where the text begins otherwise."""
        opens = self._ahead() == "["
        self._buffer = self._buffer[opens:]
        return opens

    def __iter__(self) -> Iterator[tuple[int, Row]]:
        following = self._ahead()
        while following != "]":
            row = self._entry()
            self._number += 1
            yield self._number, row
            following = self._ahead()
            if following not in (",", "]"):
                place = f"{self._path}, after row {self._number}"
                raise InputError(f"{place}: expected ',' or ']', got {self._buffer[:10]!r}")
            if following == ",":
                self._buffer = self._buffer[1:]
                self._ahead()
        self._buffer = self._buffer[1:]
        if self._ahead():
            raise InputError(f"{self._path}: expected nothing after the array, got {self._buffer[:10]!r}")
        if self._number == 0:
            raise InputError(f"{self._path}: an empty array; expected rows")

    def _ahead(self) -> str:
        """Skip white space and return the character that follows; empty at the end of the file."""
        more = self._buffer
        while True:
            self._buffer = more.lstrip()
            self._blank.add(len(self._buffer) - len(more), self._path, self._number + 1)
            if self._buffer or not (more := self._stream.read(_CHUNK)):
                return self._buffer[:1]

    def _entry(self) -> Row:
        """The object that follows; the text is doubled until it is complete."""
        where = f"{self._path}, {self.next_row}"
        while True:
            try:
                value, end = DECODER.raw_decode(self._buffer)
                break
            except json.JSONDecodeError as error:
                check_row(len(self._buffer), self._largest, where)
                more = self._stream.read(max(_CHUNK, len(self._buffer)))
                if not more:
                    raise InputError(f"{where}: malformed JSON ({error.msg}) or the file was cut off") from None
                self._buffer += more
            except UNREADABLE as error:
                raise unreadable(error, where) from None
        check_row(end, self._largest, where)
        self._blank.add(end, self._path, self._number + 1)
        self._buffer = self._buffer[end:]
        return as_row(value, where)
