"""Our side of `adversarial_imitation`: one game in a process of its own, so that its start can be timed.

    python -m experiments.benchmarks.adversarial_side GAME DEMONSTRATIONS SEED MANY STARTED

STARTED is time.time() when the process was. The last line printed is JSON: seconds and returns.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.core.compilation_cache import keep_compiled_programs
from irl.algorithms.base import Algorithm, State
from irl.control.agent import Agent
from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.airl import TransitionAirl
from irl.control.algorithms.gail import Gail
from irl.control.environments.scaled import moments_of, scaled, scaled_environment, scaled_space
from irl.control.environments.seals import seals_cartpole
from irl.control.learners.ppo import Ppo
from irl.control.moments import Moments
from irl.control.rewards import RewardMlp, ShapedReward
from irl.control.rollout.in_graph import in_graph, returns
from irl.control.spaces import Space
from irl.control.trajectories.files import read_trajectories
from irl.control.trajectories.trajectory import to_transitions
from irl.control.types import Transitions

LIGHT = {"xla_backend_optimization_level": 1}
"""Training of networks as small as these is as fast at LLVM's level 1, and compiled in three quarters of the time."""
COMPILER = {"gail": LIGHT | {"xla_cpu_use_fusion_emitters": False}, "airl": LIGHT}
"""Without the newer emitters GAIL is compiled in half the time and half as fast: it trains for less than a second."""

STEPS, ENVS, TIME = 133_120, 8, 256
ROUNDS = STEPS // (ENVS * TIME)
Training = Callable[[Moments, Transitions, jax.Array], State]
"""(moments, demonstrations in their units, key or keys of seeds) -> what was trained"""

LEARNERS = {
    "gail": Ppo(learning_rate=1e-3, discount=0.95, hidden=(32, 32), epochs=5),
    "airl": Ppo(learning_rate=2e-3, discount=0.95),
}
GAMES: dict[str, Gail | TransitionAirl] = {
    "gail": Gail(discriminator=Discriminator(updates=8, batch=512), network=RewardMlp(normalise=False)),
    "airl": TransitionAirl(
        discriminator=Discriminator(learning_rate=2e-3, updates=4),
        network=ShapedReward(
            base=RewardMlp(normalise=False, head_scale=0.01),
            potential=RewardMlp(normalise=False, action=False, head_scale=0.01),
            discount=0.95,
        ),
    ),
}
"""Those of configs/cartpole_gail.py and cartpole_airl.py, which would bring plots and checkpoints to the start."""


def main() -> None:
    game, demonstrations, seed, many, started = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", math.gcd(int(many), os.cpu_count() or 1))
    print(json.dumps(measured(game, Path(demonstrations), int(seed), int(many), float(started))))


def measured(game: str, demonstrations: Path, seed: int, many: int, started: float) -> dict[str, Any]:
    """Cold: to the first trained policy since the process started; warm: another; and many seeds side by side."""
    keep_compiled_programs()
    world = seals_cartpole()
    moments, shown = in_units(world.observation, to_transitions(read_trajectories(demonstrations)))
    agent = agent_of(game)

    def single(moments: Moments, shown: Transitions, key: jax.Array) -> State:
        return trained(in_graph(scaled_environment(world, moments), agent, envs=ENVS, time=TIME), shown, key)

    one = jax.jit(single, compiler_options=COMPILER[game])
    state = jax.block_until_ready(one(moments, shown, jax.random.key(seed)))
    cold = time.time() - started
    warm, _ = seconds(one, moments, shown, jax.random.key(1000 + seed))
    several = jax.jit(over_devices(jax.vmap(single, in_axes=(None, None, 0))), compiler_options=LIGHT)
    jax.block_until_ready(several(moments, shown, jax.random.split(jax.random.key(seed), many)))
    side_by_side, states = seconds(several, moments, shown, jax.random.split(jax.random.key(1000 + seed), many))

    def judged(state: State, episodes: int) -> jax.Array:
        environment = scaled_environment(world, moments)
        return returns(environment, agent, state.agent, jax.random.key(1), episodes).mean()

    each = jax.jit(jax.vmap(lambda state: judged(state, 16)))(jax.device_get(states))
    found = {"cold": cold, "warm": warm, "return": float(judged(state, 100)), "many": side_by_side}
    return found | {"many_returns": np.asarray(each).round().astype(int).tolist()}


def agent_of(game: str) -> Agent:
    world = seals_cartpole()
    spaces = (scaled_space(world.observation), world.action)
    return GAMES[game].make(LEARNERS[game].make(*spaces), *spaces)


@partial(jax.jit, static_argnums=0)
def in_units(space: Space, shown: Transitions) -> tuple[Moments, Transitions]:
    """Demonstrations in units of their own, and those."""
    moments = moments_of(space, shown)
    before, after = (scaled(space, moments, seen) for seen in (shown.observation, shown.next_observation))
    return moments, shown._replace(observation=before, next_observation=after)


def trained(algorithm: Algorithm, demonstrations: Any, key: jax.Array) -> State:
    """All rounds in one program."""

    def round_(state: State, key: jax.Array) -> tuple[State, None]:
        return algorithm.step(state, demonstrations, key)[0], None

    of_init, of_rounds = jax.random.split(key)
    return jax.lax.scan(round_, algorithm.init(of_init), jax.random.split(of_rounds, ROUNDS))[0]


def over_devices(program: Training) -> Training:
    """Each device trains a part of the seeds: cores that share out each operation wait for each other there."""
    mesh = jax.make_mesh((jax.device_count(),), ("seeds",), axis_types=(jax.sharding.AxisType.Auto,))
    same, seeds = jax.P(), jax.P("seeds")
    return jax.shard_map(program, mesh=mesh, in_specs=(same, same, seeds), out_specs=seeds, check_vma=False)


def seconds(program: Training, moments: Moments, shown: Transitions, key: jax.Array) -> tuple[float, State]:
    begun = time.perf_counter()
    state = jax.block_until_ready(program(moments, shown, key))
    return time.perf_counter() - begun, state


if __name__ == "__main__":
    main()
