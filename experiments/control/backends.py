"""Where an agent acts and learns: in one compiled program with pure-JAX environments, or with Gymnasium's on the host.

Both do the same four things for `traceward run`: train an agent under several seeds, earn returns, make rollouts, and
show observations otherwise (in the units of demonstrations, with what comes after the end). In one program all seeds
are trained side by side; on the host one after another, with environments and learner working at the same time.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from experiments.control.frame_strip import Record, of_gymnasium, of_pure_jax
from experiments.core.run_folder import RunFolder
from irl.algorithms.base import Algorithm, Info, State
from irl.control.agent import Agent, AgentState
from irl.control.environments.absorbing import absorbing
from irl.control.environments.base import Environment
from irl.control.environments.gymnasium_env import Make, create, name_of
from irl.control.environments.gymnax_env import jax_environment
from irl.control.environments.scaled import scaled_environment
from irl.control.environments.wrappers import AbsorbingEnd, Scaled
from irl.control.moments import Moments
from irl.control.rollout import in_graph
from irl.control.rollout.host import HostRollouts, host_returns
from irl.control.rollout.vector_environment import Lanes
from irl.control.spaces import Space
from irl.control.types import Rollout, Transitions
from irl.sharding import make_mesh
from irl.train import Schedule
from irl.types import InputError
from reward_models.ranges import Count, Few, Name
from reward_models.records import record


class Rounds(NamedTuple):
    """How much an agent does: `envs` environments, rollouts of `time` steps, one step of the schedule each."""

    envs: int
    time: int
    schedule: Schedule


class Backend(Protocol):
    """States of agents have a leading axis of seeds."""

    @property
    def name(self) -> str: ...

    @property
    def observation(self) -> Space: ...

    @property
    def action(self) -> Space: ...

    @property
    def horizon(self) -> int:
        """Steps after which an episode is over at the latest."""
        ...

    def in_units(self, moments: Moments) -> "Backend":
        """With observations less the mean, by the standard deviation."""
        ...

    def with_absorbing_end(self) -> "Backend":
        """With episodes that stay in an absorbing state until the horizon, once their task is over."""
        ...

    def train(
        self,
        run: RunFolder,
        stage: str,
        agent: Agent,
        demonstrations: Transitions | None,
        rounds: Rounds,
        seeds: int,
        start: AgentState = None,
    ) -> AgentState:
        """The states of `seeds` trainings, gone on with where they stopped; `start` replaces the agent's own."""
        ...

    def returns(
        self, agent: Agent, states: AgentState, key: jax.Array, episodes: int, seeds: int, *, explore: bool = False
    ) -> Float[np.ndarray, "seeds episodes"]: ...

    def rollout(self, agent: Agent, state: AgentState, key: jax.Array, envs: int, steps: int | None = None) -> Rollout:
        """What an agent (without axis of seeds) does, exploring, in `steps` steps, or in one horizon."""
        ...

    def frames(self, run: RunFolder, name: str, agent: Agent, state: AgentState, key: jax.Array) -> list[Record]:
        """A strip of frames of an episode for the report; none, and a line in the log, where it cannot be drawn."""
        ...


@record
class PureJax:
    """An environment as pure functions: rollouts and learning are one program."""

    id: Name = "seals/CartPole-v0"
    """Of classic control, a fixed-horizon variant (seals/CartPole-v0, seals/MountainCar-v0), gymnax, or brax/NAME."""

    def backend(self) -> "InGraph":
        return InGraph(jax_environment(self.id))


@record
class OfGymnasium:
    """A registered environment of Gymnasium, stepped on the host."""

    id: Name
    """Of `gymnasium.make`; traceward/... are reasoning environments. "seals:seals/CartPole-v0" imports seals,
    which must be allowed: TRACEWARD_ALLOW_IMPORTS=seals."""
    workers: Few = 1
    """Threads that share the environments: two and more pay where a step is slow outside Python, as MuJoCo's."""
    overlap: bool = True
    """Environments step while the learner learns, with the policy of one round before."""
    max_episode_steps: Count | None = None
    """Another time limit than the registered one."""

    def backend(self) -> "OnHost":
        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        return on_host(partial(create, self.id, **limit), workers=self.workers, overlap=self.overlap)


@dataclass(frozen=True)
class InGraph:
    """An `Backend` of a pure-JAX environment."""

    environment: Environment

    @property
    def name(self) -> str:
        return self.environment.name

    @property
    def observation(self) -> Space:
        return self.environment.observation

    @property
    def action(self) -> Space:
        return self.environment.action

    @property
    def horizon(self) -> int:
        return self.environment.horizon

    def in_units(self, moments: Moments) -> "InGraph":
        return InGraph(scaled_environment(self.environment, moments))

    def with_absorbing_end(self) -> "InGraph":
        return InGraph(absorbing(self.environment))

    def train(self, run, stage, agent, demonstrations, rounds, seeds, start=None):
        one = in_graph.in_graph(self.environment, agent, envs=rounds.envs, time=rounds.time)
        begun = None
        if start is not None:
            keys = jax.random.split(run.key(f"{stage}, lanes"), seeds)
            lanes = jax.vmap(partial(in_graph.begin, self.environment, rounds.envs))(keys)
            begun = in_graph.State(start, lanes)
        source = Constant(demonstrations)
        trained = run.fit(stage, over_seeds(one, seeds), source, rounds.schedule, start=begun, mesh=one_device())
        return trained.agent

    def returns(self, agent, states, key, episodes, seeds, *, explore=False):
        one = partial(in_graph.returns, self.environment, agent, episodes=episodes, explore=explore)
        return np.asarray(jax.jit(jax.vmap(one))(states, jax.random.split(key, seeds)))

    def rollout(self, agent, state, key, envs, steps=None):
        lanes = in_graph.begin(self.environment, envs, key)
        collect = partial(in_graph.collect, self.environment, agent, time=steps or self.horizon)
        return jax.jit(collect)(state, lanes, key)[1]

    def frames(self, run, name, agent, state, key):
        return of_pure_jax(run, name, self.environment, agent, state, key)


@dataclass(frozen=True)
class OnHost:
    """An `Backend` of environments that Python steps."""

    make: Make
    name: str
    observation: Space
    action: Space
    horizon: int
    workers: int
    overlap: bool

    def in_units(self, moments: Moments) -> "OnHost":
        return on_host(lambda: Scaled(create(self.make), moments), workers=self.workers, overlap=self.overlap)

    def with_absorbing_end(self) -> "OnHost":
        return on_host(
            lambda: AbsorbingEnd(create(self.make), self.horizon), workers=self.workers, overlap=self.overlap
        )

    def train(self, run, stage, agent, demonstrations, rounds, seeds, start=None):
        states = []
        for seed in range(seeds):
            name = f"{stage}-seed-{seed}"
            lanes = self._lanes(rounds.envs, run.key(name))
            shown = jax.tree.map(jnp.asarray, demonstrations)
            rollouts = HostRollouts(lanes, agent, time=rounds.time, demonstrations=shown, overlap=self.overlap)
            begun = None if start is None else of_seed(start, seed)
            algorithm, observe = Algorithm(agent.init, agent.step), rollouts.recording
            fit = partial(run.fit, name, algorithm, rollouts, rounds.schedule)
            states.append(jax.device_get(fit(start=begun, observe=observe, mesh=one_device())))
            lanes.close()
        return jax.tree.map(lambda *leaves: np.stack(leaves), *states)

    def returns(self, agent, states, key, episodes, seeds, *, explore=False):
        keys = jax.random.split(key, seeds)
        each = [
            host_returns(
                self.make,
                agent,
                of_seed(states, seed),
                episodes,
                seed_of(keys[seed]),
                explore=explore,
                most_steps=self.horizon,
            )
            for seed in range(seeds)
        ]
        return np.stack(each)

    def rollout(self, agent, state, key, envs, steps=None):
        lanes = self._lanes(envs, key)
        made = HostRollouts(lanes, agent, time=steps or self.horizon).next(state)
        lanes.close()
        assert isinstance(made, Rollout)
        return made

    def frames(self, run, name, agent, state, key):
        return of_gymnasium(run, name, self.make, agent, state, seed_of(key))

    def _lanes(self, envs: int, key: jax.Array) -> Lanes:
        return Lanes(self.make, envs=envs, seed=seed_of(key), workers=self.workers)


def on_host(make: Make, *, workers: int = 1, overlap: bool = True) -> OnHost:
    """InputError: an episode of the environment has no time limit."""
    env = create(make)
    lanes = Lanes(lambda: env, envs=1, seed=0)
    horizon = env.spec.max_episode_steps if env.spec is not None else None
    name = name_of(env)
    env.close()
    if horizon is None:
        raise InputError(f"{name}: its episodes have no time limit; give it one (gymnasium.wrappers.TimeLimit)")
    return OnHost(make, name, lanes.observation_space, lanes.action_space, horizon, workers, overlap)


def one_device() -> jax.sharding.Mesh:
    """Control is small: its batches are drawn from by row, and stay on one device."""
    return make_mesh(devices=jax.local_devices()[:1])


def of_seed(states: AgentState, seed: int) -> AgentState:
    """One of several states side by side."""
    return jax.tree.map(lambda leaf: leaf[seed], states)


def seed_of(key: jax.Array) -> int:
    """An integer for environments that want one, from 0 to 2**31 - 1."""
    return int(jax.random.bits(key)) >> 1


class Constant:
    """A `Source` of one batch, or of none."""

    def __init__(self, batch: Any):
        self._batch = batch

    def next(self, state: Any = None) -> Any:
        return self._batch

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """There is no position."""


def over_seeds(algorithm: Algorithm, seeds: int) -> Algorithm:
    """Independent trainings side by side; metrics are means, returns those of every seed as well."""

    def init(key: jax.Array) -> State:
        return jax.vmap(algorithm.init)(jax.random.split(key, seeds))

    def step(state: State, batch: Any, key: jax.Array) -> tuple[State, Info]:
        state, each = jax.vmap(algorithm.step, in_axes=(0, None, 0))(state, batch, jax.random.split(key, seeds))
        own = {f"return, seed {seed}": each["return"][seed] for seed in range(seeds)}
        return state, jax.tree.map(jnp.mean, each) | own

    return Algorithm(init, step)


def random_agent(action: Space) -> Agent:
    """Draws every action alike; boxes of actions must be bounded."""

    def act(state: AgentState, observations: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        rows = len(observations)
        if hasattr(action, "n"):
            drawn = jax.random.randint(key, (rows,), 0, action.n)
        else:
            low, high = action.bounds()
            drawn = jax.random.uniform(key, (rows, *action.shape), minval=low, maxval=high)
        return drawn, jnp.zeros(rows)

    return Agent(
        init=lambda key: None,
        act=act,
        best=lambda state, observations: act(state, observations, jax.random.key(0))[0],
        log_prob=lambda state, observations, actions: jnp.zeros(len(observations)),
        step=lambda state, batch, key: (state, {}),
    )
