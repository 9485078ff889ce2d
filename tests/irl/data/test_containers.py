"""Rows come out of every container in order and numbered, or with the place where it breaks."""

import bz2
import gzip
import importlib.util
import json
import lzma
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.data import containers
from irl.data.containers import numbered_rows
from irl.types import InputError

NEEDS_PYARROW = pytest.mark.skipif(not importlib.util.find_spec("pyarrow"), reason="pyarrow is not installed")
ROWS = [{"a": 1, "b": ["x", "é]"]}, {"a": None, "b": []}, {"c": {"d": "},{"}}]
PACK = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".bz2": bz2.compress}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3),
    max_leaves=6,
)


def message_of(path):
    with pytest.raises(InputError) as caught:
        list(numbered_rows(path))
    return str(caught.value).replace(f"{path.parent}/", "")


@pytest.mark.parametrize("ending", PACK)
class TestJson:
    @pytest.mark.parametrize("indent", [None, 2])
    def test_array(self, ending, indent, tmp_path):
        path = tmp_path / f"rows.json{ending}"
        path.write_bytes(PACK[ending](json.dumps(ROWS, indent=indent).encode()))
        assert list(numbered_rows(path)) == list(enumerate(ROWS, start=1))

    @pytest.mark.parametrize("name", ["rows.jsonl", "rows.json", "rows.data"])
    def test_lines_under_any_name(self, ending, name, tmp_path):
        path = tmp_path / f"{name}{ending}"
        path.write_bytes(PACK[ending]("\n".join(map(json.dumps, ROWS)).encode()))
        assert list(numbered_rows(path)) == list(enumerate(ROWS, start=1))


@settings(max_examples=40, deadline=None)
@given(
    rows=st.lists(st.dictionaries(st.text(), values, max_size=3), min_size=1, max_size=4),
    chunk=st.integers(1, 9),
    ascii=st.booleans(),
)
def test_array_in_any_chunks(rows, chunk, ascii, tmp_path_factory):
    path = tmp_path_factory.mktemp("chunks") / "rows.json"
    path.write_text(json.dumps(rows, ensure_ascii=ascii), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "_CHUNK", chunk)
        assert [row for _, row in numbered_rows(path)] == rows


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'[{"a": 1}, {"b": 2]', "rows.json, row 2: malformed JSON"),
        (b'[{"a": 1}, {"b": 2}', "rows.json, after row 2: expected ',' or ']', got ''"),
        (b'[{"a": 1} {"b": 2}]', "rows.json, after row 1: expected ',' or ']', got '{\"b\": 2}]'"),
        (b'[{"a": 1}, 7]', "rows.json, row 2: expected an object {...}, got int"),
        (b'[{"a": 1}] {"b": 2}', "rows.json: expected nothing after the array, got '{\"b\": 2}'"),
        (b'[{"a": 1}, {"a": 1, "a": 2}]', "rows.json, row 2: the key 'a' occurs twice in one object"),
        (b'[{"a": Infinity}]', "rows.json, row 1: Infinity is not a JSON number"),
        (b"[" * 200_000, "rows.json, row 1: JSON that cannot be read"),
        (b'[{"a": ' + b"9" * 5_000, "rows.json, row 1: JSON that cannot be read"),
        (b"[]", "rows.json: an empty array; expected rows"),
        (b"", "rows.json: empty"),
        (b'[{"a": "\xff"}]', "rows.json, row 1: not UTF-8 text"),
        (b'{\n  "a": 1\n}', "rows.json, line 1, column 1: malformed JSON"),
    ],
)
def test_broken_json(content, expected, tmp_path):
    path = tmp_path / "rows.json"
    path.write_bytes(content)
    assert message_of(path).startswith(expected)


def test_array_cut_off_inside_its_compression(tmp_path):
    path = tmp_path / "rows.json.xz"
    path.write_bytes(lzma.compress(json.dumps(ROWS * 500).encode())[:-20])
    assert "compressed data broken or cut off" in message_of(path)


def test_no_such_file(tmp_path):
    for name in ("none.json", "none.jsonl"):
        assert message_of(tmp_path / name) == f"{name}: no such file; check the path and its ending"


def test_memory_does_not_grow_with_an_array(tmp_path):
    path = tmp_path / "rows.json.gz"
    path.write_bytes(gzip.compress(b"[" + b",".join([json.dumps({"a": "x" * 10_000}).encode()] * 2_000) + b"]"))
    tracemalloc.start()
    rows = numbered_rows(path)
    assert sum(1 for _ in rows) == 2_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000  # of 20 MB


@NEEDS_PYARROW
class TestParquet:
    def test_rows_across_batches_and_groups(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        turns = [{"role": "user", "content": "p"}]
        rows = [{"n": n, "chosen": turns, "margin": None if n % 2 else 0.5} for n in range(700)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet", row_group_size=300)
        assert list(numbered_rows(tmp_path / "rows.parquet")) == list(enumerate(rows, start=1))

    def test_what_is_no_parquet(self, tmp_path):
        path = tmp_path / "rows.parquet"
        path.write_bytes(b"certainly not Parquet")
        assert message_of(path).startswith("rows.parquet, after row 0: no readable Parquet file")
        assert message_of(tmp_path / "none.parquet").startswith("none.parquet: no such file")

    def test_empty_table(self, tmp_path):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"prompt": pa.array([], pa.string())}), tmp_path / "rows.parquet")
        assert message_of(tmp_path / "rows.parquet") == "rows.parquet: empty; expected rows"


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    expected = "rows.parquet: Parquet files need `pip install 'traceward[parquet]'` (pyarrow)"
    assert message_of(tmp_path / "rows.parquet") == expected
