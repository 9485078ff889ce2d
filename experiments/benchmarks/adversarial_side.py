"""Our side of `adversarial_imitation`: one algorithm in a process of its own, whose start is timed.

    python -m experiments.benchmarks.adversarial_side --child ARGUMENTS

It imports no more than training needs, and prints seconds and returns as JSON.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from experiments.core.compilation_cache import keep_compiled_programs
from irl.algorithms.base import Algorithm, State
from irl.control.agent import Agent
from irl.control.algorithms.adversarial import AdversarialImitator, Discriminator
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
"""Small networks train equally fast at LLVM's level 1, which takes three quarters of the compile time."""
COMPILER = {"gail": LIGHT | {"xla_cpu_use_fusion_emitters": False}, "airl": LIGHT}
"""Without the newer emitters GAIL compiles in half the time and trains half as fast, for less than a second."""

STEPS, ENVS, TIME = 133_120, 8, 256
ROUNDS = STEPS // (ENVS * TIME)
Training = Callable[[Moments, Transitions, jax.Array], State]
"""(moments, standardised demonstrations, key or keys of seeds) -> trained state or states"""

LEARNERS = {
    "gail": Ppo(learning_rate=1e-3, discount=0.95, hidden=(32, 32), epochs=5),
    "airl": Ppo(learning_rate=2e-3, discount=0.95),
}
IMITATORS: dict[str, AdversarialImitator] = {
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
"""Those of configs/cartpole_gail.py and cartpole_airl.py, whose imports would include plots and checkpoints."""


def ours(algorithm: str, demonstrations: str, seed: int, many: int, started: float) -> dict[str, Any]:
    """Seconds to the first trained policy (cold), of another training (warm), and of `many` seeds at once."""
    jax.config.update("jax_num_cpu_devices", math.gcd(many, os.cpu_count() or 1))
    keep_compiled_programs()
    world = seals_cartpole()
    moments, transitions = standardised(world.observation, to_transitions(read_trajectories(demonstrations)))
    agent = agent_of(algorithm)

    def single(moments: Moments, transitions: Transitions, key: jax.Array) -> State:
        environment = scaled_environment(world, moments)
        return trained(in_graph(environment, agent, envs=ENVS, time=TIME), transitions, key)

    one = jax.jit(single, compiler_options=COMPILER[algorithm])
    state = jax.block_until_ready(one(moments, transitions, jax.random.key(seed)))
    cold = time.time() - started
    warm, _ = seconds(one, moments, transitions, jax.random.key(1000 + seed))
    several = jax.jit(over_devices(jax.vmap(single, in_axes=(None, None, 0))), compiler_options=LIGHT)
    jax.block_until_ready(several(moments, transitions, jax.random.split(jax.random.key(seed), many)))
    at_once, states = seconds(several, moments, transitions, jax.random.split(jax.random.key(1000 + seed), many))

    def evaluate(state: State, episodes: int) -> jax.Array:
        environment = scaled_environment(world, moments)
        return returns(environment, agent, state.agent, jax.random.key(1), episodes).mean()

    each = jax.jit(jax.vmap(lambda state: evaluate(state, 16)))(jax.device_get(states))
    result = {"cold": cold, "warm": warm, "return": float(evaluate(state, 100)), "many": at_once}
    return result | {"many_returns": np.asarray(each).round().astype(int).tolist()}


def agent_of(algorithm: str) -> Agent:
    world = seals_cartpole()
    spaces = (scaled_space(world.observation), world.action)
    return IMITATORS[algorithm].make(LEARNERS[algorithm].make(*spaces), *spaces)


@partial(jax.jit, static_argnums=0)
def standardised(space: Space, transitions: Transitions) -> tuple[Moments, Transitions]:
    """Moments of the demonstrations, and the standardised demonstrations."""
    moments = moments_of(space, transitions)
    both = (transitions.observation, transitions.next_observation)
    observation, following = (scaled(space, moments, each) for each in both)
    return moments, transitions._replace(observation=observation, next_observation=following)


def trained(algorithm: Algorithm, demonstrations: Any, key: jax.Array) -> State:
    """All rounds in one program."""

    def round_(state: State, key: jax.Array) -> tuple[State, None]:
        return algorithm.step(state, demonstrations, key)[0], None

    of_init, of_rounds = jax.random.split(key)
    return jax.lax.scan(round_, algorithm.init(of_init), jax.random.split(of_rounds, ROUNDS))[0]


def over_devices(program: Training) -> Training:
    """Each device trains a part of the seeds, so that no operation synchronises cores."""
    mesh = jax.make_mesh((jax.device_count(),), ("seeds",), axis_types=(jax.sharding.AxisType.Auto,))
    same, seeds = jax.P(), jax.P("seeds")
    return jax.shard_map(program, mesh=mesh, in_specs=(same, same, seeds), out_specs=seeds, check_vma=False)


def seconds(program: Training, moments: Moments, transitions: Transitions, key: jax.Array) -> tuple[float, State]:
    begun = time.perf_counter()
    state = jax.block_until_ready(program(moments, transitions, key))
    return time.perf_counter() - begun, state


if __name__ == "__main__":
    print(json.dumps(ours(**json.loads(sys.argv[2]))))
