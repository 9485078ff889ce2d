"""Behavioural cloning, DAgger, density and SQIL on seals/CartPole-v0, compared with imitation 1.0.1, in one command.

    python -m experiments.benchmarks.imitators --peer-folder FOLDER --peer-python PYTHON

Both sides learn from the peer's demonstrations, with the same number of samples or environment steps. *Cold* is the
time from the start of a process to the trained policy, *warm* that of training alone: for ours a second training in the
same process. The expert that DAgger queries is the peer's expert on the peer's side; on ours a clone of its 64
demonstrations, trained before the clock starts. Returns are of 100 greedy episodes (peer: 20 to 100).
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from experiments.benchmarks.peer import PeerOptions, main, run_child

IMITATORS = ("bc", "dagger", "density", "sqil")


@dataclass(frozen=True, kw_only=True)
class Options(PeerOptions):
    """What to compare."""

    imitators: tuple[str, ...] = IMITATORS
    seeds: tuple[int, ...] = (10, 11, 12)


def compare(options: Options) -> None:
    with options.scripts(expert=True) as peer:
        for name in options.imitators:
            sides: dict[str, list[dict[str, float]]] = {"imitation": [], "ours": []}
            for seed in options.seeds:
                result = peer.run(f"{name}_cartpole.py", seed=seed)
                evaluations = sum(result[part]["wall_s"] for part in ("before", "eval", "expert") if part in result)
                theirs = {"cold": result["total_wall_s"] - evaluations, "return": result["eval"]["mean"]}
                sides["imitation"].append(theirs | {"warm": result["train_wall_s"] + result.get("fit_s", 0.0)})
                arguments = {"name": name, "demonstrations": str(peer.demonstrations), "seed": seed}
                sides["ours"].append(run_child("imitators", arguments))
            _print(name, sides)


def _print(name: str, sides: dict[str, list[dict[str, float]]]) -> None:
    means = {side: [sum(r[k] for r in rows) / len(rows) for k in ("cold", "warm")] for side, rows in sides.items()}
    for side, (cold, warm) in means.items():
        returns = ", ".join(f"{row['return']:.1f}" for row in sides[side])
        print(f"{name:8s} {side:10s} cold {cold:7.2f} s   warm {warm:7.3f} s   returns {returns}")
    cold, warm = (theirs / ours for theirs, ours in zip(means["imitation"], means["ours"], strict=True))
    print(f"{name:8s} ours is {cold:.1f} times as fast cold, {warm:.1f} times warm", flush=True)


def settings() -> dict[str, Any]:
    """Our settings: as many samples or steps as the peer's."""
    from experiments.control.imitate import Imitate
    from irl.control.algorithms.behavioural_cloning import BehaviouralCloning
    from irl.control.algorithms.dagger import Dagger
    from irl.control.algorithms.density import Density
    from irl.control.algorithms.sqil import Sqil
    from irl.control.learners.ppo import Ppo
    from irl.train import Schedule

    base = Imitate(title="comparison with imitation", scale=False, seeds=1)
    ppo = Ppo(learning_rate=1e-3, discount=0.95, minibatch=64)
    return {
        "bc": replace(base, imitator=BehaviouralCloning(), schedule=Schedule(steps=1)),
        "dagger": replace(base, imitator=Dagger(), envs=8, time=50, schedule=Schedule(steps=5)),
        "density": replace(base, imitator=Density(), learner=ppo, schedule=Schedule(steps=25)),
        "sqil": replace(base, imitator=Sqil(), scale=True, envs=8, time=8, schedule=Schedule(steps=782)),
    }


DEMONSTRATIONS = {"bc": 50, "density": 10}
"""Number of demonstrations in the peer's scripts, if not all 64."""


def ours(name: str, demonstrations: str, seed: int, started: float) -> dict[str, float]:
    """One cold and one warm training."""
    import jax

    from experiments.control.backends import InGraph
    from experiments.control.expert import Demonstrations, Expert
    from experiments.control.imitate import agent_of, prepare
    from irl.control.algorithms.behavioural_cloning import BehaviouralCloning, train_epochs
    from irl.control.rollout.in_graph import in_graph, returns
    from irl.control.trajectories.files import read_trajectories

    config = settings()[name]
    backend = config.environment.backend()
    data = Demonstrations(read_trajectories(demonstrations)[: DEMONSTRATIONS.get(name)], None)
    preparing = time.perf_counter()
    learner = config.learner.make(backend.observation, backend.action)
    cloning = BehaviouralCloning().make(learner, backend.action)
    if name == "dagger":
        steps = prepare(config, backend, data).demonstrations
        clone = train_epochs(cloning, cloning.init(jax.random.key(0)), steps, jax.random.key(1), epochs=2)[0].agent
        data = data._replace(expert=Expert(learner, jax.block_until_ready(clone)))
    preparation = time.perf_counter() - preparing
    setting = prepare(config, backend, data)
    agent = agent_of(config, setting)[0]
    assert isinstance(setting.backend, InGraph)
    environment = setting.backend.environment

    def cloned(key: jax.Array):
        return train_epochs(cloning, cloning.init(key), setting.demonstrations, key, epochs=1)[0].agent

    def trained(key: jax.Array):
        algorithm = in_graph(environment, agent, envs=config.envs, time=config.time)
        keys = jax.random.split(key, config.schedule.steps)
        step = lambda state, key: (algorithm.step(state, setting.demonstrations, key)[0], None)  # noqa: E731
        return jax.lax.scan(step, algorithm.init(key), keys)[0].agent

    fit: Callable = jax.jit(cloned if name == "bc" else trained)
    jax.block_until_ready(fit(jax.random.key(seed + 1000)))
    cold = time.time() - started - preparation
    begun = time.perf_counter()
    state = jax.block_until_ready(fit(jax.random.key(seed)))
    warm = time.perf_counter() - begun
    mean_return = returns(environment, agent, state, jax.random.key(1), 100).mean()
    return {"cold": cold, "warm": warm, "return": float(mean_return)}


if __name__ == "__main__":
    sys.exit(main(Options, __doc__, compare, ours))
