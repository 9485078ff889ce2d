"""Lines come back as they were written, whatever the compression, and every broken file says where and why."""

import bz2
import errno
import gzip
import importlib.util
import io
import lzma
import os
import sys
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from irl.data import json_lines
from irl.data.json_lines import is_compressed, read_json_lines, reading, write_json_lines
from irl.types import InputError

NEEDS_ZSTANDARD = pytest.mark.skipif(not importlib.util.find_spec("zstandard"), reason="zstandard is not installed")
ENDINGS = ["", ".gz", ".xz", ".bz2", pytest.param(".zst", marks=NEEDS_ZSTANDARD)]

values = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
rows = st.lists(st.dictionaries(st.text(), values, max_size=3), min_size=1, max_size=4)

fast = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def message_of(path) -> str:
    """What reading the file to its end complains of, with the folder taken out."""
    with pytest.raises(InputError) as caught:
        list(read_json_lines(path))
    return str(caught.value).replace(f"{path.parent}{os.sep}", "")


@pytest.mark.parametrize("ending", ENDINGS)
class TestRoundTrip:
    @fast
    @given(rows=rows)
    def test_rows(self, rows, ending, tmp_path):
        path = tmp_path / f"data.jsonl{ending}"
        assert write_json_lines(path, rows) == len(rows)
        assert list(read_json_lines(path)) == list(enumerate(rows, start=1))
        assert is_compressed(path) == bool(ending)

    def test_same_rows_give_the_same_bytes(self, ending, tmp_path):
        paths = [tmp_path / f"{name}.jsonl{ending}" for name in ("one", "two")]
        for path in paths:
            write_json_lines(path, [{"a": 1}] * 100)
        assert paths[0].read_bytes() == paths[1].read_bytes()

    def test_truncated_file_names_the_line(self, ending, tmp_path):
        path = tmp_path / f"data.jsonl{ending}"
        write_json_lines(path, ({"text": os.urandom(500).hex()} for _ in range(200)))
        path.write_bytes(path.read_bytes()[:-9])
        message = message_of(path)
        reason = "compressed data broken or cut off" if ending else "malformed JSON"
        assert message.startswith(f"data.jsonl{ending}, line ") and reason in message

    def test_not_compressed_at_all(self, ending, tmp_path):
        path = tmp_path / f"data.jsonl{ending}"
        path.write_bytes(b"certainly not compressed" * 9)
        assert message_of(path).startswith(f"data.jsonl{ending}, line 1")

    def test_no_rows_read_as_empty(self, ending, tmp_path):
        path = tmp_path / f"data.jsonl{ending}"
        assert write_json_lines(path, []) == 0
        assert message_of(path) == f"data.jsonl{ending}: empty; expected one JSON object per line"


@pytest.mark.parametrize("ending, opener", [(".gz", gzip.open), (".XZ", lzma.open), (".bz2", bz2.open)])
def test_reads_what_other_programs_compress(ending, opener, tmp_path):
    path = tmp_path / f"data.jsonl{ending}"
    for text in ('{"a": 1}\n', '{"a": 2}\n'):  # two members in one file
        with opener(path, "at", encoding="utf-8") as file:
            file.write(text)
    assert list(read_json_lines(path)) == [(1, {"a": 1}), (2, {"a": 2})]


def zstd(data):
    return importlib.import_module("zstandard").ZstdCompressor(write_checksum=True).compress(data)


@NEEDS_ZSTANDARD
@fast
@given(parts=st.lists(st.binary(max_size=40), max_size=4), cut=st.integers(1, 60))
def test_zstandard_frames_are_read_to_the_end_or_missed(parts, cut, tmp_path):
    """A file of frames is what is in them; cut inside a frame it is an error, cut between two it is what is left."""
    path, frames = tmp_path / "data.zst", [zstd(part) for part in parts]

    def read(data):
        path.write_bytes(data)
        with reading(path, lambda: "here") as stream:
            return stream.read()

    whole = b"".join(frames)
    assert read(whole) == b"".join(parts)
    left = max(len(whole) - cut, 0)
    ends = [sum(map(len, frames[:count])) for count in range(len(frames) + 1)]
    if left in ends:
        assert read(whole[:left]) == b"".join(parts[: ends.index(left)])
    else:
        with pytest.raises(InputError, match=r"data.zst, here: compressed data broken or cut off"):
            read(whole[:left])


@NEEDS_ZSTANDARD
def test_what_is_no_zstandard_behind_a_frame(tmp_path):
    path = tmp_path / "data.zst"
    path.write_bytes(zstd(b"{}\n") + b"certainly not compressed")
    assert message_of(path).startswith("data.zst, line 2: compressed data broken or cut off")


@pytest.mark.parametrize("ending", [".gz", pytest.param(".zst", marks=NEEDS_ZSTANDARD)])
def test_memory_does_not_grow_with_the_file(ending, tmp_path):
    """10 MB of lines, 5 MB of file."""
    path = tmp_path / f"data.jsonl{ending}"
    write_json_lines(path, ({"a": os.urandom(2_500).hex()} for _ in range(2_000)))
    tracemalloc.start()
    count = sum(1 for _ in read_json_lines(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 2_000
    assert peak < 1_000_000


@pytest.mark.parametrize("use", [lambda path: list(read_json_lines(path)), lambda path: write_json_lines(path, [])])
def test_zstandard_missing(use, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    path = tmp_path / "data.zst"
    path.write_bytes(b"kept")
    with pytest.raises(InputError, match="pip install zstandard"):
        use(path)
    assert path.read_bytes() == b"kept" and os.listdir(tmp_path) == ["data.zst"]


def test_blank_lines_marks_and_line_separators(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y"}\r\n \n\n{"a": 2}'.encode())
    assert list(read_json_lines(path)) == [(1, {"a": "x\u2028y"}), (4, {"a": 2})]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "data.jsonl: empty; expected one JSON object per line"),
        (b"\n  \n", "data.jsonl: empty; expected one JSON object per line"),
        (
            b'{"a": 1}\n{"a" 1}\n',
            "data.jsonl, line 2, column 6: malformed JSON (Expecting ':' delimiter)",
        ),
        (b"[1, 2]", "data.jsonl, line 1: expected an object {...}, got list; write one object per row"),
        (b"null", "data.jsonl, line 1: expected an object {...}, got null; write one object per row"),
        (b'{"a": 1}\n{"a": "\xff"}', "data.jsonl, line 2, byte 8: not UTF-8 text; save it as UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "data.jsonl, line 1: JSON that cannot be read (Exceeds the limit"),
        (b'{"a": 1, "a": 2}', "data.jsonl, line 1: the key 'a' occurs twice in one object; keep one of the two"),
        (b'{"a": [{"b": NaN}]}', "data.jsonl, line 1: NaN is not a JSON number"),
        (b'{"a": -1e400}', "data.jsonl, line 1: the number '-1e400' is out of range"),
        (b"[" * 100_000, "data.jsonl, line 1: JSON that cannot be read (maximum recursion depth"),
    ],
)
def test_broken_lines(content, message, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_bytes(content)
    assert message_of(path).startswith(message)


def test_missing_file(tmp_path):
    message = message_of(tmp_path / "no.jsonl")
    assert message == "no.jsonl: no such file; check the path and its ending"


def test_folder_instead_of_file(tmp_path):
    (tmp_path / "folder").mkdir()
    message = message_of(tmp_path / "folder")
    assert message.startswith("folder: cannot be read (Is a directory)")


@pytest.mark.parametrize(
    "row, reason",
    [
        ({"a": float("inf")}, "not JSON compliant"),
        ({"a": {1}}, "not JSON serializable"),
        ({"a": "\ud800"}, "surrogate"),
    ],
)
def test_rows_that_are_not_json(row, reason, tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("kept")
    with pytest.raises(InputError, match=f"row 2: cannot be written as JSON .*{reason}.*; nothing was overwritten"):
        write_json_lines(path, [{}, row])
    assert path.read_text() == "kept" and os.listdir(tmp_path) == ["data.jsonl"]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_full_disk(code, ending, tmp_path, monkeypatch):
    class FullDisk(io.FileIO):
        def write(self, data):
            raise OSError(code, os.strerror(code))

    path = tmp_path / f"data.jsonl{ending}"
    path.write_text("kept")
    buffered = lambda path, mode: io.BufferedWriter(FullDisk(path, mode.replace("b", "")))  # noqa: E731
    monkeypatch.setattr(json_lines, "open", buffered, raising=False)
    with pytest.raises(InputError) as caught:
        write_json_lines(path, ({"text": os.urandom(500).hex()} for _ in range(100)))
    assert str(caught.value) == f"{path}: disk full; free some space and run again, nothing was overwritten"
    assert path.read_text() == "kept" and os.listdir(tmp_path) == [path.name]


def test_a_crash_keeps_the_old_file(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text("kept")

    def rows():
        yield {"a": 1}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_json_lines(path, rows())
    assert path.read_text() == "kept" and os.listdir(tmp_path) == ["data.jsonl"]


@pytest.mark.parametrize("name", ["no folder/data.jsonl", "file/data.jsonl", "folder"])
def test_places_that_cannot_be_written(name, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=f"{name}: not writable .*check the folder"):
        write_json_lines(tmp_path / name, [{}])
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_file_may_be_rewritten_from_itself(tmp_path):
    path = tmp_path / "data.jsonl"
    write_json_lines(path, [{"a": 1}, {"a": 2}])
    write_json_lines(path, ({"a": row["a"] + 1} for _, row in read_json_lines(path)))
    assert [row for _, row in read_json_lines(path)] == [{"a": 2}, {"a": 3}]


def test_links_stay_links_and_permissions_are_those_of_a_new_file(tmp_path):
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "data.jsonl")
    write_json_lines(tmp_path / "link.jsonl", [{"a": 1}])
    (tmp_path / "plain").touch()
    assert (tmp_path / "link.jsonl").is_symlink()
    assert (tmp_path / "data.jsonl").stat().st_mode == (tmp_path / "plain").stat().st_mode
