"""Files of JSON lines: one UTF-8 JSON object per line, compressed or not.

The file's ending chooses the compression: .gz, .xz, .bz2, .zst (needs `zstandard`), anything else is plain. Reading
holds one line and a piece of the file, never all of it; a file that was cut off is an error and not a shorter file.
A line and the blank lines between rows have a limit (irl/limits.py), so that a small compressed file cannot take all
memory. Errors are `InputError`s with file and line. A file is replaced only by a complete one.
"""

import bz2
import errno
import gzip
import io
import json
import lzma
import os
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, BinaryIO

from irl.leftovers import removed_at_exit
from irl.limits import MEGABYTE, limit
from irl.types import InputError
from reward_models.records import parse_json

FilePath = str | os.PathLike[str]
Row = dict[str, Any]
Codec = Callable[[BinaryIO], Any]

_FRAME_INPUT = 1 << 10
"""Bytes that are decompressed at a time: 4 of them can stand for 128 KiB, so that 32 MiB are the most they become."""
_XZ_MEMORY = 256 * MEGABYTE
"""Bytes that an .xz file may ask of its decompressor; `xz -9` asks for 65 megabytes."""


def read_json_lines(path: FilePath) -> Iterator[tuple[int, Row]]:
    """The objects of a file with their line numbers, from 1. Blank lines count but are passed over."""
    number, any_row = 0, False
    largest, blank = row_limit(), BlankSpace()
    with reading(path, lambda: f"line {number + 1}") as stream:
        while line := stream.readline(largest + 1):
            number += 1
            if len(line) > largest:
                check_row(len(line), largest, f"{path}, line {number}")
            if line.isspace():
                blank.add(-len(line), path, number)
            else:
                any_row = True
                blank.add(len(line), path, number)
                yield number, _parsed(line, f"{path}, line {number}")
    if not any_row:
        raise InputError(f"{path}: empty; expected one JSON object per line")


def row_limit() -> int:
    """Bytes of the largest row that is read."""
    return limit("TRACEWARD_ROW_MEGABYTES") * MEGABYTE


def check_row(size: int, largest: int, where: str) -> None:
    """Raises InputError for a row of more than `largest` bytes."""
    if size > largest:
        reason = f"one row has more than {largest // MEGABYTE} megabytes"
        raise InputError(f"{where}: {reason}; split the row, or raise the limit TRACEWARD_ROW_MEGABYTES")


class BlankSpace:
    """The white space between the rows of a file: at most as many bytes as the rows have, and the limit."""

    def __init__(self) -> None:
        self._left = limit("TRACEWARD_BLANK_MEGABYTES") * MEGABYTE

    def add(self, size: int, path: FilePath, number: int) -> None:
        """Count the bytes of a row, or the bytes of white space as a negative size. Raises InputError for too many."""
        self._left += size
        if self._left < 0:
            advice = "remove the blank lines and spaces, or raise the limit TRACEWARD_BLANK_MEGABYTES"
            raise InputError(f"{path}, row or line {number}: more white space than rows; {advice}")


def write_json_lines(path: FilePath, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write a line per row and return their number. A file already there stays unless all goes well."""
    count = 0
    with _replacing(path) as raw, _codec(_WRITERS, path)(raw) as stream:
        for count, row in enumerate(rows, start=1):
            stream.write(_line(row, f"{path}, row {count}"))
    return count


def json_line(row: Mapping[str, Any]) -> bytes:
    """A row as a line; ValueError or TypeError for what JSON cannot say."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def is_compressed(path: FilePath) -> bool:
    """Whether the ending of a file names a compression."""
    return Path(path).suffix.lower() in _READERS


@contextmanager
def reading(path: FilePath, place: Callable[[], str]) -> Iterator[BinaryIO]:
    """The bytes of a file, decompressed; errors of disk and compression are InputErrors that name the `place`."""
    try:
        with open(path, "rb") as raw, _codec(_READERS, path)(raw) as stream:
            yield stream
    except (OSError, EOFError, lzma.LZMAError, zlib.error, MemoryError) as error:
        raise InputError(f"{path}{_why_unreadable(error, place())}") from error


def why_unwritable(error: OSError) -> str:
    """What a person is to do about it, as the start of a sentence."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "disk full; free some space" if full else f"not writable ({error.strerror}); check the folder"


def kind(value: Any) -> str:
    """null, or the name of the type of a value."""
    return "null" if value is None else type(value).__name__


def _parsed(line: bytes, where: str) -> Row:
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        advice = "save it as UTF-8; the name of a compressed file must end in .gz, .xz, .bz2 or .zst"
        raise InputError(f"{where}, byte {error.start + 1}: not UTF-8 text; {advice}") from None
    return as_row(parse_json(text, where), where)


def as_row(value: Any, where: str) -> Row:
    """A JSON object; InputError for any other value."""
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object {{...}}, got {kind(value)}; write one object per row")
    return value


def _line(row: Mapping[str, Any], where: str) -> bytes:
    try:
        return json_line(row)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: cannot be written as JSON ({error}); nothing was overwritten") from error


def _why_unreadable(error: Exception, place: str) -> str:
    if isinstance(error, FileNotFoundError):
        return ": no such file; check the path and its ending"
    if isinstance(error, OSError) and error.errno is not None:  # otherwise a decompressor speaks
        return f": cannot be read ({error.strerror}); check the path and its permissions"
    if isinstance(error, MemoryError) or "memory" in str(error).lower():
        return f", {place}: decompressing needs too much memory ({error}); compress it again by `xz -9` or `zstd -19`"
    return f", {place}: compressed data broken or cut off ({error}); copy or download the file again"


@contextmanager
def _replacing(path: FilePath) -> Iterator[BinaryIO]:
    """A new file beside `path` that takes its place when the block ends well and vanishes otherwise."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with removed_at_exit(temporary):
            with open(temporary, "xb") as raw:
                yield raw
                raw.flush()
                os.fsync(raw.fileno())
            os.replace(temporary, target)
    except OSError as error:
        raise InputError(f"{path}: {why_unwritable(error)} and run again, nothing was overwritten") from error


def _codec(codecs: Mapping[str, Codec], path: FilePath) -> Codec:
    return codecs.get(Path(path).suffix.lower(), nullcontext)


def _zstandard() -> Any:
    try:
        import zstandard
    except ImportError:
        raise InputError(".zst files need `pip install zstandard`; or compress the file as .xz") from None
    return zstandard


class _Frames(io.RawIOBase):
    """The bytes of a file of compressed frames.

    Differs from the readers of `zstandard` and `lzma`: a file that was cut off is an error, and so is anything else
    behind a frame; the memory of xz is limited.
    """

    def __init__(self, raw: BinaryIO, begin: Callable[[], Any], broken: type[Exception], padding: bytes = b""):
        self._raw, self._begin, self._broken, self._padding = raw, begin, broken, padding
        self._frame: Any = None
        self._waiting = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._waiting or self._raw.read(_FRAME_INPUT)
            if not data:
                if self._frame is not None:
                    raise EOFError("the file ends inside a frame")
                return 0
            self._waiting = b""
            if self._frame is not None or (data := data.lstrip(self._padding)):
                self._decompress(data)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _decompress(self, data: bytes) -> None:
        frame = self._frame or self._begin()
        try:
            self._ready = memoryview(frame.decompress(data))
        except self._broken as error:
            raise EOFError(str(error)) from error
        self._frame, self._waiting = (None, frame.unused_data) if frame.eof else (frame, b"")


def _buffered(frames: _Frames) -> io.BufferedReader:
    return io.BufferedReader(frames, 1 << 16)


def _read_zstd(raw: BinaryIO) -> io.BufferedReader:
    library = _zstandard()
    return _buffered(_Frames(raw, lambda: library.ZstdDecompressor().decompressobj(), library.ZstdError))


def _read_xz(raw: BinaryIO) -> io.BufferedReader:
    return _buffered(_Frames(raw, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY), lzma.LZMAError, b"\0"))


_READERS: dict[str, Codec] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    ".xz": _read_xz,
    ".bz2": lambda raw: bz2.BZ2File(raw, "rb"),
    ".zst": _read_zstd,
}
_WRITERS: dict[str, Codec] = {
    ".gz": lambda raw: gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0),
    ".xz": lambda raw: lzma.LZMAFile(raw, "wb"),
    ".bz2": lambda raw: bz2.BZ2File(raw, "wb"),
    ".zst": lambda raw: _zstandard().ZstdCompressor(write_checksum=True).stream_writer(raw, closefd=False),
}
