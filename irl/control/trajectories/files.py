"""Files of demonstrations in three formats, which `read_trajectories` detects.

    own         one safetensors file: observations, actions, rewards? (trajectories concatenated), lengths, terminal,
                infos? (JSON as bytes); metadata: {"format", "environments": JSON}
    imitation   a folder of Hugging Face `datasets`, or its table in one Parquet file (imitation_format.py)
    Minari      the folder of a data set (minari_format.py)

Pickle is never read: imitation's older .npz and .pkl files are refused.
"""

import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from irl.control.trajectories import imitation_format, minari_format
from irl.control.trajectories.trajectory import Trajectory, check_alike
from irl.data.json_lines import FilePath, why_unwritable
from irl.leftovers import removed_at_exit
from irl.types import InputError
from reward_models.records import parse_json

FORMAT = "traceward trajectories 1"
_PICKLED = {".pkl", ".pickle", ".npz", ".npy"}


def read_trajectories(path: FilePath) -> list[Trajectory]:
    """The trajectories of a file or folder in any supported format. Raises InputError, which names the path."""
    place = Path(path)
    if not place.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    if minari_format.is_minari(place):
        return minari_format.read_minari(place)
    if imitation_format.is_imitation(place):
        return imitation_format.read_imitation(place)
    if place.is_dir():
        known = "a folder of imitation (state.json) or a Minari data set (metadata.json, data/metadata.json)"
        raise InputError(f"{path}: unknown format; expected {known}")
    if place.suffix.lower() in _PICKLED:
        advice = "convert it with imitation.data.serialize.save, or from_arrays and save_trajectories"
        raise InputError(f"{path}: such files may contain pickled code and are refused; {advice}")
    return load_trajectories(place)


def save_trajectories(path: FilePath, trajectories: Sequence[Trajectory]) -> None:
    """Write a file in our own format, atomically; an existing file is replaced."""
    check_alike(trajectories, ("observations", "actions", "rewards"))
    tensors = {
        "observations": np.concatenate([t.observations for t in trajectories]),
        "actions": np.concatenate([t.actions for t in trajectories]),
        "lengths": np.array([len(t) for t in trajectories], np.int64),
        "terminal": np.array([t.terminal for t in trajectories], bool),
    }
    rewards = [t.rewards for t in trajectories if t.rewards is not None]
    if rewards:
        tensors["rewards"] = np.concatenate(rewards)
    if any(t.infos is not None for t in trajectories):
        text = json.dumps([t.infos for t in trajectories]).encode()
        tensors["infos"] = np.frombuffer(text, np.uint8)
    metadata = {"format": FORMAT, "environments": json.dumps([t.environment for t in trajectories])}
    in_rows = {name: np.asarray(values, order="C") for name, values in tensors.items()}
    _replace(Path(path), safetensors.numpy.save(in_rows, metadata))


def load_trajectories(path: FilePath) -> list[Trajectory]:
    """The trajectories of a file written by `save_trajectories`."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (safetensors.SafetensorError, OSError, AttributeError) as error:  # of numpy, for 8-bit floats
        raise InputError(f"{path}: no file of trajectories, or truncated ({error}); copy it again") from error
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: expected format {FORMAT!r} in its metadata, got {metadata.get('format')!r}")
    try:
        return _split(tensors, _texts(parse_json(metadata["environments"], "environments"), "environments"))
    except (InputError, KeyError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: damaged, {error}; copy it again") from error


def _split(tensors: Mapping[str, np.ndarray], environments: Sequence[str]) -> list[Trajectory]:
    lengths = tensors["lengths"]
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
        raise InputError(f"lengths: expected integers from 0, got {lengths.dtype} of shape {lengths.shape}")
    count, steps = len(lengths), int(lengths.sum())
    expected = {"observations": steps + count, "actions": steps, "rewards": steps, "terminal": count}
    for name, rows in expected.items():
        if name in tensors and len(tensors[name]) != rows:
            raise InputError(f"{name}: expected {rows} rows, got {len(tensors[name])}")
    infos = parse_json(tensors["infos"].tobytes(), "infos") if "infos" in tensors else [None] * count
    cuts, after = np.cumsum(lengths)[:-1], np.cumsum(lengths + 1)[:-1]
    parts = zip(
        np.split(tensors["observations"], after),
        np.split(tensors["actions"], cuts),
        np.split(tensors["rewards"], cuts) if "rewards" in tensors else [None] * count,
        tensors["terminal"],
        infos,
        environments,
        strict=True,
    )
    return [
        Trajectory(
            observations=observations,
            actions=actions,
            rewards=rewards,
            terminal=bool(terminal),
            infos=None if info is None else tuple(_texts(info, "infos")),
            environment=environment,
        )
        for observations, actions, rewards, terminal, info, environment in parts
    ]


def _texts(value: object, name: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise InputError(f"{name}: expected a list of strings")
    return value


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with removed_at_exit(temporary):
            temporary.write_bytes(data)
            os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path}: {why_unwritable(error)} and run again, nothing was overwritten") from error
