"""Preference comparisons on Pendulum-v1, compared with imitation 1.0.1, in one command.

    python -m experiments.benchmarks.preference_comparisons --peer-folder FOLDER --peer-python PYTHON

Both sides: an initial round and 60 others, 1,000 comparisons of fragments of 100 steps, answered with the probability
of eq. 1 of Christiano et al.; then a new PPO, trained for 100,000 steps on the frozen reward. Ours has the settings of
configs/pendulum_preferences.py.

*Cold* is the time from the start of a process to the trained policy, including imports and compilation. *Warm* is
training alone: for ours a second training in the same process. *Whole* is the time of the whole process, including the
new policy and all evaluations. Greedy returns are from the 50 initial states of the peer's evaluation (optimum -120.7,
by value iteration on a fine grid), for ours also from 500 others (-139.2). *Correlation* is Pearson's, of learned and
true reward on steps of random actions.
"""

import os
import sys
import time
from dataclasses import dataclass

from experiments.benchmarks.peer import Peer, PeerOptions, main, run_child

STARTS, EPISODES = 50, 500


@dataclass(frozen=True, kw_only=True)
class Options(PeerOptions):
    """What to compare."""

    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of ours, each in a process of its own."""
    peer_seeds: tuple[int, ...] = (0,)
    rounds: int = 60
    comparisons: int = 1000
    peer_steps: int = 60_000
    """Divided by the rounds on the peer's side, which takes about twice as many steps because it also explores."""
    fresh_steps: int = 100_000


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


def compare(options: Options) -> None:
    print(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"{'':20}" + "".join(f"{title:>14}" for title in COLUMNS.values()), flush=True)
    sizes = {name: getattr(options, name) for name in ("rounds", "comparisons", "fresh_steps")}
    mine = [
        _row(f"ours, seed {seed}", run_child("preference_comparisons", {**sizes, "seed": seed}))
        for seed in options.seeds
    ]
    with options.scripts() as peer:
        theirs = [_row(f"imitation, seed {seed}", _peer(options, peer, seed)) for seed in options.peer_seeds]
    for name in ("cold", "warm", "whole"):
        fast, slow = ([row[name] for row in rows] for rows in (mine, theirs))
        ratio = sum(slow) / len(slow) / (sum(fast) / len(fast))
        print(f"{name}: ours is {ratio:.1f} times as fast (means), {min(slow) / max(fast):.1f} in the worst case")


def _row(name: str, result: dict[str, float]) -> dict[str, float]:
    digits = {"steps": 0, "correlation": 4}
    cells = [f"{result[key]:14,.{digits.get(key, 1)}f}" if key in result else f"{'':14}" for key in COLUMNS]
    print(f"{name:20}" + "".join(cells), flush=True)
    return result


def _peer(options: Options, peer: Peer, seed: int) -> dict[str, float]:
    """Times exclude evaluations, except that of the correlation, which takes one second."""
    result = peer.run(
        "prefs.py",
        iterations=options.rounds,
        comparisons=options.comparisons,
        steps=options.peer_steps,
        learner_steps=options.fresh_steps,
        seed=seed,
    )
    evaluations = result["eval"]["wall_s"] + result["agent_eval"]["wall_s"]
    return {
        "cold": result["total_wall_s"] - result["learner_wall_s"] - evaluations,
        "warm": result["train_wall_s"],
        "whole": result["total_wall_s"],
        "steps": result["agent_steps"],
        "return": result["agent_eval"]["mean"],
        "fresh": result["eval"]["mean"],
        "correlation": result["reward_corr_random"],
    }


def ours(rounds: int, comparisons: int, fresh_steps: int, seed: int, started: float) -> dict[str, float]:
    """One cold training with its evaluation, a new policy, and a second, warm training."""
    from dataclasses import replace

    from experiments.core.memory import keep_freed_memory

    keep_freed_memory()
    import jax
    import jax.numpy as jnp

    from configs.pendulum_preferences import config
    from irl.control.agent import random_agent
    from irl.control.algorithms.annotators import Synthetic
    from irl.control.algorithms.preference_comparisons import learned_reward
    from irl.control.learners.reward_override import with_reward
    from irl.control.rollout.in_graph import collect, in_graph, reset, returns

    assert isinstance(config.answers, Synthetic)
    answers = config.answers
    settings = replace(config.comparisons, rounds=rounds, comparisons=comparisons)
    world = config.environment.backend().environment
    learner = config.learner.make(world.observation, world.action)
    network = settings.network.make(world.observation, world.action)
    steps_each = config.envs * config.time

    def train(agent, key, rounds):
        algorithm = in_graph(world, agent, envs=config.envs, time=config.time)
        keys = jax.random.split(key, rounds)
        return jax.lax.scan(lambda s, k: (algorithm.step(s, None, k)[0], None), algorithm.init(key), keys)[0].agent

    def learn(key):
        return train(settings.make(learner, world.observation, world.action, answers), key, rounds + 1)

    def fresh(state, key):
        agent = with_reward(learner, lambda transitions: learned_reward(network, state, transitions))
        return train(agent, key, max(fresh_steps // steps_each, 1))

    def evaluate(state, policy):
        environments = reset(world, 40, jax.random.key(1))
        agent, key = random_agent(world.action), jax.random.key(2)
        rollout = collect(world, agent, None, environments, key, world.horizon)[1]
        learned = learned_reward(network, state, rollout.transitions())
        correlation = jnp.corrcoef(learned, rollout.reward.reshape(-1))[0, 1]
        others = returns(world, learner, policy, jax.random.key(3), EPISODES)
        return correlation, _from_peers_starts(world, learner, policy), others

    single, evaluate = jax.jit(learn), jax.jit(evaluate)
    state = jax.block_until_ready(single(jax.random.key(seed)))
    cold = time.time() - started
    correlation, own, others = evaluate(state, state.learner)
    policy = jax.jit(fresh)(state, jax.random.key(seed + 1000))
    arrays = {"return": own.mean(), "others": others.mean(), "fresh": evaluate(state, policy)[1].mean()}
    arrays |= {"correlation": correlation, "cold": cold, "steps": (rounds + 1) * steps_each}
    result = {name: float(value) for name, value in arrays.items()} | {"whole": time.time() - started}
    begun = time.perf_counter()
    jax.block_until_ready(single(jax.random.key(seed + 2000)))
    return result | {"warm": time.perf_counter() - begun}


def _from_peers_starts(world, learner, policy):
    """Returns from the initial states of the peer: 8 environments, reset from seeds 12345 + i, 50 episodes."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from irl.control.rollout.in_graph import clipped

    high = np.array([np.pi, 1.0])
    generators = [np.random.Generator(np.random.PCG64(np.random.SeedSequence(12345 + i))) for i in range(8)]
    starts = [g.uniform(-high, high) for i, g in enumerate(generators) for _ in range((STARTS + i) // 8)]
    angle, speed = jnp.asarray(np.array(starts, np.float32).T)
    keys = jax.random.split(jax.random.key(0), STARTS)
    state = jax.vmap(world.reset)(keys)[0]._replace(physics=jnp.stack([angle, speed], axis=1))

    def step(carry, _):
        state, observation = carry
        actions = clipped(world.action, learner.greedy(policy, observation))
        state, outcome = jax.vmap(world.step)(state, actions, keys)
        return (state, outcome.observation), outcome.reward

    observation = jnp.stack([jnp.cos(angle), jnp.sin(angle), speed], axis=1)
    return jax.lax.scan(step, (state, observation), None, length=world.horizon)[1].sum(axis=0)


if __name__ == "__main__":
    sys.exit(main(Options, __doc__, compare, ours))
