"""Minari's data sets on disk: the folder of a data set (`~/.minari/datasets/NAME`) or its `data` folder.

    metadata.json     data_format: hdf5 | arrow; observation_space, action_space, env_spec: JSON texts
    main_data.hdf5    groups episode_N: observations, actions, rewards, terminations, truncations
    N/*.arrow         the same columns, one padding row longer than there are steps; boxes flattened

as Minari 0.5 writes them (Younis et al. 2024). Observations or actions in dictionaries and tuples become one vector, as
gymnasium.spaces.flatten orders them: keys sorted, discrete ones one-hot. infos are not read.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from irl.control.trajectories import Trajectory
from irl.traces.json_lines import FilePath
from irl.types import InputError

METADATA, HDF5 = "metadata.json", "main_data.hdf5"
Tree = Any
"""Nested dicts of arrays with a row per step."""


def is_minari(path: FilePath) -> bool:
    """Whether a path is a data set's folder, its data folder, or the HDF5 file in it."""
    return _data_folder(Path(path)) is not None


def read_minari(path: FilePath) -> list[Trajectory]:
    """Every episode of a data set."""
    folder = _data_folder(Path(path))
    if folder is None:
        raise InputError(f"{path}: no Minari data set; expected {METADATA} or data/{METADATA}")
    metadata = _metadata(folder)
    readers = {"hdf5": _hdf5_episodes, "arrow": _arrow_episodes}
    form = metadata.get("data_format", "hdf5")
    if form not in readers:
        raise InputError(f"{path}: expected data_format hdf5 or arrow, got {form!r}")
    observation, action = (_space(metadata, f"{name}_space", path) for name in ("observation", "action"))
    environment = _environment(metadata)
    found = []
    for key, episode in readers[form](folder):
        try:
            found.append(_trajectory(episode, observation, action, environment))
        except InputError as error:
            raise InputError(f"{path}, episode {key}: {error}") from None
    if not found:
        raise InputError(f"{path}: empty; expected at least one episode")
    return found


def _data_folder(path: Path) -> Path | None:
    if path.name == HDF5:
        path = path.parent
    for folder in (path, path / "data"):
        if (folder / METADATA).is_file():
            return folder
    return None


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        found = json.loads((folder / METADATA).read_bytes())
    except ValueError as error:
        raise InputError(f"{folder / METADATA}: malformed JSON ({error}); copy the data set again") from error
    if not isinstance(found, dict):
        raise InputError(f"{folder / METADATA}: expected an object, got {type(found).__name__}")
    return found


def _environment(metadata: Mapping[str, Any]) -> str:
    spec = metadata.get("env_spec")
    return str(json.loads(spec).get("id") or "") if spec else ""


def _space(metadata: Mapping[str, Any], name: str, path: FilePath) -> dict[str, Any]:
    if not metadata.get(name):
        raise InputError(f"{path}: {METADATA} says no {name}; load it with minari and use from_arrays")
    return json.loads(metadata[name])


def _trajectory(episode: Mapping[str, Any], observation: dict, action: dict, name: str) -> Trajectory:
    return Trajectory(
        observations=_values("observations", observation, episode["observations"]),
        actions=_values("actions", action, episode["actions"]),
        rewards=episode["rewards"].reshape(-1),
        terminal=bool(episode["terminations"].any()),
        environment=name,
    )


def _values(name: str, space: Mapping[str, Any], values: Tree) -> np.ndarray:
    if space["type"] == "Discrete":
        return values
    if space["type"] != "Box":
        return _flat(name, space, values)
    if values.dtype.kind == "O":
        raise InputError(f"{name}: compressed images are not read; load it with minari and use from_arrays")
    return values.reshape(len(values), *space["shape"])


def _flat(name: str, space: Mapping[str, Any], values: Tree) -> np.ndarray:
    """One vector per step."""
    kind = space["type"]
    if kind in ("Box", "MultiBinary"):
        return values.reshape(len(values), -1)
    if kind == "Discrete":
        return np.eye(space["n"], dtype=np.float32)[values - space.get("start", 0)]
    if kind in ("Dict", "Tuple"):
        inner = space["subspaces"]
        items = sorted(inner.items()) if kind == "Dict" else [(str(i), s) for i, s in enumerate(inner)]
        return np.concatenate([_flat(f"{name}.{key}", sub, values[key]) for key, sub in items], axis=1)
    raise InputError(f"{name}: a space of type {kind} is not read; expected Box, Discrete, MultiBinary, Dict or Tuple")


def _hdf5_episodes(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    file = folder / HDF5
    try:
        import h5py
    except ImportError:
        raise InputError(f"{file}: needs `pip install 'traceward[minari]'` (h5py)") from None

    def tree(node: Any) -> Tree:
        if isinstance(node, h5py.Dataset):
            return node[()]
        return {key.removeprefix("_index_"): tree(value) for key, value in node.items()}

    names = ("observations", "actions", "rewards", "terminations")
    try:
        with h5py.File(file, "r") as episodes:
            for key in sorted(episodes, key=lambda k: int(k.removeprefix("episode_"))):
                yield key.removeprefix("episode_"), {name: tree(episodes[key][name]) for name in names}
    except (OSError, KeyError, ValueError) as error:
        raise InputError(f"{file}: no readable episodes ({error}); download the data set again") from error


def _arrow_episodes(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        import pyarrow
        import pyarrow.dataset
    except ImportError:
        raise InputError(f"{folder}: needs `pip install 'traceward[parquet]'` (pyarrow)") from None

    def tree(column: Any) -> Tree:
        if pyarrow.types.is_struct(column.type):
            return {field.name: tree(column.field(i)) for i, field in enumerate(column.type)}
        if pyarrow.types.is_fixed_size_list(column.type):
            return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
        return column.to_numpy(zero_copy_only=False)

    def shorter(values: Tree) -> Tree:
        return {key: shorter(v) for key, v in values.items()} if isinstance(values, dict) else values[:-1]

    try:
        for part in sorted((p for p in folder.iterdir() if p.name.isdigit()), key=lambda p: int(p.name)):
            data = pyarrow.dataset.dataset(part, format="arrow", ignore_prefixes=["_", ".", METADATA]).to_table()
            columns = {name: tree(data.column(name).combine_chunks()) for name in data.column_names if name != "infos"}
            last = {name: shorter(values) for name, values in columns.items() if name != "observations"}
            yield part.name, {"observations": columns["observations"], **last}
    except (pyarrow.ArrowException, OSError, KeyError) as error:
        raise InputError(f"{folder}: no readable episodes ({error}); download the data set again") from error
