"""Numbered rows of a file, one at a time: JSON lines, a JSON array (both plain, .gz, .xz, .bz2, .zst), Parquet.

The ending chooses: `.parquet`, `.json` (an array, or lines where it does not begin with a bracket), lines otherwise.
Rows count from 1; in a file of lines the number is the line's. An array is read entry by entry.
"""

import io
import json
from collections.abc import Iterator
from pathlib import Path

from irl.traces.json_lines import FilePath, Row, is_compressed, kind, read_json_lines, reading
from irl.traces.reward_data.parquet import parquet_rows
from irl.types import InputError

_CHUNK = 1 << 16


def numbered_rows(path: FilePath) -> Iterator[tuple[int, Row]]:
    """Rows with their numbers; InputError with file and row where the container is broken."""
    plain = Path(path).with_suffix("") if is_compressed(path) else Path(path)
    if plain.suffix.lower() == ".parquet":
        return parquet_rows(path)
    return _array_or_lines(path) if plain.suffix.lower() == ".json" else read_json_lines(path)


def _array_or_lines(path: FilePath) -> Iterator[tuple[int, Row]]:
    number = 0
    try:
        with reading(path, lambda: f"row {number + 1}") as data:
            stream = io.TextIOWrapper(data, encoding="utf-8-sig")
            start = _ahead(stream, "")
            if start[:1] == "[":
                for number, row in _array(stream, start[1:], path):
                    yield number, row
                return
    except UnicodeDecodeError:
        raise InputError(f"{path}, after row {number}: not UTF-8 text; save it as UTF-8") from None
    yield from read_json_lines(path)


def _array(stream: io.TextIOWrapper, buffer: str, path: FilePath) -> Iterator[tuple[int, Row]]:
    """Entries of an array whose opening bracket has been read."""
    number, buffer = 0, _ahead(stream, buffer)
    while buffer[:1] != "]":
        number += 1
        row, buffer = _entry(stream, buffer, f"{path}, row {number}")
        yield number, row
        buffer = _ahead(stream, buffer)
        if buffer[:1] not in (",", "]"):
            raise InputError(f"{path}, after row {number}: expected ',' or ']', got {buffer[:10]!r}")
        buffer = _ahead(stream, buffer[1:]) if buffer[:1] == "," else buffer
    if number == 0:
        raise InputError(f"{path}: an empty array; expected rows")


def _ahead(stream: io.TextIOWrapper, buffer: str) -> str:
    """The text that follows, spaces left out; empty only at the end of the file."""
    buffer = buffer.lstrip()
    while not buffer and (more := stream.read(_CHUNK)):
        buffer = more.lstrip()
    return buffer


def _entry(stream: io.TextIOWrapper, buffer: str, where: str) -> tuple[Row, str]:
    """The object that stands next, and what follows it; twice as much is read until it is whole."""
    while True:
        try:
            row, end = json.JSONDecoder().raw_decode(buffer)
            break
        except json.JSONDecodeError as error:
            more = stream.read(max(_CHUNK, len(buffer)))
            if not more:
                raise InputError(f"{where}: malformed JSON ({error.msg}) or the file was cut off") from None
            buffer += more
        except (ValueError, RecursionError) as error:
            raise InputError(f"{where}: JSON too large to read ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object {{...}}, got {kind(row)}")
    return row, buffer[end:]
