"""Preference comparisons on Pendulum-v1 beside imitation 1.0.1, in one command.

    python -m experiments.benchmarks.preference_comparisons --peer-folder FOLDER --peer-python PYTHON

FOLDER holds prefs.py of the peer's side, PYTHON has imitation and torch. Both sides: an initial round and 60 others,
1,000 comparisons of fragments of 100 steps, answered with the probability that eq. 1 of Christiano et al. gives; then a
fresh PPO, 100,000 steps on the frozen reward. Ours are the settings of configs/pendulum_preferences.py.

*Cold* is from the start of a process to the trained policy: imports, compilation. *Warm* is training alone: ours is a
second training in the same process. *Whole* is the process from its start to its last number, the fresh policy and all
evaluations included. Returns of the policy's means are from the 50 starts on which the peer judges its own (the best
possible there is -120.7, by value iteration on a fine grid), ours also from 500 others (-139.2). *Correlation* is
Pearson's, of learned and true reward on steps of random actions.
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

BEGUN = time.perf_counter()

import tyro  # noqa: E402

STARTS, EPISODES = 50, 500


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to compare."""

    peer_folder: Path | None = None
    peer_python: Path | None = None
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Of ours, each in a process of its own."""
    peer_seeds: tuple[int, ...] = (0,)
    rounds: int = 60
    comparisons: int = 1000
    peer_steps: int = 60_000
    """What the peer divides by the rounds; it does about twice as many, as it explores beside."""
    fresh_steps: int = 100_000
    child: int | None = None
    """Only ours, this seed: what the command calls itself with."""


def main(arguments: list[str] | None = None) -> int:
    options = tyro.cli(Options, description=__doc__, args=arguments)
    if options.child is not None:
        print(json.dumps(ours(options, options.child)))
        return 0
    assert options.peer_folder is not None and options.peer_python is not None, "--peer-folder and --peer-python"
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores\n{HEAD}", flush=True)
    mine = [_row(f"ours, seed {seed}", _of_ours(options, seed)) for seed in options.seeds]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "peer"
        shutil.copytree(options.peer_folder, place)
        theirs = [_row(f"imitation, seed {seed}", _of_peer(options, place, seed)) for seed in options.peer_seeds]
    for name in ("cold", "warm", "whole"):
        fast, slow = ([row[name] for row in rows] for rows in (mine, theirs))
        ratio = sum(slow) / len(slow) / (sum(fast) / len(fast))
        print(f"{name}: ours is {ratio:.1f} times as fast (means), {min(slow) / max(fast):.1f} in the worst case")
    return 0


COLUMNS = {
    "cold": "cold, s",
    "warm": "warm, s",
    "whole": "whole, s",
    "steps": "steps",
    "return": "return",
    "others": "500 others",
    "fresh": "fresh policy",
    "correlation": "correlation",
}
HEAD = f"{'':20}" + "".join(f"{title:>14}" for title in COLUMNS.values())


def _row(name: str, found: dict[str, float]) -> dict[str, float]:
    digits = {"steps": 0, "correlation": 4}
    cells = [f"{found[key]:14,.{digits.get(key, 1)}f}" if key in found else f"{'':14}" for key in COLUMNS]
    print(f"{name:20}" + "".join(cells), flush=True)
    return found


def _of_ours(options: Options, seed: int) -> dict[str, float]:
    flags = {
        "child": seed,
        "rounds": options.rounds,
        "comparisons": options.comparisons,
        "fresh-steps": options.fresh_steps,
    }
    called = [sys.executable, "-m", "experiments.benchmarks.preference_comparisons"]
    return _json([*called, *(part for name, value in flags.items() for part in (f"--{name}", str(value)))])


def _of_peer(options: Options, place: Path, seed: int) -> dict[str, float]:
    """Its times without its evaluations; its correlation, a second of random actions, stays in."""
    sizes = {"iterations": options.rounds, "comparisons": options.comparisons}
    sizes |= {"steps": options.peer_steps, "learner-steps": options.fresh_steps, "seed": seed}
    flags = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    found = _json([str(options.peer_python), str(place / "prefs.py"), *flags], place)
    judged = found["eval"]["wall_s"] + found["agent_eval"]["wall_s"]
    return {
        "cold": found["total_wall_s"] - found["learner_wall_s"] - judged,
        "warm": found["train_wall_s"],
        "whole": found["total_wall_s"],
        "steps": found["agent_steps"],
        "return": found["agent_eval"]["mean"],
        "fresh": found["eval"]["mean"],
        "correlation": found["reward_corr_random"],
    }


def _json(command: list[str], place: Path | None = None) -> dict[str, Any]:
    """The line of JSON in what a process prints."""
    done = subprocess.run(command, cwd=place, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(next(line for line in reversed(done.stdout.splitlines()) if line.startswith("{")))


def ours(options: Options, seed: int) -> dict[str, float]:
    """One training cold, what came of it, a fresh policy, and a second training warm."""
    from dataclasses import replace

    from experiments.core.memory import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp

    from configs.pendulum_preferences import config
    from experiments.control.backends import random_agent
    from irl.control.algorithms.annotators import Synthetic
    from irl.control.algorithms.preference_comparisons import learned_reward
    from irl.control.learners.reward_override import rewarded
    from irl.control.rollout.in_graph import begin, collect, in_graph, returns

    assert isinstance(config.answers, Synthetic)
    answers = config.answers
    comparisons = replace(config.comparisons, rounds=options.rounds, comparisons=options.comparisons)
    world = config.environment.backend().environment
    learner = config.learner.make(world.observation, world.action)
    network = comparisons.network.make(world.observation, world.action)
    each = config.envs * config.time

    def train(agent, key, rounds):
        algorithm = in_graph(world, agent, envs=config.envs, time=config.time)
        keys = jax.random.split(key, rounds)
        return jax.lax.scan(lambda s, k: (algorithm.step(s, None, k)[0], None), algorithm.init(key), keys)[0].agent

    def learn(key):
        agent = comparisons.make(learner, world.observation, world.action, answers)
        return train(agent, key, options.rounds + 1)

    def fresh(state, key):
        paid = rewarded(learner, lambda transitions: learned_reward(network, state, transitions))
        return train(paid, key, max(options.fresh_steps // each, 1))

    def judge(state, policy):
        lanes = begin(world, 40, jax.random.key(1))
        made = collect(world, random_agent(world.action), None, lanes, jax.random.key(2), world.horizon)[1]
        said = learned_reward(network, state, made.transitions())
        both = jnp.corrcoef(said, made.reward.reshape(-1))[0, 1]
        return (
            both,
            _from_peers_starts(world, learner, policy),
            returns(world, learner, policy, jax.random.key(3), EPISODES),
        )

    single, judge = jax.jit(learn), jax.jit(judge)
    state = jax.block_until_ready(single(jax.random.key(seed)))
    cold = time.perf_counter() - BEGUN
    correlation, earned, others = judge(state, state.learner)
    policy = jax.jit(fresh)(state, jax.random.key(seed + 1000))
    found = {"cold": cold, "steps": (options.rounds + 1) * each, "correlation": correlation}
    found |= {"return": earned.mean(), "others": others.mean(), "fresh": judge(state, policy)[1].mean()}
    found = {name: float(value) for name, value in found.items()} | {"whole": time.perf_counter() - BEGUN}
    begun = time.perf_counter()
    jax.block_until_ready(single(jax.random.key(seed + 2000)))
    return found | {"warm": time.perf_counter() - begun}


def _from_peers_starts(world, learner, policy):
    """Returns from where the peer judges: 8 environments that Gymnasium resets from seeds 12345 + i, 50 episodes."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from irl.control.rollout.in_graph import clipped

    high = np.array([np.pi, 1.0])
    generators = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(12345 + i))) for i in range(8)]
    drawn = [g.uniform(-high, high) for i, g in enumerate(generators) for _ in range((STARTS + i) // 8)]
    angle, speed = jnp.asarray(np.array(drawn, np.float32).T)
    keys = jax.random.split(jax.random.key(0), STARTS)
    inner = jax.vmap(world.reset)(keys)[0]._replace(physics=jnp.stack([angle, speed], axis=1))

    def step(carry, _):
        inner, seen = carry
        inner, outcome = jax.vmap(world.step)(inner, clipped(world.action, learner.best(policy, seen)), keys)
        return (inner, outcome.observation), outcome.reward

    seen = jnp.stack([jnp.cos(angle), jnp.sin(angle), speed], axis=1)
    return jax.lax.scan(step, (inner, seen), None, length=world.horizon)[1].sum(axis=0)


if __name__ == "__main__":
    sys.exit(main())
