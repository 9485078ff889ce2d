"""imitation's folders, written by pyarrow as `datasets` writes them. tests/imitation has the real library do it."""

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from irl.control.trajectories.files import read_trajectories
from irl.control.trajectories.imitation_format import read_imitation, write_imitation
from irl.control.trajectories.trajectory import Trajectory
from irl.types import InputError

EPISODE = {
    "obs": [[0.1, 2.0], [3.0, 4.0], [5.0, 6.0]],
    "acts": [1, 0],
    "infos": ['{"py/object": "os.system"}', "{}"],
    "terminal": True,
    "rews": [1.0, 0.5],
}
TYPES = {
    "obs": pa.list_(pa.list_(pa.float32())),
    "acts": pa.list_(pa.int64()),
    "infos": pa.list_(pa.string()),
    "terminal": pa.bool_(),
    "rews": pa.list_(pa.float32()),
}


def table(*rows, **types):
    """Rows as a table; a column is left out by the type None."""
    types = {name: kind for name, kind in (TYPES | types).items() if kind is not None}
    return pa.table({name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()})


def save(folder, *tables):
    """As `datasets.Dataset.save_to_disk` does, one file per table."""
    folder.mkdir()
    names = [f"data-{i:05}-of-{len(tables):05}.arrow" for i in range(len(tables))]
    for name, rows in zip(names, tables, strict=True):
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, rows.schema) as stream:
            stream.write_table(rows)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def test_a_folder(tmp_path):
    (found,) = read_imitation(save(tmp_path / "d", table(EPISODE)))
    assert found.observations.dtype == np.float32 and found.actions.dtype == np.int64
    assert found.observations.tolist() == np.float32(EPISODE["obs"]).tolist()
    assert found.actions.tolist() == [1, 0] and found.terminal
    assert found.rewards is not None and found.rewards.dtype == np.float32 and found.rewards.tolist() == [1.0, 0.5]
    assert found.infos == tuple(EPISODE["infos"]), "texts, whatever they name"


def test_several_files_and_lengths(tmp_path):
    short = EPISODE | {"obs": EPISODE["obs"][:2], "acts": [1], "infos": ["{}"], "rews": [0.0], "terminal": False}
    found = read_trajectories(save(tmp_path / "d", table(EPISODE, short), table(short)))
    assert [(len(t), t.terminal) for t in found] == [(2, True), (1, False), (1, False)]


def test_one_parquet_file(tmp_path):
    pyarrow.parquet.write_table(table(EPISODE), tmp_path / "train.parquet")
    (found,) = read_trajectories(tmp_path / "train.parquet")
    assert found.observations.dtype == np.float32 and len(found) == 2


def test_without_rewards_and_infos(tmp_path):
    (found,) = read_imitation(save(tmp_path / "d", table(EPISODE, rews=None, infos=None)))
    assert found.rewards is None and found.infos is None


@pytest.mark.parametrize(
    "kind",
    [pa.large_list(pa.large_list(pa.float32())), pa.list_(pa.list_(pa.float32(), 2)), pa.list_(pa.list_(pa.float64()))],
)
def test_other_kinds_of_lists(tmp_path, kind):
    (found,) = read_imitation(save(tmp_path / "d", table(EPISODE, obs=kind)))
    assert found.observations.shape == (3, 2)
    assert np.allclose(found.observations, EPISODE["obs"])


@pytest.mark.parametrize(
    ("change", "types", "message"),
    [
        ({"obs": EPISODE["obs"][:2]}, {}, r"row 0: Trajectory.observations: expected shape \(3, 2\), .* got \(2, 2\)"),
        ({"obs": [[1.0, 2.0], [3.0], [5.0, 6.0]]}, {}, "row 0: column obs: expected rows of one length, got 1 to 2"),
        ({"obs": [[1.0, 2.0], [3.0, None], [5.0, 6.0]]}, {}, r"row 0: column obs: 1 values are missing \(null\)"),
        ({"obs": None}, {}, "row 0: column obs: expected lists of numbers, got None"),
        (
            {"rews": [1, 2]},
            {"rews": pa.list_(pa.int64())},
            "row 0: Trajectory.rewards: expected floats, got dtype int64",
        ),
        (
            {"obs": [{"a": 1.0}] * 3},
            {"obs": pa.list_(pa.struct({"a": pa.float32()}))},
            "row 0: column obs: dictionaries are not supported; flatten them",
        ),
        ({}, {"terminal": None}, "expected columns obs, acts, terminal, got obs, acts, infos, rews"),
    ],
)
def test_bad_rows(tmp_path, change, types, message):
    with pytest.raises(InputError, match=message):
        read_imitation(save(tmp_path / "d", table(EPISODE | change, **types)))


def test_no_rows(tmp_path):
    with pytest.raises(InputError, match="d: empty; expected at least one trajectory"):
        read_imitation(save(tmp_path / "d", table()))


def test_cut_off(tmp_path):
    folder = save(tmp_path / "d", table(EPISODE))
    (file,) = folder.glob("*.arrow")
    file.write_bytes(file.read_bytes()[:400])
    with pytest.raises(InputError, match="no readable table of trajectories"):
        read_imitation(folder)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ("{", "state.json, column 2: malformed JSON"),
        ("{}", "state.json: no list of data files"),
        ('{"_data_files": [{"filename": "../secret.arrow"}]}', "expected names of files in the folder, got '../secret"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', "no readable table of trajectories"),
    ],
)
def test_bad_state(tmp_path, state, message):
    folder = save(tmp_path / "d", table(EPISODE))
    (folder / "state.json").write_text(state)
    with pytest.raises(InputError, match=message):
        read_imitation(folder)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8", "int64"])
def test_written_and_read_again(tmp_path, shape, dtype):
    rng = np.random.default_rng(0)
    made = [
        Trajectory(
            observations=(100 * rng.random((steps + 1, *shape))).astype(dtype),
            actions=rng.integers(0, 3, steps),
            rewards=rng.random(steps).astype(np.float32),
            terminal=steps > 1,
        )
        for steps in (1, 4)
    ]
    write_imitation(tmp_path / "d", made)
    found = read_imitation(tmp_path / "d")
    for one, other in zip(found, made, strict=True):
        assert one.observations.dtype == dtype and np.array_equal(one.observations, other.observations)
        assert np.array_equal(one.actions, other.actions) and one.terminal == other.terminal
        assert one.rewards is not None and np.array_equal(one.rewards, other.rewards)
        assert one.infos == ("{}",) * len(other)


def test_the_columns_that_datasets_writes(tmp_path):
    write_imitation(tmp_path / "d", read_imitation(save(tmp_path / "a", table(EPISODE))))
    with pa.memory_map(str(tmp_path / "d" / "data-00000-of-00001.arrow")) as source:
        written = pa.ipc.open_stream(source).read_all()
    assert written.equals(table(EPISODE)) and written.schema.equals(table(EPISODE).schema)


def test_nothing_is_overwritten(tmp_path):
    made = read_imitation(save(tmp_path / "d", table(EPISODE)))
    with pytest.raises(InputError, match="d: exists and is not overwritten"):
        write_imitation(tmp_path / "d", made)


def test_without_pyarrow(tmp_path, monkeypatch):
    folder = save(tmp_path / "d", table(EPISODE))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"need `pip install 'traceward\[parquet\]'`"):
        read_imitation(folder)
