"""The folder of a run: randomness, checkpoints, metrics, messages, progress."""

import hashlib
import json
import math
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import jax
import numpy as np
from numpy.lib.npyio import NpzFile
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from experiments.reporting.report_records import read_metrics_lines
from irl.algorithms.base import Algorithm, State
from irl.checkpoint import Checkpoints
from irl.text.pipeline import Source
from irl.train import Evaluator, Record, Schedule, train
from irl.types import InputError
from reward_models.records import as_record, read_json

_DAMAGE = (BadZipFile, zlib.error, EOFError, KeyError, ValueError, OSError, RuntimeError, MemoryError, SyntaxError)
"""Raised by numpy and zipfile for archives that are cut off, edited, encrypted, or larger than the memory."""


@dataclass
class RunFolder:
    """A run folder: randomness, checkpoints, and what is told to the person at the screen and kept for the report."""

    folder: Path
    seed: int
    console: Console = field(default_factory=lambda: Console(stderr=True))
    throughput: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self):
        """A last line of metrics.jsonl that a full disk cut off goes; its step comes again."""
        path = self.folder / "metrics.jsonl"
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: expected a file, got a folder; move it away")
        if path.exists() and not (written := path.read_bytes()).endswith(b"\n"):
            os.truncate(path, written.rfind(b"\n") + 1)

    def of_seed(self, seed: int) -> "RunFolder":
        """The same folder with the randomness of another seed."""
        return RunFolder(self.folder, seed, self.console)

    def key(self, name: str) -> jax.Array:
        """A random key of its own for every named use."""
        return jax.random.fold_in(jax.random.key(self.seed), _number(name))

    def rng(self, name: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, _number(name)])

    def checkpoints(self, stage: str) -> Checkpoints:
        return Checkpoints(self.folder / "checkpoints" / stage)

    def record(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Append a line to metrics.jsonl. Values that are not finite become null."""
        line = json.dumps(plain({"stage": stage, "step": step, **metrics}))
        with open(self.folder / "metrics.jsonl", "a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read_metric(self, stage: str, name: str, step: int) -> float | None:
        """The last recorded value of a metric at or before a step."""
        value = None
        for line in read_metrics_lines(self.folder / "metrics.jsonl"):
            if line.stage == stage and line.step <= step and name in line.values:
                value = line.values[name]
        return value

    def say(self, message: str) -> None:
        """Tell the person at the screen, and log.txt."""
        self.console.print(message, highlight=False, markup=False, soft_wrap=True)
        with open(self.folder / "log.txt", "a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {message}\n")

    def fit(
        self,
        name: str,
        algorithm: Algorithm,
        source: Source,
        schedule: Schedule,
        start: State | None = None,
        observe: Callable[[Record], Record] = lambda record: record,
        mesh: jax.sharding.Mesh | None = None,
        *,
        key: str | None = None,
        label: str | None = None,
        evaluators: Sequence[Evaluator] = (),
        evaluate_every: int | None = None,
    ) -> State:
        """The training loop, with checkpoints, metrics, random key and progress bar under this name.

        `observe` may add to what is recorded of a step, as `HostRollouts.recording` does. `mesh`: all devices unless
        another is given. `key` and `label` replace the name for the random key and for the progress bar.
        """
        with self.progress(label or name, schedule.steps) as advance:
            return train(
                algorithm,
                source,
                schedule,
                self.key(key or name),
                checkpoints=self.checkpoints(name),
                record=observe(partial(self.record, name)),
                start=start,
                mesh=mesh,
                advance=advance,
                evaluators=evaluators,
                evaluate_every=evaluate_every,
            )

    def show(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Results on the screen, one a line: name, value, interval, information level."""
        for row in rows:
            interval = f"[{row['low']:.3f}, {row['high']:.3f}]" if row.get("low") is not None else ""
            self.say(f"{row['name']:60s} {row['value']:.3f} {interval:16s} {row.get('information') or ''}")

    def measured(self, what: str, tokens: int, seconds: float, note: str) -> None:
        """Remember a throughput for the report."""
        self.throughput.append({"what": what, "tokens_per_second": tokens / max(seconds, 1e-9), "note": note})
        self.write_json(f"throughput/{what.replace(' ', '_').replace(',', '')}.json", self.throughput[-1])

    def write_json(self, name: str, content: Any) -> None:
        """Write a JSON file of the run folder atomically. Numbers that are not finite become null."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(path.name + ".new")
        new.write_text(json.dumps(plain(content), indent=1), encoding="utf-8")
        os.replace(new, path)

    def read_stage(self, name: str, kind: Any, *, otherwise: str = "this part of the run is computed again") -> Any:
        """The JSON values of a file that `write_json` wrote, which must be those of a record of `kind`.

        None where there is no file, and where it is damaged: then a line names the damage and what happens `otherwise`.
        """
        path = self.folder / name
        if not path.exists():
            return None
        try:
            value = read_json(path)
            as_record(kind, value, str(path))
        except InputError as error:
            self.say(f"warning: {error}; {otherwise}")
            return None
        return value

    def read_arrays(self, name: str, wanted: Mapping[str, Any]) -> dict[str, np.ndarray] | None:
        """The arrays of an .npz file, which must have the shapes of `wanted` and kinds that can be cast to its types.

        None where there is no file, and where it is damaged, as in `read_stage`.
        """
        path = self.folder / name
        if not path.exists():
            return None
        try:
            with open(path, "rb") as file, NpzFile(file, allow_pickle=False) as saved:
                arrays = {key: saved[key] for key in wanted}
        except _DAMAGE as error:
            problem: str | None = f"damaged or not readable ({type(error).__name__})"
        else:
            problem = next(filter(None, (_misfit(key, arrays[key], like) for key, like in wanted.items())), None)
        if problem is not None:
            self.say(f"warning: {path}: {problem}; this part of the run is computed again")
            return None
        return arrays

    @contextmanager
    def progress(self, what: str, total: int) -> Iterator[Any]:
        """A progress bar with rate and time left; calls advance(n)."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        hidden = not self.console.is_terminal
        with Progress(*columns, TimeRemainingColumn(), console=self.console, transient=True, disable=hidden) as bar:
            task = bar.add_task(what, total=total)
            yield lambda n=1: bar.advance(task, n)


def _misfit(name: str, array: np.ndarray, like: Any) -> str | None:
    """What is wrong with an array; -1 stands for any size."""
    sizes = array.ndim == len(like.shape) and all(
        map(lambda size, wanted: wanted in (-1, size), array.shape, like.shape)
    )
    if sizes and np.can_cast(array.dtype, like.dtype, "same_kind"):
        return None
    return f"{name}: expected {like.dtype}{like.shape}, got {array.dtype}{array.shape}"


def _number(name: str) -> int:
    """A fixed number below 2**31 for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> 1


def plain(value: Any) -> Any:
    """Metrics as JSON has them: array scalars become numbers, NaN and infinity null."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
