"""Comparisons with imitation 1.0.1: each side runs in processes of its own, which print their results as JSON.

The peer's folder has make_expert.py and the scripts of the peer's side; its interpreter has imitation, seals and torch.
Our side is a child process of the same benchmark, started with `--child ARGUMENTS`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro


@dataclass(frozen=True, kw_only=True)
class PeerOptions:
    """The peer's side."""

    peer_folder: Path
    peer_python: Path

    @contextmanager
    def scripts(self, *, expert: bool = False) -> Iterator["Peer"]:
        """A copy of the peer's scripts; with `expert`, the peer trains one and writes its demonstrations there."""
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder) / "peer"
            shutil.copytree(self.peer_folder, place)
            place.chmod(0o755)
            peer = Peer(self.peer_python, place)
            if expert:
                peer.run("make_expert.py")
            yield peer


@dataclass(frozen=True)
class Peer:
    """The peer's scripts and interpreter."""

    python: Path
    place: Path

    @property
    def demonstrations(self) -> Path:
        return self.place / "expert" / "rollouts"

    def run(self, script: str, **flags: Any) -> dict[str, Any]:
        """The result of a script; flag names have underscores in place of hyphens."""
        values = [text for name, value in flags.items() for text in (f"--{name.replace('_', '-')}", str(value))]
        return _result([str(self.python), script, *values], cwd=self.place)


def run_child(module: str, arguments: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> dict:
    """The result of `ours(**arguments, started=...)` of a benchmark in a new process, started at time `started`."""
    text = json.dumps({**arguments, "started": time.time()})
    command = [sys.executable, "-m", f"experiments.benchmarks.{module}", "--child", text]
    return _result(command, env=environment)


def main(options: Any, description: str | None, compare: Callable[[Any], None], ours: Callable[..., dict]) -> int:
    """The entry point of a benchmark: `compare` on the command line, `ours` in a child process."""
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(ours(**json.loads(sys.argv[2]))))
    else:
        compare(tyro.cli(options, description=description))
    return 0


def _result(command: list[str], **settings: Any) -> dict[str, Any]:
    printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, **settings).stdout
    return json.loads(next(line for line in reversed(printed.splitlines()) if line.startswith("{")))
