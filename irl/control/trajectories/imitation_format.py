"""imitation's trajectories on disk, read and written with pyarrow, without imitation, `datasets` or torch.

    data-00000-of-00001.arrow   an Arrow stream, one row per trajectory: obs, acts: nested lists, infos: texts,
                                terminal: bool, rews?: list of floats
    dataset_info.json, state.json     required by Hugging Face `datasets`

This is the format of `imitation.data.serialize.save` of imitation 1.0 (a folder of `datasets.Dataset.save_to_disk`).
The same columns may be in one Parquet file, as on the Hugging Face hub. Differences from imitation's own reader:

1. Numbers keep their stored dtype instead of float64 and int64.
2. infos, which imitation encodes with jsonpickle, remain texts: decoding them can run arbitrary code.
3. Dictionary observations are refused.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from irl.control.trajectories.trajectory import Trajectory, check_alike
from irl.data.json_lines import FilePath, why_unwritable
from irl.types import InputError
from reward_models.records import read_json

STATE, INFO, DATA = "state.json", "dataset_info.json", "data-00000-of-00001.arrow"
_COLUMNS = ("obs", "acts", "terminal")


def is_imitation(path: FilePath) -> bool:
    """Whether a path is a folder of `datasets`, or a Parquet file."""
    place = Path(path)
    return (place / STATE).is_file() or (place.suffix.lower() == ".parquet" and place.is_file())


def read_imitation(path: FilePath) -> list[Trajectory]:
    """All trajectories, complete or not."""
    trajectories = []
    for row in _rows(Path(path)):
        try:
            trajectories.append(_trajectory(row))
        except InputError as error:
            raise InputError(f"{path}, row {len(trajectories)}: {error}") from None
    if not trajectories:
        raise InputError(f"{path}: empty; expected at least one trajectory")
    return trajectories


def write_imitation(path: FilePath, trajectories: Sequence[Trajectory]) -> None:
    """Write a new folder for `imitation.data.serialize.load`. Raises InputError if `path` exists."""
    check_alike(trajectories, ("observations", "actions", "rewards"))
    folder = Path(path)
    if folder.exists():
        raise InputError(f"{path}: exists and is not overwritten; delete it, or choose another path")
    new = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.new")
    try:
        new.mkdir(parents=True)
        _write_table(new / DATA, trajectories)
        (new / INFO).write_text(json.dumps({"description": "", "citation": "", "homepage": "", "license": ""}))
        (new / STATE).write_text(json.dumps(_state(), indent=2))
        os.rename(new, folder)
    except OSError as error:
        raise InputError(f"{path}: {why_unwritable(error)} and run again, nothing was written") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _trajectory(row: dict[str, Any]) -> Trajectory:
    infos = row["infos"].as_py() if "infos" in row else None
    if infos is not None and not (isinstance(infos, list) and all(isinstance(each, str) for each in infos)):
        raise InputError("column infos: expected lists of strings")
    return Trajectory(
        observations=_array("obs", row["obs"]),
        actions=_array("acts", row["acts"]),
        rewards=_array("rews", row["rews"]) if "rews" in row else None,
        infos=None if infos is None else tuple(infos),
        terminal=row["terminal"].as_py() is True,
    )


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table, as Arrow scalars."""
    pyarrow = _pyarrow(path)
    try:
        for file in _files(path):
            table = _table(pyarrow, file)
            table.validate(full=True)
            if not set(_COLUMNS) <= set(table.column_names):
                problem = f"expected columns {', '.join(_COLUMNS)}, got {', '.join(table.column_names)}"
                raise InputError(f"{path}: {problem}; save it with imitation.data.serialize.save")
            for batch in table.to_batches():
                for index in range(batch.num_rows):
                    yield {name: batch.column(name)[index] for name in batch.schema.names}
    except (pyarrow.ArrowException, OSError, ValueError, MemoryError) as error:
        raise InputError(f"{path}: no readable table of trajectories ({error}); copy it again") from error


def _files(path: Path) -> list[Path]:
    """The data files of a folder, in order. Only names inside the folder are accepted."""
    if path.is_file():
        return [path]
    try:
        names = [str(entry["filename"]) for entry in read_json(path / STATE)["_data_files"]]
    except (KeyError, TypeError) as error:
        raise InputError(f"{path / STATE}: no list of data files ({error}); copy the folder again") from error
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{path / STATE}: expected names of files in the folder, got {name!r}")
    return [path / name for name in names]


def _table(pyarrow: Any, file: Path) -> Any:
    if file.suffix.lower() == ".parquet":
        return pyarrow.parquet.read_table(file)
    with pyarrow.memory_map(str(file)) as source:
        return pyarrow.ipc.open_stream(source).read_all()


def _array(name: str, row: Any) -> np.ndarray:
    if getattr(row, "values", None) is None:  # only lists have values
        raise InputError(f"column {name}: expected lists of numbers, got {row}")
    return _numbers(name, row.values)


def _numbers(name: str, values: Any) -> np.ndarray:
    """Nested lists of equal length as an array of their stored dtype."""
    import pyarrow.compute
    from pyarrow import types

    if values.null_count:
        raise InputError(f"column {name}: {values.null_count} values are missing (null)")
    if types.is_struct(values.type):
        raise InputError(
            f"column {name}: dictionaries are not supported; flatten them (gymnasium.spaces.flatten) and save again"
        )
    if not (types.is_list(values.type) or types.is_large_list(values.type) or types.is_fixed_size_list(values.type)):
        return values.to_numpy(zero_copy_only=False)
    lengths = np.unique(pyarrow.compute.list_value_length(values).to_numpy(zero_copy_only=False))
    if len(lengths) > 1:
        raise InputError(f"column {name}: expected rows of one length, got {lengths.min()} to {lengths.max()}")
    inner = _numbers(name, values.flatten())
    return inner.reshape(len(values), *map(int, lengths), *inner.shape[1:])


def _write_table(file: Path, trajectories: Sequence[Trajectory]) -> None:
    """One record batch per trajectory, which bounds the memory."""
    pyarrow = _pyarrow(file)
    batches = (_batch(pyarrow, trajectory) for trajectory in trajectories)
    first = next(batches)
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, first.schema) as stream:
        stream.write_batch(first)
        for batch in batches:
            stream.write_batch(batch)


def _batch(pyarrow: Any, trajectory: Trajectory) -> Any:
    infos = ["{}"] * len(trajectory) if trajectory.infos is None else list(trajectory.infos)
    columns = {
        "obs": _lists(pyarrow, trajectory.observations[None]),
        "acts": _lists(pyarrow, trajectory.actions[None]),
        "infos": pyarrow.array([infos], pyarrow.list_(pyarrow.string())),
        "terminal": pyarrow.array([trajectory.terminal], pyarrow.bool_()),
    }
    if trajectory.rewards is not None:
        columns["rews"] = _lists(pyarrow, trajectory.rewards[None])
    return pyarrow.RecordBatch.from_pydict(columns)


def _lists(pyarrow: Any, values: np.ndarray) -> Any:
    """An array as nested lists of its dtype."""
    lists = pyarrow.array(values.reshape(-1))
    for axis in range(values.ndim - 1, 0, -1):
        count = int(np.prod(values.shape[:axis]))
        offsets = np.arange(count + 1, dtype=np.int32) * np.int32(values.shape[axis])
        lists = pyarrow.ListArray.from_arrays(offsets, lists)
    return lists


def _state() -> dict[str, Any]:
    """state.json of `datasets`. The fingerprint names cache files, so it must be unique to the data."""
    return {
        "_data_files": [{"filename": DATA}],
        "_fingerprint": secrets.token_hex(8),
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": None,
    }


def _pyarrow(path: FilePath) -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
        import pyarrow.parquet
    except ImportError:
        advice = "trajectories of imitation need `pip install 'traceward[parquet]'` (pyarrow)"
        raise InputError(f"{path}: {advice}") from None
    return pyarrow
