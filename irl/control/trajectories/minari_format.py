"""Minari data sets on disk: the folder of a data set (`~/.minari/datasets/NAME`) or its `data` folder.

    metadata.json     data_format: hdf5 | arrow; observation_space, action_space, env_spec: JSON texts
    main_data.hdf5    groups episode_N: observations, actions, rewards, terminations, truncations
    N/*.arrow         the same columns, one padding row longer than there are steps; boxes flattened

This is the format of Minari 0.5 (Younis et al. 2024). Dict and Tuple observations and actions are flattened like
gymnasium.spaces.flatten: keys sorted, discrete parts one-hot. infos are ignored.
"""

import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from irl.control.trajectories.trajectory import Trajectory
from irl.data.json_lines import FilePath
from irl.types import InputError
from reward_models.records import parse_json, read_json

MOST_VALUES = 100_000
"""Largest supported discrete space."""
METADATA, HDF5 = "metadata.json", "main_data.hdf5"
Tree = Any
"""Nested dicts of arrays with one row per step."""


def is_minari(path: FilePath) -> bool:
    """Whether a path is the folder of a data set, its data folder, or its HDF5 file."""
    return _data_folder(Path(path)) is not None


def read_minari(path: FilePath) -> list[Trajectory]:
    """All episodes of a data set."""
    folder = _data_folder(Path(path))
    if folder is None:
        raise InputError(f"{path}: no Minari data set; expected {METADATA} or data/{METADATA}")
    metadata = _metadata(folder)
    readers = {"hdf5": _hdf5_episodes, "arrow": _arrow_episodes}
    form = metadata.get("data_format", "hdf5")
    if not isinstance(form, str) or form not in readers:
        raise InputError(f"{path}: expected data_format hdf5 or arrow, got {reprlib.repr(form)}")
    observation, action = (_space(metadata, f"{name}_space", path) for name in ("observation", "action"))
    environment = _environment(metadata, path)
    trajectories = []
    for key, episode in readers[form](folder):
        try:
            trajectories.append(_trajectory(episode, observation, action, environment))
        except (InputError, KeyError, IndexError, TypeError, ValueError, AttributeError, MemoryError) as error:
            problem = error if isinstance(error, InputError) else f"values outside of the spaces ({error})"
            raise InputError(f"{path}, episode {key}: {problem}") from None
    if not trajectories:
        raise InputError(f"{path}: empty; expected at least one episode")
    return trajectories


def _data_folder(path: Path) -> Path | None:
    if path.name == HDF5:
        path = path.parent
    for folder in (path, path / "data"):
        if (folder / METADATA).is_file():
            return folder
    return None


def _metadata(folder: Path) -> dict[str, Any]:
    metadata = read_json(folder / METADATA)
    if not isinstance(metadata, dict):
        raise InputError(f"{folder / METADATA}: expected an object, got {type(metadata).__name__}")
    return metadata


def _environment(metadata: Mapping[str, Any], path: FilePath) -> str:
    return str(_embedded(metadata, "env_spec", path).get("id") or "") if metadata.get("env_spec") else ""


def _space(metadata: Mapping[str, Any], name: str, path: FilePath) -> dict[str, Any]:
    if not metadata.get(name):
        raise InputError(f"{path}: {METADATA} has no {name}; load it with minari and use from_arrays")
    space = _embedded(metadata, name, path)
    _check_space(space, f"{path}: {METADATA}: {name}")
    return space


def _embedded(metadata: Mapping[str, Any], name: str, path: FilePath) -> dict[str, Any]:
    """A JSON object encoded as a string."""
    where = f"{path}: {METADATA}: {name}"
    value = parse_json(metadata[name], where) if isinstance(metadata[name], str) else None
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object in a string, got {reprlib.repr(metadata[name])}")
    return value


def _check_space(space: Any, where: str, depth: int = 0) -> None:
    """Raise InputError unless the fields that `_flat` uses have the expected types."""

    def is_size(value: Any) -> bool:
        return type(value) is int and 0 <= value < 2**31

    kind = space.get("type") if isinstance(space, dict) else None
    match kind:
        case "Box":
            shape = space.get("shape")
            fits = isinstance(shape, list) and all(map(is_size, shape))
        case "Discrete":
            start = space.get("start", 0)
            fits = is_size(space.get("n")) and space["n"] <= MOST_VALUES and type(start) is int and abs(start) < 2**31
        case "Dict" | "Tuple":
            inner = space.get("subspaces")
            fits = isinstance(inner, dict if kind == "Dict" else list) and bool(inner) and depth < 50
            parts = [] if not fits else inner.items() if kind == "Dict" else enumerate(inner)
            for key, part in parts:
                _check_space(part, f"{where}.{key}", depth + 1)
        case _:
            fits = isinstance(kind, str)  # `_flat` refuses unknown types
    if not fits:
        raise InputError(f"{where}: expected a space in Minari's format, got {reprlib.repr(space)}")


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
        raise InputError(f"{name}: compressed images are not supported; load it with minari and use from_arrays")
    return values.reshape(len(values), *space["shape"])


def _flat(name: str, space: Mapping[str, Any], values: Tree) -> np.ndarray:
    """One vector per step."""
    kind = space["type"]
    if kind in ("Box", "MultiBinary"):
        return values.reshape(len(values), -1)
    if kind == "Discrete":
        index, n = values.reshape(-1, 1) - space.get("start", 0), space["n"]
        if ((index < 0) | (index >= n)).any():
            raise InputError(f"{name}: expected {n} values from {space.get('start', 0)}, got others")
        return (index == np.arange(n)).astype(np.float32)
    if kind in ("Dict", "Tuple"):
        inner = space["subspaces"]
        items = sorted(inner.items()) if kind == "Dict" else [(str(i), s) for i, s in enumerate(inner)]
        return np.concatenate([_flat(f"{name}.{key}", sub, values[key]) for key, sub in items], axis=1)
    raise InputError(f"{name}: space of type {kind}; expected Box, Discrete, MultiBinary, Dict or Tuple")


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
    except (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
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
    except (pyarrow.ArrowException, OSError, KeyError, ValueError, MemoryError) as error:
        raise InputError(f"{folder}: no readable episodes ({error}); download the data set again") from error
