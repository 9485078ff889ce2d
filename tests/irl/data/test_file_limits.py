"""Small files that unpack to large ones are refused in bounded memory and time."""

import bz2
import gzip
import importlib.util
import json
import lzma
import subprocess
import sys
import textwrap
import tracemalloc

import pytest

from irl.data import parquet
from irl.data.containers import numbered_rows
from irl.data.json_lines import read_json_lines
from irl.types import InputError

MEGABYTE = 1 << 20
OPENERS = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}
if importlib.util.find_spec("zstandard"):
    OPENERS[".zst"] = importlib.import_module("zstandard").open
PIECES = {
    "one line": b"x" * MEGABYTE,
    "one text": b'{"a": "' + b"x" * MEGABYTE,
    "newlines": b"\n" * MEGABYTE,
    "spaces": b" " * MEGABYTE,
    "carriage returns": b"\r" * MEGABYTE,
    "blank lines": (b" " * 99 + b"\n") * 10_000,
    "nothing": b"\0" * MEGABYTE,
}
READ = """
    import resource, sys
    from irl.data.containers import numbered_rows
    from irl.types import InputError
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (400 << 20),) * 2)
    for path in sys.argv[1:]:
        try:
            print(sum(1 for _ in numbered_rows(path)))
        except InputError as error:
            print(error)
"""


def test_small_files_that_unpack_to_large_ones(tmp_path):
    """A hundred megabytes each, read by a process that may take 400 megabytes more than it starts with."""
    paths = []
    for index, piece in enumerate(PIECES.values()):
        ending = list(OPENERS)[index % 2 * -1]  # .gz and .zst by turns
        for name in ("rows.jsonl", "rows.json"):
            paths.append(tmp_path / f"{index}-{name}{ending}")
            with OPENERS[ending](paths[-1], "wb") as file:
                file.write(b"[" if name == "rows.json" else b"")
                for _ in range(100):
                    file.write(piece)
    command = [sys.executable, "-c", textwrap.dedent(READ), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.returncode, done.stderr[-500:])
    for path, message in zip(paths, done.stdout.splitlines(), strict=True):
        assert message.startswith(f"{path}, ") and "TRACEWARD_" in message


@pytest.mark.parametrize("ending", OPENERS)
def test_blank_space_between_rows(ending, tmp_path):
    path = tmp_path / f"rows.jsonl{ending}"
    with OPENERS[ending](path, "wb") as file:
        for _ in range(4):
            file.write(b'{"prompt": "p", "completion": "c"}\n' + (b" " * 127 + b"\n") * (MEGABYTE >> 7))
    with pytest.raises(InputError, match=r"more white space than rows; .*TRACEWARD_BLANK_MEGABYTES"):
        list(read_json_lines(path))


def test_an_array_with_space_behind_it(tmp_path):
    path = tmp_path / "rows.json.gz"
    with gzip.open(path, "wb") as file:
        file.write(b'[{"a": 1}]')
        for _ in range(4):
            file.write(b" " * MEGABYTE)
    with pytest.raises(InputError, match=r"TRACEWARD_BLANK_MEGABYTES"):
        list(numbered_rows(path))


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_the_limit_of_a_row_can_be_changed(name, tmp_path, monkeypatch):
    rows = [{"a": "x" * 600_000}, {"a": "y" * 1_100_000}]
    path = tmp_path / name
    path.write_text(json.dumps(rows) if name == "rows.json" else "\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert [row for _, row in numbered_rows(path)] == rows
    monkeypatch.setenv("TRACEWARD_ROW_MEGABYTES", "1")
    place = "row 2" if name == "rows.json" else "line 2"
    with pytest.raises(InputError, match=f"{place}: one row has more than 1 megabytes; .*TRACEWARD_ROW_MEGABYTES"):
        list(numbered_rows(path))


def test_xz_that_asks_for_much_memory(tmp_path):
    path = tmp_path / "rows.jsonl.xz"
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 400 * MEGABYTE, "preset": 0}]
    path.write_bytes(lzma.compress(b'{"a": 1}\n', filters=filters))
    with pytest.raises(InputError, match=r"line 1: decompressing needs too much memory .*compress it again"):
        list(read_json_lines(path))


def test_xz_of_streams_with_padding(tmp_path):
    path = tmp_path / "rows.jsonl.xz"
    path.write_bytes(lzma.compress(b'{"a": 1}\n') + b"\0" * 8_000 + lzma.compress(b'{"a": 2}\n') + b"\0" * 4)
    assert [row for _, row in read_json_lines(path)] == [{"a": 1}, {"a": 2}]
    path.write_bytes(path.read_bytes() + b"junk")
    with pytest.raises(InputError, match="line 3: compressed data broken or cut off"):
        list(read_json_lines(path))


def test_endless_files():
    with pytest.raises(InputError, match=r"/dev/zero, line 1: one row has more than 64 megabytes"):
        list(read_json_lines("/dev/zero"))


class TestParquet:
    def write(self, path, column, **options):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        pq.write_table(pa.table({"prompt": column, "completion": column}), path, compression="zstd", **options)
        return path

    def test_a_dictionary_that_many_rows_refer_to(self, tmp_path):
        """300 rows of one text of a megabyte in two columns."""
        pa = pytest.importorskip("pyarrow")
        indices = pa.array([0] * 300, pa.int32())
        column = pa.DictionaryArray.from_arrays(indices, pa.array(["x" * MEGABYTE]))
        path = self.write(tmp_path / "rows.parquet", column, use_dictionary=True, store_schema=False)
        assert path.stat().st_size < 10_000
        tracemalloc.start()
        assert sum(len(row["prompt"]) for _, row in numbered_rows(path)) == 300 * MEGABYTE
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 100 * MEGABYTE

    def test_a_row_that_is_too_large(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TRACEWARD_ROW_MEGABYTES", "1")
        for dictionary in (False, True):
            path = self.write(tmp_path / "rows.parquet", ["a", "x" * 3 * MEGABYTE], use_dictionary=dictionary)
            with pytest.raises(InputError, match=r"one row has more than 1 megabytes; .*TRACEWARD_ROW_MEGABYTES"):
                list(numbered_rows(path))

    def test_a_column_that_unpacks_to_much(self, tmp_path, monkeypatch):
        monkeypatch.setattr(parquet, "MOST_UNPACKED", 2 * MEGABYTE)
        path = self.write(tmp_path / "rows.parquet", ["x" * MEGABYTE] * 5, use_dictionary=False)
        with pytest.raises(
            InputError, match=r"column 'prompt', row group 0: unpacks to 5 megabytes, .* times its size"
        ):
            list(numbered_rows(path))

    @pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
    def test_encodings_of_texts_without_a_dictionary(self, encoding, tmp_path):
        names = dict.fromkeys(("prompt", "completion"), encoding)
        path = self.write(tmp_path / "rows.parquet", ["a", "ab"], use_dictionary=False, column_encoding=names)
        expected = (
            f"column 'prompt', row group 0: expected dictionary or plain encoding of texts, got {encoding}; write"
        )
        with pytest.raises(InputError, match=expected):
            list(numbered_rows(path))

    @pytest.mark.parametrize("nested", ["list", "map", "struct"])
    def test_a_dictionary_that_many_nested_values_refer_to(self, nested, tmp_path, monkeypatch):
        """30 rows of 10 values, all one text of a megabyte; the next row has 100 and is over the limit."""
        pa = pytest.importorskip("pyarrow")
        texts = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * MEGABYTE]))
        offsets = pa.array([*range(0, 301, 10), 400], pa.int32())
        column = {
            "list": lambda: pa.ListArray.from_arrays(offsets, texts),
            "map": lambda: pa.MapArray.from_arrays(offsets, texts, texts),
            "struct": lambda: pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays([texts], ["content"])),
        }[nested]()
        path = self.write(tmp_path / "rows.parquet", column, use_dictionary=True, store_schema=False)
        assert path.stat().st_size < 20_000
        monkeypatch.setenv("TRACEWARD_ROW_MEGABYTES", "50")
        held, rows = pa.total_allocated_bytes(), numbered_rows(path)
        for number in range(1, 31):
            assert next(rows)[0] == number
            assert pa.total_allocated_bytes() - held < 50 * MEGABYTE
        with pytest.raises(InputError, match=r"one row has more than 50 megabytes"):
            next(rows)

    def test_a_list_of_many_equal_values(self, tmp_path, monkeypatch):
        """400,000 values that are not there, in a few bytes."""
        monkeypatch.setattr(parquet, "MOST_UNPACKED", 2 * MEGABYTE)
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        zeros = pa.nulls(400_000, pa.int8())
        path = tmp_path / "rows.parquet"
        pq.write_table(pa.table({"ids": pa.ListArray.from_arrays(pa.array([0, len(zeros)], pa.int32()), zeros)}), path)
        with pytest.raises(InputError, match=r"column 'ids\.list\.element', row group 0: unpacks to 3 megabytes"):
            list(numbered_rows(path))

    def test_nested_values_are_those_of_pyarrow(self, tmp_path, monkeypatch):
        """Read together and, where a batch is large, one by one."""
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        columns = {
            "texts": pa.array([["x", "y"], [], None]),
            "map": pa.array([[("a", "1"), ("b", "2")], [("c", "3")], None], pa.map_(pa.string(), pa.string())),
            "pair": pa.array([[1, 2], [3, 4], None], pa.list_(pa.int64(), 2)),
            "turns": pa.array([{"turns": [{"role": "user"}]}, None, {"turns": None}]),
            "view": pa.array([["x"], [], None], pa.list_view(pa.string())),
        }
        pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
        wanted = pq.read_table(tmp_path / "rows.parquet").to_pylist()
        assert [row for _, row in numbered_rows(tmp_path / "rows.parquet")] == wanted
        monkeypatch.setattr(parquet, "row_limit", lambda: 600)
        assert [row for _, row in numbered_rows(tmp_path / "rows.parquet")] == wanted

    def test_two_columns_of_one_name(self, tmp_path):
        pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["prompt", "prompt"])
        pq.write_table(table, tmp_path / "rows.parquet")
        with pytest.raises(InputError, match="the column 'prompt' occurs twice"):
            list(numbered_rows(tmp_path / "rows.parquet"))
