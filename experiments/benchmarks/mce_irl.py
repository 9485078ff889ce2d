"""MCE-IRL on seals' CliffWorld beside imitation 1.0.1, on the very same tables, in one command.

    python -m experiments.benchmarks.mce_irl --peer-folder FOLDER --peer-python PYTHON

FOLDER holds mce_irl.py of the peer's side, PYTHON has imitation, seals and torch. The peer's interpreter first writes
the tables of seals' CliffWorld (7 x 4, horizon 8) to a file, which ours reads. Both sides learn from the occupancy
measure of the soft-optimal policy. *Cold* is from the start of a process to the learned reward, imports and compilation
included; *warm* is learning alone: ours is a second fit in the same process, the peer's without its imports. The error
is the largest difference of occupancies; the peer stops at 1e-3. Ours fits the peer's kind of reward, a perceptron of
256 units on the coordinates, and then a number of its own for every state.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

BEGUN = time.perf_counter()
WIDTH, HEIGHT, HORIZON = 7, 4, 8
HIDDEN = (256,)
TABLES = """
import sys, numpy
from seals.diagnostics.cliff_world import CliffWorldEnv
env = CliffWorldEnv(width=int(sys.argv[2]), height=int(sys.argv[3]), horizon=int(sys.argv[4]), use_xy_obs=True)
tables = {"transition": env.transition_matrix, "initial": env.initial_state_dist}
numpy.savez(sys.argv[1], **tables, reward=env.reward_matrix, features=env.observation_matrix)
"""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare."""

    peer_folder: Path | None = None
    peer_python: Path | None = None
    seeds: tuple[int, ...] = (0, 1, 2)
    child: Path | None = None
    """Only ours, on these tables: what the command calls itself with."""
    seed: int = 0


def main(arguments: list[str] | None = None) -> int:
    options = tyro.cli(Options, description=__doc__, args=arguments)
    if options.child is not None:
        print(json.dumps(ours(options.child, options.seed)))
        return 0
    assert options.peer_folder is not None and options.peer_python is not None, "--peer-folder and --peer-python"
    with tempfile.TemporaryDirectory() as folder:
        place, tables = Path(folder) / "peer", Path(folder) / "tables.npz"
        shutil.copytree(options.peer_folder, place)
        shape = [str(number) for number in (WIDTH, HEIGHT, HORIZON)]
        _run([str(options.peer_python), "-c", TABLES, str(tables), *shape])
        print(f"CliffWorld {WIDTH} x {HEIGHT}, horizon {HORIZON}    cold, s   warm, s   occupancy error")
        for seed in options.seeds:
            _compare(str(options.peer_python), place, tables, seed)
    return 0


def _compare(python: str, place: Path, tables: Path, seed: int) -> None:
    theirs = _json(_run([python, str(place / "mce_irl.py"), "--seed", str(seed)]))
    called = [sys.executable, "-m", "experiments.benchmarks.mce_irl", "--child", str(tables), "--seed", str(seed)]
    mine = _json(_run(called))
    cold, warm = theirs["total_wall_s"], theirs["train_wall_s"]
    print(f"imitation, seed {seed}              {cold:8.2f}  {warm:8.2f}   {theirs['linf_delta']:.1e}")
    print(f"ours, seed {seed}: perceptron       {mine['cold']:8.2f}  {mine['warm']:8.3f}   {mine['error']:.1e}")
    print(f"  faster                       {cold / mine['cold']:7.1f}x  {warm / mine['warm']:7.0f}x")
    print(f"ours, seed {seed}: of every state            {mine['table_warm']:8.3f}   {mine['table_error']:.1e}")
    print(f"  faster                                 {warm / mine['table_warm']:7.0f}x", flush=True)


def ours(tables: Path, seed: int) -> dict[str, Any]:
    """One fit cold, one warm, and both again of a number for every state."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from irl.control.tabular.full_batch import minimise
    from irl.control.tabular.mce_irl import MceIrl
    from irl.control.tabular.mdp import TabularMdp, occupancy, soft_value_iteration
    from irl.control.tabular.rewards import LinearReward, MlpReward, TabularReward

    with jax.enable_x64(True), np.load(tables) as given:
        read = {name: jnp.asarray(given[name], jnp.float64) for name in given.files}
        mdp = TabularMdp(read["transition"], read["initial"], HORIZON)
        expert = occupancy(mdp, soft_value_iteration(mdp, read["reward"]).policy)

        def fit(reward: TabularReward, tolerance: float) -> tuple[float, float, float]:
            """Seconds since the process began, seconds of a second fit, and its error."""
            algorithm = MceIrl().make(mdp, reward)
            jax.block_until_ready(minimise(algorithm, expert, jax.random.key(seed), steps=1000, tolerance=tolerance))
            cold, begun = time.perf_counter() - BEGUN, time.perf_counter()
            again = minimise(algorithm, expert, jax.random.key(seed + 1000), steps=1000, tolerance=tolerance)
            jax.block_until_ready(again)
            return cold, time.perf_counter() - begun, float(again.info["occupancy_gap"])

        cold, warm, error = fit(MlpReward(hidden=HIDDEN).make(read["features"]), 1e-4)
        _, table_warm, table_error = fit(LinearReward().make(jnp.eye(mdp.states)), 1e-8)
    return {"cold": cold, "warm": warm, "error": error, "table_warm": table_warm, "table_error": table_error}


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _json(printed: str) -> dict[str, Any]:
    """The line of JSON in what a process printed."""
    return json.loads(next(line for line in reversed(printed.splitlines()) if line.startswith("{")))


if __name__ == "__main__":
    sys.exit(main())
