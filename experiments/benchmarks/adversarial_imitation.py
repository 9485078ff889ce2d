"""GAIL and AIRL on seals/CartPole-v0, compared with imitation 1.0.1 on the same demonstrations, in one command.

    python -m experiments.benchmarks.adversarial_imitation --peer-folder FOLDER --peer-python PYTHON

Both sides learn from the peer's demonstrations: 8 environments, 256 steps a round, 65 rounds (133,120 steps). *Cold* is
the time from the start of a process to the trained policy, including imports and compilation. *Warm* is training alone:
for ours a second training in the same process, for the peer without its imports and evaluations. Ours
(adversarial_side.py) is repeated with 16 seeds at once, and in a second process that reuses the compiled programs of
the first (compilation_cache.py).
"""

import os
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import tyro

from experiments.benchmarks.adversarial_side import ENVS, STEPS, TIME
from experiments.benchmarks.peer import Peer, PeerOptions, run_child
from experiments.core.compilation_cache import VARIABLE

PEER = {"gail": "rounds", "airl": "airl-rounds"}


@dataclass(frozen=True, kw_only=True)
class Options(PeerOptions):
    """What to compare."""

    algorithms: tuple[str, ...] = ("gail", "airl")
    seeds: tuple[int, ...] = (0, 1)
    many: int = 16
    """Seeds at once."""


def main() -> int:
    options = tyro.cli(Options, description=__doc__)
    with options.scripts(expert=True) as peer:
        for algorithm in options.algorithms:
            print(f"\n{algorithm}: {STEPS} steps       cold, s   warm, s   steps/s warm   return")
            for seed in options.seeds:
                _compare(peer, algorithm, seed, options.many)
    return 0


def _compare(peer: Peer, algorithm: str, seed: int, many: int) -> None:
    theirs = peer.run(
        "adversarial_variants.py", variant=PEER[algorithm], n_steps=TIME, gen_buf=ENVS * TIME, steps=STEPS, seed=seed
    )
    evaluations = len(theirs["curve"]) * 16 / theirs["eval"]["n"] * theirs["eval"]["wall_s"]
    cold = theirs["total_wall_s"] - theirs["eval"]["wall_s"] - evaluations
    warm = theirs["train_wall_s"] - evaluations
    arguments = {"algorithm": algorithm, "demonstrations": str(peer.demonstrations), "seed": seed, "many": many}
    with tempfile.TemporaryDirectory() as cache:
        ours, later = (run_child("adversarial_side", arguments, {**os.environ, VARIABLE: cache}) for _ in range(2))
    _row(f"imitation, seed {seed}", cold, warm, theirs["eval"]["mean"])
    _row(f"ours, seed {seed}", ours["cold"], ours["warm"], ours["return"])
    print(
        f"  ours is faster            {cold / ours['cold']:8.1f}x {warm / ours['warm']:8.1f}x\n"
        f"  a later process           {later['cold']:8.2f}s {cold / later['cold']:8.1f}x\n"
        f"  {many} seeds in {ours['many']:.2f} s: {ours['many'] / ours['warm']:.1f} times one; "
        f"returns {ours['many_returns']}",
        flush=True,
    )


def _row(name: str, cold: float, warm: float, mean_return: Any) -> None:
    print(f"{name:27s} {cold:8.2f}  {warm:8.2f}  {STEPS / warm:12,.0f}   {mean_return:.1f}")


if __name__ == "__main__":
    sys.exit(main())
