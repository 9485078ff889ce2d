"""Checkpoints of a run, by Orbax: whatever it takes to go on as if nothing had happened.

    checkpoints/STEP/state/           the algorithm's state, with typed keys and optimizer
    checkpoints/STEP/extra/           JSON: the data source's state, and whatever else the loop wants back
    checkpoints/STEP/manifest.json    name, type and shape of every array; size and sha256 of every file

The order when a run resumes, so that it ends with the same parameters, bit for bit:

1. build the algorithm and restore its *state*; optimizer moments and target networks are part of it;
2. build the data source and give it its own state back (`extra`), before a first batch is drawn;
3. set the *step*: randomness is `fold_in(base_key, step)`, schedules and the next checkpoint count from it.

A save is written beside its place and renamed, and counts once its manifest is there: a kill at any moment
leaves this checkpoint or the one before. Orbax alone would notice neither a flipped bit nor a changed dtype.
"""

import errno
import hashlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import SingleDeviceSharding

from irl.types import InputError
from reward_models.records import read_record, record

_MANIFEST = "manifest.json"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@record
class Manifest:
    """manifest.json of a checkpoint."""

    arrays: dict[str, str]
    """Type and shape by name."""
    files: dict[str, tuple[int, str]]
    """Size and sha256 by path."""


class Restored(NamedTuple):
    """What `Checkpoints.restore` gives back."""

    state: Any
    extra: Any
    step: int


class Checkpoints:
    """The newest `keep` checkpoints of a folder. All processes of a run call every method together."""

    def __init__(self, folder: str | os.PathLike[str], keep: int = 2):
        if keep < 2:
            raise InputError(f"keep: expected 2 checkpoints or more, one to fall back on; got {keep}")
        import orbax.checkpoint as ocp  # here, so that --help does not wait for it

        self.folder = Path(folder).resolve()
        self._args = ocp.args
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def latest(self) -> int | None:
        """The newest step, or None where nothing was saved."""
        return max(self.steps(), default=None)

    def save(self, step: int, state: Any, extra: Any = None) -> None:
        """Write a checkpoint and wait until it is on disk; then the oldest goes if there are over `keep`.

        `extra` is anything JSON holds (tuples come back as lists). Checkpoints of `step` and later, left by a
        run that was taken back to before them, are removed. Raises InputError when the disk is full; earlier
        checkpoints are intact then.
        """
        self._make_way(step)
        extra_item = self._args.JsonSave({"extra": extra})
        items = self._args.Composite(state=self._args.StandardSave(state), extra=extra_item)
        try:
            with _without_tracebacks():
                self._manager.save(step, args=items)
            self._write_manifest(step, state)
        except (OSError, ValueError) as error:
            self._sweep()
            if not _disk_full(error):
                raise
            advice = "free some space and run the same command again: it goes on from the last checkpoint"
            raise InputError(f"{self.folder}: disk full while saving step {step}; {advice}") from error

    def restore(self, step: int | None, abstract_state: Any) -> Restored:
        """Read checkpoint `step`, or the newest good one: (state, extra, step).

        `abstract_state` is a state of the same make, real or as `jax.eval_shape` gives it; arrays land on its
        shardings, or on the first device where it has none. Raises InputError if nothing is readable or fits.
        """
        steps = self.steps() if step is None else [s for s in self.steps() if s == step]
        for candidate in steps:
            damage = _damage(self._path(candidate))
            if damage is None:
                return self._read(candidate, abstract_state)
            _say(f"warning: {self._path(candidate)}: {damage}; not used")
        wanted = "no checkpoint" if step is None else f"no checkpoint of step {step}"
        here = f"there are {self.steps()}" if self.steps() else "there are none"
        advice = "restore the folder from a copy, or start anew with --overwrite"
        raise InputError(f"{self.folder}: {wanted} that can be read ({here}); {advice}")

    def steps(self) -> list[int]:
        """The steps of the checkpoints, the newest first."""
        self._manager.reload()
        return sorted(self._manager.all_steps(), reverse=True)

    def _path(self, step: int) -> Path:
        return self.folder / str(step)

    def _read(self, step: int, abstract_state: Any) -> Restored:
        abstract = jax.tree.map(_placed, abstract_state)
        saved = read_record(Manifest, self._path(step) / _MANIFEST)
        _check_fit(self._path(step), saved.arrays, _arrays(abstract))
        items = self._args.Composite(state=self._args.StandardRestore(abstract), extra=self._args.JsonRestore())
        restored = self._manager.restore(step, args=items)
        return Restored(restored.state, restored.extra["extra"], step)

    def _make_way(self, step: int) -> None:
        """Remove leftovers of killed saves, and checkpoints of a future that this run turned away from."""
        self._sweep()
        for late in [s for s in self._manager.all_steps() if s >= step]:
            if late > step:
                _say(f"note: {self._path(late)} is removed, the run went back to before step {step}")
            self._manager.delete(late)

    def _sweep(self) -> None:
        if jax.process_index() == 0:
            for leftover in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def _write_manifest(self, step: int, state: Any) -> None:
        if jax.process_index() == 0:
            manifest = {"arrays": _arrays(state), "files": _digests(self._path(step))}
            new = self._path(step) / f"{_MANIFEST}.new"
            new.write_text(json.dumps(manifest, indent=1))
            new.rename(new.with_name(_MANIFEST))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"manifest of step {step}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


@contextmanager
def _without_tracebacks() -> Iterator[None]:
    """Orbax's threads log the traceback of an error that is raised to us anyway."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)


def _disk_full(error: OSError | ValueError) -> bool:
    """Python's own OSError, or TensorStore's ValueError that quotes the code of the system call."""
    quoted = any(f"os_error_code='{code}'" in str(error) for code in _FULL)
    return quoted or (isinstance(error, OSError) and error.errno in _FULL)


def _digests(folder: Path) -> dict[str, tuple[int, str]]:
    """Size and sha256 of every file, manifests aside."""
    digests: dict[str, tuple[int, str]] = {}
    for file in sorted(f for f in folder.rglob("*") if f.is_file() and f.parent != folder):
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        digests[file.relative_to(folder).as_posix()] = (file.stat().st_size, digest)
    return digests


def _damage(folder: Path) -> str | None:
    """What is wrong with a checkpoint folder, or None."""
    try:
        files = read_record(Manifest, folder / _MANIFEST).files
    except InputError as error:
        return f"half-written or damaged ({error})"
    digests = _digests(folder)
    for name in files:
        if name not in digests:
            return f"damaged, {name} is missing"
        if digests[name] != files[name]:
            return f"damaged, {name} has changed since it was written"
    return None


def _placed(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct):
        sharding = leaf.sharding or SingleDeviceSharding(jax.local_devices()[0])
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)
    return leaf


def _arrays(state: Any) -> dict[str, str]:
    """{"params.w": "float32[3, 4]"} for every leaf."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="."): _describe(leaf) for path, leaf in leaves}


def _describe(leaf: Any) -> str:
    if isinstance(leaf, jax.Array | jax.ShapeDtypeStruct | np.ndarray):
        return f"{leaf.dtype}{list(leaf.shape)}"
    return type(leaf).__name__


def _check_fit(folder: Path, saved: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    for name in {**wanted, **saved}:
        there, here = saved.get(name, "missing"), wanted.get(name, "missing")
        if there != here:
            advice = "go on with the config of that run, take another folder, or start anew with --overwrite"
            raise InputError(f"{folder}: state.{name} is {there} there, {here} in this run; {advice}")
