"""Files of rows in every format and container, and files of demonstrations."""

import bz2
import gzip
import json
import lzma
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import zstandard

from irl.control.trajectories.files import read_trajectories, save_trajectories
from irl.control.trajectories.imitation_format import write_imitation
from irl.control.trajectories.trajectory import Trajectory
from irl.data import FORMATS, read_records
from irl.data.formats import read_candidates, read_traces
from irl.domains.countdown.countdown import Countdown
from irl.rewards.questions import question_of
from tests.fuzz import mutate
from tests.fuzz.cases import Case, Target, named
from tests.fuzz.rows import CANDIDATES, ROWS, TRACES
from tests.fuzz.trees import damage_folder

COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
BOMB_BYTES = 1 << 30


def _records(path: Path, format: str | None) -> None:
    """Read a file as `score` does."""
    reading = read_records(path, format)
    for record in reading:
        question_of(record, f"row-{reading.rows}")
    str(reading.report)


def _candidates(path: Path, format: str | None) -> None:
    for record in read_candidates(path):
        question_of(record, record.id)


def _traces(path: Path, format: str | None) -> None:
    for _ in read_traces(path, Countdown().split_steps):
        pass


# ---------------------------------------------------------------------------------------------------- rows


def _draw_rows(rng: Random, prepared: Any, folder: Path) -> Case:
    """Rows damaged as values, as text or as bytes, in any container, read by name or by their columns."""
    kind = rng.random()
    if kind < 0.1:
        name, rows, read = "candidates", CANDIDATES, _candidates
    elif kind < 0.2:
        name, rows, read = "traces", TRACES, _traces
    else:
        name, rows = named(rng, ROWS)
        read = _records
    format = None if rng.random() < 0.6 else rng.choice((name, rng.choice(list(FORMATS)), "x"))
    rows = [rng.choice(rows) for _ in range(rng.choice((1, 2, 20)))]
    if rng.random() < 0.7:
        names = sorted({key for each in ROWS.values() for key in each[0]})
        rows = [mutate.json_value(rng, row, names) if rng.random() < 0.5 else row for row in rows]
    ending, compress = rng.choice((".jsonl", ".jsonl", ".json")), rng.choice(list(COMPRESS))
    path = folder / f"rows{ending}{compress}"
    path.write_bytes(_contents(rng, rows, ending, compress))
    places = (str(path), f"format {format!r}") if format == "x" else (str(path),)
    return Case(lambda: read(path, format), places, what=f"{name} as {format} in {path.name}")


def _contents(rng: Random, rows: list[Any], ending: str, compress: str) -> bytes:
    if ending == ".json" and rng.random() < 0.7:
        text = mutate.dumps(rows)
    else:
        text = "".join(mutate.dumps(row) + rng.choice(("\n", "\n", "\r\n", "\n\n")) for row in rows)
    if rng.random() < 0.3:
        text = mutate.json_text(rng, text)
    data = text.encode("utf-8", "surrogatepass")
    if rng.random() < 0.15:
        data = mutate.bytes_(rng, data)
    data = COMPRESS[compress](data)
    return mutate.bytes_(rng, data) if rng.random() < 0.15 else data


def _draw_parquet(rng: Random, prepared: Any, folder: Path) -> Case:
    """Rows in a Parquet file, of damaged values or of damaged bytes."""
    name, rows = named(rng, ROWS)
    rows = [rng.choice(rows) for _ in range(rng.choice((1, 3)))]
    damaged = [mutate.json_value(rng, row) for row in rows] if rng.random() < 0.6 else rows
    path = folder / "rows.parquet"
    compression = rng.choice(("none", "snappy", "zstd", "gzip"))
    try:
        table = pyarrow.Table.from_pylist([row for row in damaged if isinstance(row, dict)])
        pyarrow.parquet.write_table(table, path, compression=compression)
    except (pyarrow.ArrowException, OverflowError, TypeError, ValueError):  # no such column can be written
        table = pyarrow.Table.from_pylist([{key: mutate.dumps(each) for key, each in rows[0].items()}])
        pyarrow.parquet.write_table(table, path, compression=compression)
    if rng.random() < 0.5:
        path.write_bytes(mutate.bytes_(rng, path.read_bytes()))
    format = name if rng.random() < 0.3 else None
    return Case(lambda: _records(path, format), (str(path),), what=f"{name} in Parquet")


@cache
def _bomb(compress: str, filling: bytes) -> bytes:
    """A small file that holds `BOMB_BYTES`: frames of one megabyte, repeated."""
    frame = COMPRESS[compress](filling * (1 << 20))
    return frame * (BOMB_BYTES >> 20)


def _draw_bomb(rng: Random, prepared: Any, folder: Path) -> Case:
    """A compressed file of one endless line, or of endless empty ones."""
    compress, filling = rng.choice((".gz", ".xz", ".bz2", ".zst")), rng.choice((b"\n", b" ", b"a", b"[", b'"', b"\x00"))
    path = folder / f"bomb{rng.choice(('.jsonl', '.json'))}{compress}"
    start = COMPRESS[compress](rng.choice((b"", b"[", b'{"prompt": "')))
    path.write_bytes(start + _bomb(compress, filling))
    read = rng.choice((_records, _candidates, _traces))
    return Case(lambda: read(path, None), (str(path),), what=f"{path.name} of {filling!r}")


# ---------------------------------------------------------------------------------------------- demonstrations


def _prepare_trajectories(folder: Path) -> Path:
    """The same two episodes in every format that is read."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    episodes = [
        Trajectory(
            observations=rng.normal(size=(length + 1, 3)).astype(np.float32),
            actions=rng.normal(size=(length, 2)).astype(np.float32),
            rewards=rng.normal(size=length).astype(np.float32),
            infos=tuple("{}" for _ in range(length)),
            terminal=bool(length % 2),
            environment="Hopper-v5",
        )
        for length in (4, 7)
    ]
    (folder / "ours").mkdir()
    save_trajectories(folder / "ours" / "demonstrations.safetensors", episodes)
    write_imitation(folder / "imitation", episodes)
    (folder / "parquet").mkdir()
    with pyarrow.memory_map(str(folder / "imitation" / "data-00000-of-00001.arrow")) as source:
        table = pyarrow.ipc.open_stream(source).read_all()
        pyarrow.parquet.write_table(table, folder / "parquet" / "demonstrations.parquet")
    _write_minari(folder / "minari", episodes)
    return folder


def _write_minari(folder: Path, episodes: list[Trajectory]) -> None:
    import h5py

    folder.mkdir()
    box = {"type": "Box", "dtype": "float32", "low": -1, "high": 1}
    metadata = {
        "data_format": "hdf5",
        "observation_space": json.dumps(box | {"shape": [3]}),
        "action_space": json.dumps(box | {"shape": [2]}),
        "env_spec": json.dumps({"id": "Hopper-v5"}),
    }
    (folder / "metadata.json").write_text(json.dumps(metadata))
    with h5py.File(folder / "main_data.hdf5", "w") as file:
        for number, episode in enumerate(episodes):
            group = file.create_group(f"episode_{number}")
            ends = np.arange(len(episode)) == len(episode) - 1
            for name in ("observations", "actions", "rewards"):
                group[name] = getattr(episode, name)
            group["terminations"], group["truncations"] = ends & episode.terminal, ends & (not episode.terminal)


def _draw_trajectories(rng: Random, prepared: Path, folder: Path) -> Case:
    """Demonstrations in a damaged file or folder."""
    kind = rng.choice(("ours", "imitation", "parquet", "minari"))
    copy = shutil.copytree(prepared / kind, folder / kind)
    file = damage_folder(rng, copy)
    only = {"ours": "demonstrations.safetensors", "parquet": "demonstrations.parquet"}
    path = copy / only[kind] if kind in only else copy
    return Case(lambda: read_trajectories(path), (str(copy),), what=f"{kind}: {file}")


TARGETS = (
    Target("rows", 30, lambda folder: None, _draw_rows),
    Target("parquet", 6, lambda folder: None, _draw_parquet),
    Target("bombs", 0.15, lambda folder: None, _draw_bomb),
    Target("trajectories", 8, _prepare_trajectories, _draw_trajectories),
)
