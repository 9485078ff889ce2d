"""Rows that were damaged in any way are records or are listed; nothing but an InputError comes out of a reader."""

import copy
import datetime
import decimal
import json
import random

import pytest

from irl.data import read_records
from irl.data.detect import FORMATS
from irl.data.formats import read_candidates, read_traces
from irl.types import InputError
from tests.irl.data.test_detect import ROWS

TRACE = {"id": "t", "prompt": "p", "steps": ["a", {"text": "b", "label": True}], "source": "s"}
VALUES = [
    *(None, True, False, 0, 1, -1, 2, 10**400, -(10**400), 2**63, 10**4000, 0.5, 1e308, "", " ", "a", "\0", "\ud800"),
    *([], {}, [None], [[]], [1], ["a", None], [{}], {"text": "a"}, {"role": "user", "content": "x"}, "9" * 5_000),
    *(
        {"a": {"a": []}},
        [0.0],
        ["\ud800"],
        {"\ud800": 1},
        "\u2028",
        "####",
        "\n\nHuman:",
        "\n\nHuman: a\n\nAssistant: b",
    ),
]
NO_JSON = [
    b"x",
    datetime.datetime(2024, 1, 1),
    datetime.date(2024, 1, 1),
    decimal.Decimal("1e999"),
    float("nan"),
    [b""],
]


def places(value, path=()):
    """Paths of everything inside a row."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def mutated(row, rng, values):
    row = copy.deepcopy(row)
    for _ in range(rng.randint(1, 3)):
        path = rng.choice([path for path in places(row) if path] or [("prompt",)])
        inner = row
        for key in path[:-1]:
            inner = inner[key]
        if rng.random() < 0.2 and row:
            del inner[path[-1]]
        else:
            inner[path[-1]] = copy.deepcopy(rng.choice(values))
    return row


@pytest.mark.parametrize("name", FORMATS)
def test_rows_with_wrong_values(name):
    form, rng = FORMATS[name], random.Random(name)
    like = {"nemo_binary": "preference", "rlhflow": "preference", "prm800k_neutral_wrong": "prm800k"}.get(name, name)
    refused = 0
    for _ in range(300):
        row = mutated(ROWS[like], rng, VALUES + NO_JSON)
        try:
            form.read(row, "row-1")
        except InputError as error:
            refused += 1
            assert str(error) and len(str(error)) < 500
    assert refused > 50


def changed(text, rng):
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.randint(0, 3)):
        place = rng.randrange(len(data) + 1)
        piece = rng.choice(
            [b"", b"{", b"}", b"[", b"]", b'"', b",", b":", b"\n", b"\0", b"\xff", b"\xed\xa0\x80", b"NaN"]
        )
        data[place : place + rng.randint(0, 3)] = piece
    return bytes(data)


@pytest.mark.parametrize("ending", [".jsonl", ".json"])
def test_damaged_files(ending, tmp_path):
    rng = random.Random(7)
    path = tmp_path / f"rows{ending}"
    outcomes = {True: 0, False: 0}
    for _ in range(200):
        row = rng.choice([*ROWS.values(), TRACE])
        rows = [mutated(row, rng, VALUES) if rng.random() < 0.3 else row for _ in range(rng.randint(1, 20))]
        text = json.dumps(rows, ensure_ascii=rng.random() < 0.5) if ending == ".json" else ""
        path.write_bytes(changed(text or "\n".join(map(json.dumps, rows)), rng))
        for read in (read_records, read_candidates, read_traces):
            try:
                reading = read(path)
                for _ in reading:
                    pass
                if read is read_records:
                    str(reading.report).encode()
                outcomes[True] += 1
            except InputError as error:
                assert str(path) in str(error)
                outcomes[False] += 1
    assert min(outcomes.values()) > 40


def test_parquet_values_that_are_no_json(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "rows.parquet"
    good = {"prompt": "p", "chosen": "a", "rejected": "b"}
    for value in [*NO_JSON[:4], datetime.timedelta(1), datetime.time(1), [{"a": b"x"}], {"a": 1}]:
        value = decimal.Decimal("1.5") if isinstance(value, decimal.Decimal) else value
        rows = [good | {"margin": value, "id": value}, good | {"margin": None, "id": None}]
        pq.write_table(pa.Table.from_pylist(rows), path)
        reading = read_records(path)
        assert len(list(reading)) == 1 and reading.report.unfit == 1
