"""Minari's folders, written here as Minari 0.5 lays them out. tests/imitation has the real library do it."""

import json
import sys

import numpy as np
import pyarrow as pa
import pytest

from irl.control.trajectories.files import read_trajectories
from irl.control.trajectories.minari_format import read_minari
from irl.types import InputError

BOX = {"type": "Box", "dtype": "float32", "shape": [2], "low": [-1.0, -1.0], "high": [1.0, 1.0]}
DISCRETE = {"type": "Discrete", "dtype": "int64", "start": 0, "n": 3}
GOAL = {"type": "Dict", "subspaces": {"where": BOX, "goal": DISCRETE | {"start": 1}}}
OBSERVATIONS = np.arange(6, dtype=np.float32).reshape(3, 2)
COLUMNS = {
    "observations": OBSERVATIONS,
    "actions": np.array([2, 0]),
    "rewards": np.array([1.0, 0.5]),
    "terminations": np.array([False, True]),
    "truncations": np.array([False, False]),
}


def metadata(folder, form, observation=BOX, action=DISCRETE, **others):
    """The folder of a data set with its data/metadata.json; returns data/."""
    data = folder / "data"
    data.mkdir(parents=True)
    known = {"data_format": form, "observation_space": json.dumps(observation), "action_space": json.dumps(action)}
    (data / "metadata.json").write_text(json.dumps(known | {"env_spec": json.dumps({"id": "Toy-v0"})} | others))
    return data


def lists(values):
    if isinstance(values, dict):
        return pa.StructArray.from_arrays([lists(v) for v in values.values()], names=list(values))
    if values.ndim == 1:
        return pa.array(values)
    flat = pa.array(values.reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def arrow(folder, *episodes, **spaces):
    """One file per episode; every column but the observations padded by a row."""
    data = metadata(folder, "arrow", **spaces)
    for index, columns in enumerate(episodes):
        padded = {
            name: lists(values if name == "observations" else np.concatenate([values, values[-1:]]))
            for name, values in columns.items()
        }
        (data / str(index)).mkdir()
        (data / str(index) / "metadata.json").write_text("{}")
        batch = pa.RecordBatch.from_pydict(padded)
        with (
            pa.OSFile(str(data / str(index) / "part-0.arrow"), "wb") as sink,
            pa.ipc.new_file(sink, batch.schema) as file,
        ):
            file.write_batch(batch)
    return folder


def hdf5(folder, *episodes, **spaces):
    h5py = pytest.importorskip("h5py")
    data = metadata(folder, "hdf5", **spaces)

    def write(group, columns):
        for name, values in columns.items():
            if isinstance(values, dict):
                write(group.create_group(name), values)
            else:
                group.create_dataset(name, data=values)

    with h5py.File(data / "main_data.hdf5", "w") as file:
        for index, columns in enumerate(episodes):
            write(file.create_group(f"episode_{index}"), columns)
    return folder


WRITERS = pytest.mark.parametrize("write", [arrow, hdf5])


@WRITERS
def test_a_data_set(tmp_path, write):
    cut_off = COLUMNS | {"terminations": np.array([False, False])}
    found = read_trajectories(write(tmp_path / "toy", COLUMNS, *[cut_off] * 10))
    assert [t.terminal for t in found] == [True, *[False] * 10], "in the order of their numbers, not of their texts"
    first = found[0]
    assert first.environment == "Toy-v0"
    assert first.observations.dtype == np.float32 and np.array_equal(first.observations, OBSERVATIONS)
    assert first.actions.tolist() == [2, 0]
    assert first.rewards is not None and first.rewards.tolist() == [1.0, 0.5]


@WRITERS
def test_dictionaries_become_one_vector(tmp_path, write):
    """goal before where, and one-hot from its start, as gymnasium.spaces.flatten has it."""
    columns = COLUMNS | {"observations": {"where": OBSERVATIONS, "goal": np.array([1, 3, 2])}}
    (found,) = read_minari(write(tmp_path / "toy", columns, observation=GOAL))
    assert found.observations.tolist() == [[1, 0, 0, 0, 1], [0, 0, 1, 2, 3], [0, 1, 0, 4, 5]]


@WRITERS
def test_images_keep_their_shape(tmp_path, write):
    images = np.arange(12, dtype=np.uint8).reshape(3, 2, 2)
    space = BOX | {"shape": [2, 2], "dtype": "uint8"}
    stored = images if write is hdf5 else images.reshape(3, 4)
    (found,) = read_minari(write(tmp_path / "toy", COLUMNS | {"observations": stored}, observation=space))
    assert np.array_equal(found.observations, images) and found.observations.dtype == np.uint8


@pytest.mark.parametrize(
    ("change", "spaces", "message"),
    [
        ({"rewards": np.array([1, 2])}, {}, "episode 0: Trajectory.rewards: expected floats, got dtype int64"),
        ({}, {"observation": {"type": "Text"}}, "episode 0: observations: space of type Text; expected Box"),
        ({"observations": np.array([b"x"] * 3)}, {}, "episode 0: observations: compressed images are not supported"),
        ({}, {"data_format": "zarr"}, "expected data_format hdf5 or arrow, got 'zarr'"),
        ({}, {"data_format": ["hdf5"]}, "expected data_format hdf5 or arrow"),
        ({}, {"env_spec": 7}, "metadata.json: env_spec: expected an object in a string, got 7"),
        ({}, {"env_spec": "[1]"}, "metadata.json: env_spec: expected an object in a string"),
        ({}, {"action_space": {"type": "Box"}}, "metadata.json: action_space: expected an object in a string"),
        ({}, {"action_space": "{"}, "metadata.json: action_space, column 2: malformed JSON"),
        ({}, {"action_space": '{"type": "Box", "type": "Discrete"}'}, "action_space: the key 'type' occurs twice"),
        ({}, {"action_space": "[" * 200_000}, "action_space: JSON that cannot be read"),
        ({}, {"observation": {"type": "Box", "shape": "ab"}}, "observation_space: expected a space in Minari's format"),
        ({}, {"observation": {"type": "Discrete", "n": 10**12}}, "observation_space: expected a space in Minari"),
        ({}, {"observation": {"type": "Dict", "subspaces": [1]}}, "observation_space: expected a space in Minari"),
        ({}, {"observation": GOAL}, "episode 0: values outside of the spaces"),
        ({}, {"observation": BOX | {"shape": [7]}}, "episode 0: values outside of the spaces"),
        ({"observations": np.arange(9).reshape(3, 3)}, {}, "episode 0: values outside of the spaces"),
        ({}, {"observation_space": None}, "metadata.json has no observation_space"),
    ],
)
def test_bad_data_sets(tmp_path, change, spaces, message):
    with pytest.raises(InputError, match=message):
        read_minari(arrow(tmp_path / "toy", COLUMNS | change, **spaces))


def test_a_broken_file(tmp_path):
    folder = arrow(tmp_path / "toy", COLUMNS)
    (folder / "data" / "0" / "part-0.arrow").write_bytes(b"ARROW1")
    with pytest.raises(InputError, match="no readable episodes"):
        read_minari(folder)


def test_broken_metadata(tmp_path):
    folder = arrow(tmp_path / "toy", COLUMNS)
    (folder / "data" / "metadata.json").write_text("{")
    with pytest.raises(InputError, match=r"metadata.json.*: malformed JSON"):
        read_minari(folder)


def test_no_episodes(tmp_path):
    with pytest.raises(InputError, match="toy: empty; expected at least one episode"):
        read_minari(arrow(tmp_path / "toy"))


@pytest.mark.parametrize(("form", "module", "extra"), [("hdf5", "h5py", "minari"), ("arrow", "pyarrow", "parquet")])
def test_without_the_library(tmp_path, monkeypatch, form, module, extra):
    metadata(tmp_path / "toy", form)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=rf"needs `pip install 'traceward\[{extra}\]'`"):
        read_minari(tmp_path / "toy")
