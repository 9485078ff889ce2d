"""GAIL and AIRL on seals/CartPole-v0 beside imitation 1.0.1, on the same demonstrations, in one command.

    python -m experiments.benchmarks.adversarial_imitation --peer-folder FOLDER --peer-python PYTHON

FOLDER holds make_expert.py and adversarial_variants.py of the peer's side, PYTHON has imitation, seals and torch. The
peer trains an expert and writes its demonstrations, which both sides learn from: 8 environments, 256 steps a round,
65 rounds (133,120 steps). *Cold* is from the start of a process to the trained policy: imports, compilation. *Warm* is
training alone: ours is a second training in the same process, the peer's without its imports and its evaluations of the
policy. Ours (adversarial_side.py) is repeated with 16 seeds side by side, and its cold start in a second process, which
finds the first one's compiled programs (compilation_cache.py).
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from experiments.benchmarks.adversarial_side import ENVS, STEPS, TIME
from experiments.core.compilation_cache import VARIABLE

PEER = {"gail": "rounds", "airl": "airl-rounds"}
MANY = 16


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare."""

    peer_folder: Path
    peer_python: Path
    games: tuple[str, ...] = ("gail", "airl")
    seeds: tuple[int, ...] = (0, 1)
    """Of the peer; ours are as many in the same order, each in a process of its own."""
    many: int = MANY


def main(arguments: list[str] | None = None) -> int:
    options = tyro.cli(Options, description=__doc__, args=arguments)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "peer"
        shutil.copytree(options.peer_folder, place)
        place.chmod(0o755)
        peer_line(options.peer_python, place, "make_expert.py")
        for game in options.games:
            _compare(options, place, game)
    return 0


def _compare(options: Options, place: Path, game: str) -> None:
    """Both sides in turn, seed by seed."""
    rows = []
    for seed in options.seeds:
        flags = f"--variant {PEER[game]} --n-steps {TIME} --gen-buf {ENVS * TIME} --steps {STEPS} --seed {seed}"
        theirs = peer_line(options.peer_python, place, "adversarial_variants.py", *flags.split())
        evaluations = len(theirs["curve"]) * 16 / theirs["eval"]["n"] * theirs["eval"]["wall_s"]
        cold = theirs["total_wall_s"] - theirs["eval"]["wall_s"] - evaluations
        mine = _ours(game, place / "expert" / "rollouts", seed, options.many)
        rows.append((cold, theirs["train_wall_s"] - evaluations, theirs["eval"]["mean"], mine))
    print(f"\n{game}: {STEPS} steps       cold, s   warm, s   steps/s warm   return")
    for seed, (cold, warm, earned, mine) in zip(options.seeds, rows, strict=True):
        print(f"imitation, seed {seed}          {cold:8.2f}  {warm:8.2f}  {STEPS / warm:12,.0f}   {earned:.1f}")
        print(
            f"ours, seed {seed}               {mine['cold']:8.2f}  {mine['warm']:8.2f}  "
            f"{STEPS / mine['warm']:12,.0f}   {mine['return']:.1f}"
        )
        print(
            f"  ours is faster            {cold / mine['cold']:8.1f}x {warm / mine['warm']:8.1f}x\n"
            f"  a process later           {mine['later']:8.2f}s {cold / mine['later']:8.1f}x\n"
            f"  {options.many} seeds in {mine['many']:.2f} s: {mine['many'] / mine['warm']:.1f} times one; "
            f"returns {mine['many_returns']}"
        )
    sys.stdout.flush()


def _ours(game: str, demonstrations: Path, seed: int, many: int) -> dict[str, Any]:
    """With an empty cache of compiled programs, and the next process's cold start beside it."""
    with tempfile.TemporaryDirectory() as cache:
        first, later = (_side(game, demonstrations, seed, many, cache) for _ in range(2))
    return first | {"later": later["cold"]}


def _side(game: str, demonstrations: Path, seed: int, many: int, cache: str) -> dict[str, Any]:
    called = [sys.executable, "-m", "experiments.benchmarks.adversarial_side", game, str(demonstrations)]
    called += [str(seed), str(many), repr(time.time())]
    environment = {**os.environ, VARIABLE: cache}
    return _json(subprocess.run(called, capture_output=True, text=True, check=True, env=environment))


def peer_line(python: Path | None, place: Path, script: str, *flags: str) -> dict[str, Any]:
    return _json(subprocess.run([str(python), script, *flags], cwd=place, capture_output=True, text=True, check=True))


def _json(done: subprocess.CompletedProcess) -> dict[str, Any]:
    """The line of JSON in what a process printed."""
    return json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))


if __name__ == "__main__":
    sys.exit(main())
