"""Files of JSON lines: one UTF-8 JSON object per line, compressed or not.

The file's ending chooses the compression: .gz, .xz, .bz2, .zst (needs `zstandard`), anything else is plain. Reading
holds one line and a piece of the file, never all of it; a file that was cut off is an error and not a shorter file.
Errors are `InputError`s with file and line. A file is replaced only by a complete one.
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
from irl.types import InputError

FilePath = str | os.PathLike[str]
Row = dict[str, Any]
Codec = Callable[[BinaryIO], Any]

_ZSTD_INPUT = 1 << 10
"""Bytes that are decompressed at a time: 4 of them can stand for 128 KiB, so that 32 MiB are the most they become."""


def read_json_lines(path: FilePath) -> Iterator[tuple[int, Row]]:
    """The objects of a file with their line numbers, from 1. Blank lines count but are passed over."""
    number, found = 0, False
    with reading(path, lambda: f"line {number + 1}") as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                found = True
                yield number, _parsed(line, f"{path}, line {number}")
    if not found:
        raise InputError(f"{path}: empty; expected one JSON object per line")


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
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
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
        row = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        advice = "save it as UTF-8; the name of a compressed file must end in .gz, .xz, .bz2 or .zst"
        raise InputError(f"{where}, byte {error.start + 1}: not UTF-8 text; {advice}") from None
    except json.JSONDecodeError as error:
        where = f"{where}, column {error.colno}"
        raise InputError(f"{where}: malformed JSON ({error.msg}); write one object per line") from None
    except (ValueError, RecursionError) as error:  # numbers of thousands of digits, thousands of brackets
        raise InputError(f"{where}: JSON too large to read ({error})") from None
    if not isinstance(row, dict):
        raise InputError(f"{where}: expected an object {{...}}, got {kind(row)}; write one object per line")
    return row


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


class _ZstdFrames(io.RawIOBase):
    """The bytes of a file of frames; zstandard's own stream_reader takes a file that was cut off for a whole one."""

    def __init__(self, raw: BinaryIO):
        self._zstandard, self._raw = _zstandard(), raw
        self._frame: Any = None
        self._waiting = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._waiting or self._raw.read(_ZSTD_INPUT)
            if not data:
                if self._frame is not None:
                    raise EOFError("the file ends inside a frame")
                return 0
            self._decompress(data)
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _decompress(self, data: bytes) -> None:
        frame = self._frame or self._zstandard.ZstdDecompressor().decompressobj()
        try:
            self._ready = memoryview(frame.decompress(data))
        except self._zstandard.ZstdError as error:
            raise EOFError(str(error)) from error
        self._frame, self._waiting = (None, frame.unused_data) if frame.eof else (frame, b"")


_READERS: dict[str, Codec] = {
    ".gz": lambda raw: gzip.GzipFile(fileobj=raw, mode="rb"),
    ".xz": lambda raw: lzma.LZMAFile(raw, "rb"),
    ".bz2": lambda raw: bz2.BZ2File(raw, "rb"),
    ".zst": lambda raw: io.BufferedReader(_ZstdFrames(raw), 1 << 16),
}
_WRITERS: dict[str, Codec] = {
    ".gz": lambda raw: gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0),
    ".xz": lambda raw: lzma.LZMAFile(raw, "wb"),
    ".bz2": lambda raw: bz2.BZ2File(raw, "wb"),
    ".zst": lambda raw: _zstandard().ZstdCompressor(write_checksum=True).stream_writer(raw, closefd=False),
}
