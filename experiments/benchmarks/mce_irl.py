"""MCE-IRL on CliffWorld of seals, compared with imitation 1.0.1 on the same tables, in one command.

    python -m experiments.benchmarks.mce_irl --peer-folder FOLDER --peer-python PYTHON

The peer's interpreter first writes the tables of CliffWorld (7 x 4, horizon 8) to a file. Both sides learn from the
occupancy of the soft-optimal policy. *Cold* is the time from the start of a process to the learned reward, including
imports and compilation; *warm* is learning alone: for ours a second fit in the same process, for the peer without its
imports. The error is the largest difference of occupancies; the peer stops at 1e-3. Ours fits the peer's kind of
reward, a perceptron with 256 units on the coordinates, and a reward with one parameter per state.
"""

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.benchmarks.peer import PeerOptions, main, run_child

WIDTH, HEIGHT, HORIZON = 7, 4, 8
HIDDEN = (256,)
TABLES = f"""
import sys, numpy
from seals.diagnostics.cliff_world import CliffWorldEnv
env = CliffWorldEnv(width={WIDTH}, height={HEIGHT}, horizon={HORIZON}, use_xy_obs=True)
tables = {{"transition": env.transition_matrix, "initial": env.initial_state_dist}}
numpy.savez(sys.argv[1], **tables, reward=env.reward_matrix, features=env.observation_matrix)
"""


@dataclass(frozen=True, kw_only=True)
class Options(PeerOptions):
    """What to compare."""

    seeds: tuple[int, ...] = (0, 1, 2)


def compare(options: Options) -> None:
    with options.scripts() as peer, tempfile.TemporaryDirectory() as folder:
        tables = str(Path(folder) / "tables.npz")
        subprocess.run([str(options.peer_python), "-c", TABLES, tables], check=True, stdout=subprocess.DEVNULL)
        print(f"CliffWorld {WIDTH} x {HEIGHT}, horizon {HORIZON}    cold, s   warm, s   occupancy error")
        for seed in options.seeds:
            theirs, mine = peer.run("mce_irl.py", seed=seed), run_child("mce_irl", {"tables": tables, "seed": seed})
            cold, warm = theirs["total_wall_s"], theirs["train_wall_s"]
            print(f"imitation, seed {seed}              {cold:8.2f}  {warm:8.2f}   {theirs['linf_delta']:.1e}")
            print(f"ours, seed {seed}: perceptron       {mine['cold']:8.2f}  {mine['warm']:8.3f}   {mine['error']:.1e}")
            print(f"  faster                       {cold / mine['cold']:7.1f}x  {warm / mine['warm']:7.0f}x")
            print(f"ours, seed {seed}: one per state             {mine['table_warm']:8.3f}   {mine['table_error']:.1e}")
            print(f"  faster                                 {warm / mine['table_warm']:7.0f}x", flush=True)


def ours(tables: str, seed: int, started: float) -> dict[str, Any]:
    """One cold and one warm fit of each kind of reward."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from irl.control.tabular.full_batch import minimise
    from irl.control.tabular.mce_irl import MceIrl
    from irl.control.tabular.mdp import TabularMdp, occupancy, soft_value_iteration
    from irl.control.tabular.rewards import LinearReward, MlpReward, TabularReward

    with jax.enable_x64(True), np.load(tables) as file:
        arrays = {name: jnp.asarray(file[name], jnp.float64) for name in file.files}
        mdp = TabularMdp(arrays["transition"], arrays["initial"], HORIZON)
        expert = occupancy(mdp, soft_value_iteration(mdp, arrays["reward"]).policy)

        def fit(reward: TabularReward, tolerance: float) -> tuple[float, float, float]:
            """Seconds since the start of the process, seconds of a second fit, and its error."""
            algorithm = MceIrl().make(mdp, reward)
            jax.block_until_ready(minimise(algorithm, expert, jax.random.key(seed), steps=1000, tolerance=tolerance))
            cold, begun = time.time() - started, time.perf_counter()
            again = minimise(algorithm, expert, jax.random.key(seed + 1000), steps=1000, tolerance=tolerance)
            jax.block_until_ready(again)
            return cold, time.perf_counter() - begun, float(again.info["occupancy_gap"])

        cold, warm, error = fit(MlpReward(hidden=HIDDEN).make(arrays["features"]), 1e-4)
        _, table_warm, table_error = fit(LinearReward().make(jnp.eye(mdp.states)), 1e-8)
    return {"cold": cold, "warm": warm, "error": error, "table_warm": table_warm, "table_error": table_error}


if __name__ == "__main__":
    sys.exit(main(Options, __doc__, compare, ours))
