"""Behavioural cloning, DAgger, density and SQIL on seals/CartPole-v0 beside imitation 1.0.1, in one command.

    python -m experiments.benchmarks.imitators --peer-folder FOLDER --peer-python PYTHON

FOLDER holds make_expert.py and the scripts of the peer's side, PYTHON has imitation, seals and torch. The peer trains
an expert and writes its demonstrations, which both sides learn from, by as many samples or steps of the environment.
*Cold* is from the start of a process to the trained policy, *warm* training alone: ours is a second training in the
same process. What DAgger asks is, on the peer's side, its expert; on ours a clone of its 64 demonstrations, made before
the clock of training starts. Returns are of 100 greedy episodes (peer: 20 to 100).
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.benchmarks.adversarial_imitation import peer_line

BEGUN = time.perf_counter()
PEER = {
    "bc": "bc_cartpole.py",
    "dagger": "dagger_cartpole.py",
    "density": "density_cartpole.py",
    "sqil": "sqil_cartpole.py",
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare."""

    peer_folder: Path | None = None
    peer_python: Path | None = None
    imitators: tuple[str, ...] = tuple(PEER)
    seeds: tuple[int, ...] = (10, 11, 12)
    child: str | None = None
    """Only ours, one imitator: what the command calls itself with."""
    demonstrations: Path | None = None
    seed: int = 0


def main(arguments: list[str] | None = None) -> int:
    options = tyro.cli(Options, description=__doc__, args=arguments)
    if options.child is not None:
        assert options.demonstrations is not None
        print(json.dumps(ours(options.child, options.demonstrations, options.seed)))
        return 0
    assert options.peer_folder is not None and options.peer_python is not None, "--peer-folder and --peer-python"
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "peer"
        shutil.copytree(options.peer_folder, place)
        place.chmod(0o755)
        peer_line(options.peer_python, place, "make_expert.py")
        for name in options.imitators:
            _compare(options.peer_python, place, name, options.seeds)
    return 0


def _compare(peer: Path, place: Path, name: str, seeds: tuple[int, ...]) -> None:
    """Both sides in turn, seed by seed."""
    rows = []
    for seed in seeds:
        theirs = peer_line(peer, place, PEER[name], "--seed", str(seed))
        evaluations = sum(theirs[part]["wall_s"] for part in ("before", "eval", "expert") if part in theirs)
        cold, warm = theirs["total_wall_s"] - evaluations, theirs["train_wall_s"] + theirs.get("fit_s", 0.0)
        called = [sys.executable, "-m", "experiments.benchmarks.imitators", "--child", name, "--seed", str(seed)]
        called += ["--demonstrations", str(place / "expert" / "rollouts")]
        printed = subprocess.run(called, capture_output=True, text=True, check=True).stdout
        mine = json.loads(printed.splitlines()[-1])
        rows.append((cold, warm, theirs["eval"]["mean"], mine["cold"], mine["warm"], mine["return"]))
    table = np.array(rows)
    for side, columns in (("imitation", table[:, :3]), ("ours", table[:, 3:])):
        cold, warm, _ = columns.mean(axis=0)
        earned = ", ".join(f"{value:.1f}" for value in columns[:, 2])
        print(f"{name:8s} {side:10s} cold {cold:7.2f} s   warm {warm:7.3f} s   returns {earned}")
    means = table.mean(axis=0)
    print(f"{name:8s} ours is {means[0] / means[3]:.1f} times as fast cold, {means[1] / means[4]:.1f} times warm")
    sys.stdout.flush()


def settings() -> dict[str, Any]:
    """Ours: as many samples or steps as the peer takes."""
    from experiments.control.imitate import Imitate
    from irl.control.algorithms.behavioural_cloning import BehaviouralCloning
    from irl.control.algorithms.dagger import Dagger
    from irl.control.algorithms.density import Density
    from irl.control.algorithms.sqil import Sqil
    from irl.control.learners.ppo import Ppo
    from irl.train import Schedule

    base = Imitate(title="beside imitation", scale=False, seeds=1)
    ppo = Ppo(learning_rate=1e-3, discount=0.95, minibatch=64)
    density = replace(base, imitator=Density(), learner=ppo, schedule=Schedule(steps=25))
    return {
        "bc": replace(base, imitator=BehaviouralCloning(), schedule=Schedule(steps=1)),
        "dagger": replace(base, imitator=Dagger(), envs=8, time=50, schedule=Schedule(steps=5)),
        "density": density,
        "sqil": replace(base, imitator=Sqil(), scale=True, envs=8, time=8, schedule=Schedule(steps=782)),
    }


DEMONSTRATIONS = {"bc": 50, "density": 10}
"""Episodes that the peer's scripts learn from; all 64 where nothing is said."""


def ours(name: str, demonstrations: Path, seed: int) -> dict[str, float]:
    """One training cold and one warm."""
    import jax

    from experiments.control.backends import InGraph
    from experiments.control.expert import Demonstrated, Expert
    from experiments.control.imitate import agent_of, scene_of
    from irl.control.algorithms.behavioural_cloning import BehaviouralCloning, train_epochs
    from irl.control.rollout.in_graph import in_graph, returns
    from irl.control.trajectories.files import read_trajectories

    config = settings()[name]
    backend = config.environment.backend()
    shown = Demonstrated(read_trajectories(demonstrations)[: DEMONSTRATIONS.get(name)], None)
    prepared = time.perf_counter()
    learner = config.learner.make(backend.observation, backend.action)
    cloning = BehaviouralCloning().make(learner, backend.action)
    if name == "dagger":
        steps = scene_of(config, backend, shown).demonstrations
        clone = train_epochs(cloning, cloning.init(jax.random.key(0)), steps, jax.random.key(1), epochs=2)[0].agent
        shown = shown._replace(expert=Expert(learner, jax.block_until_ready(clone)))
    preparation = time.perf_counter() - prepared
    scene = scene_of(config, backend, shown)
    agent = agent_of(config, scene)[0]
    assert isinstance(scene.backend, InGraph)
    environment = scene.backend.environment

    def cloned(key: jax.Array):
        return train_epochs(cloning, cloning.init(key), scene.demonstrations, key, epochs=1)[0].agent

    def trained(key: jax.Array):
        algorithm = in_graph(environment, agent, envs=config.envs, time=config.time)
        keys = jax.random.split(key, config.schedule.steps)
        step = lambda state, key: (algorithm.step(state, scene.demonstrations, key)[0], None)  # noqa: E731
        return jax.lax.scan(step, algorithm.init(key), keys)[0].agent

    fit: Callable = jax.jit(cloned if name == "bc" else trained)
    jax.block_until_ready(fit(jax.random.key(seed + 1000)))
    cold = time.perf_counter() - BEGUN - preparation
    begun = time.perf_counter()
    state = jax.block_until_ready(fit(jax.random.key(seed)))
    warm = time.perf_counter() - begun
    earned = returns(environment, agent, state, jax.random.key(1), 100)
    return {"cold": cold, "warm": warm, "return": float(earned.mean())}


if __name__ == "__main__":
    sys.exit(main())
