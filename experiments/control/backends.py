"""Where agents act and learn: in a compiled program with pure-JAX environments, or on the host with Gymnasium's.

Both backends train an agent with several seeds, evaluate returns, collect rollouts, and transform observations. In a
compiled program all seeds are trained at once; on the host one after another, with environments and learner running
concurrently. A new kind of environment is a registered subclass of `EnvironmentConfig`.
"""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, NamedTuple

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
from irl.control.rollout.vector_environment import VectorEnvironment
from irl.control.spaces import Space
from irl.control.types import Rollout, Transitions
from irl.sharding import make_mesh
from irl.train import Schedule
from irl.types import InputError
from reward_models.ranges import Count, Few, Name
from reward_models.records import record


class Rounds(NamedTuple):
    """Size of a training: `envs` environments, rollouts of `time` steps, one step of the schedule per rollout."""

    envs: int
    time: int
    schedule: Schedule


class Backend(ABC):
    """Trains and evaluates agents in one environment. States of agents have a leading axis of seeds."""

    name: str
    observation: Space
    action: Space
    horizon: int
    """Steps after which an episode ends at the latest."""

    @abstractmethod
    def standardised(self, moments: Moments) -> "Backend":
        """With observations standardised by these moments."""

    @abstractmethod
    def with_absorbing_end(self) -> "Backend":
        """With an absorbing state after termination, until the horizon."""

    @abstractmethod
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
        """The states of `seeds` trainings, resumed if they were interrupted; `start` replaces the initial states."""

    @abstractmethod
    def returns(
        self, agent: Agent, states: AgentState, key: jax.Array, episodes: int, seeds: int, *, explore: bool = False
    ) -> Float[np.ndarray, "seeds episodes"]:
        """Returns of episodes with greedy or exploratory actions."""

    @abstractmethod
    def rollout(self, agent: Agent, state: AgentState, key: jax.Array, envs: int, steps: int | None = None) -> Rollout:
        """A rollout of `steps`, or one horizon, with exploratory actions; `state` has no axis of seeds."""

    @abstractmethod
    def frames(self, run: RunFolder, name: str, agent: Agent, state: AgentState, key: jax.Array) -> list[Record]:
        """A strip of frames of an episode for the report; none, with a line in the log, if it cannot be rendered."""


class EnvironmentConfig(ABC):
    """The config class of an environment."""

    id: str

    @abstractmethod
    def backend(self) -> Backend: ...


@record
class PureJax(EnvironmentConfig):
    """An environment of pure functions: rollouts and learning are one program."""

    id: Name = "seals/CartPole-v0"
    """Of classic control, a fixed-horizon variant (seals/CartPole-v0, seals/MountainCar-v0), gymnax, or brax/NAME."""

    def backend(self) -> "InGraph":
        return InGraph(jax_environment(self.id))


@record
class OfGymnasium(EnvironmentConfig):
    """A registered environment of Gymnasium, stepped on the host."""

    id: Name
    """Of `gymnasium.make`. "seals:seals/CartPole-v0" imports seals, if TRACEWARD_ALLOW_IMPORTS=seals allows it."""
    workers: Few = 1
    """Threads that step environments: several pay off if steps run outside of Python, as in MuJoCo."""
    overlap: bool = True
    """Step environments while the learner trains, with the policy of the previous round."""
    max_episode_steps: Count | None = None
    """A time limit in place of the registered one."""

    def backend(self) -> "OnHost":
        limit = {} if self.max_episode_steps is None else {"max_episode_steps": self.max_episode_steps}
        return OnHost(partial(create, self.id, **limit), workers=self.workers, overlap=self.overlap)


class InGraph(Backend):
    """The backend of a pure-JAX environment."""

    def __init__(self, environment: Environment):
        self.environment, self.name, self.horizon = environment, environment.name, environment.horizon
        self.observation, self.action = environment.observation, environment.action

    def standardised(self, moments: Moments) -> "InGraph":
        return InGraph(scaled_environment(self.environment, moments))

    def with_absorbing_end(self) -> "InGraph":
        return InGraph(absorbing(self.environment))

    def train(self, run, stage, agent, demonstrations, rounds, seeds, start=None):
        algorithm = in_graph.in_graph(self.environment, agent, envs=rounds.envs, time=rounds.time)
        initial = None
        if start is not None:
            keys = jax.random.split(run.key(f"{stage}, lanes"), seeds)
            environments = jax.vmap(partial(in_graph.reset, self.environment, rounds.envs))(keys)
            initial = in_graph.State(start, environments)
        source = ConstantSource(demonstrations)
        seeded = over_seeds(algorithm, seeds)
        return run.fit(stage, seeded, source, rounds.schedule, start=initial, mesh=one_device()).agent

    def returns(self, agent, states, key, episodes, seeds, *, explore=False):
        one = partial(in_graph.returns, self.environment, agent, episodes=episodes, explore=explore)
        return np.asarray(jax.jit(jax.vmap(one))(states, jax.random.split(key, seeds)))

    def rollout(self, agent, state, key, envs, steps=None):
        environments = in_graph.reset(self.environment, envs, key)
        collect = partial(in_graph.collect, self.environment, agent, time=steps or self.horizon)
        return jax.jit(collect)(state, environments, key)[1]

    def frames(self, run, name, agent, state, key):
        return of_pure_jax(run, name, self.environment, agent, state, key)


class OnHost(Backend):
    """The backend of a Gymnasium environment. Raises InputError if its episodes have no time limit."""

    def __init__(self, make: Make, *, workers: int = 1, overlap: bool = True):
        self.make, self.workers, self.overlap = make, workers, overlap
        env = create(make)
        environments = VectorEnvironment(lambda: env, envs=1, seed=0)
        self.observation, self.action = environments.observation_space, environments.action_space
        horizon = env.spec.max_episode_steps if env.spec is not None else None
        self.name = name_of(env)
        env.close()
        if horizon is None:
            advice = "add one (gymnasium.wrappers.TimeLimit)"
            raise InputError(f"{self.name}: expected episodes with a time limit; {advice}")
        self.horizon = horizon

    def standardised(self, moments: Moments) -> "OnHost":
        return self._wrapped(lambda env: Scaled(env, moments))

    def with_absorbing_end(self) -> "OnHost":
        return self._wrapped(lambda env: AbsorbingEnd(env, self.horizon))

    def train(self, run, stage, agent, demonstrations, rounds, seeds, start=None):
        states = []
        for seed in range(seeds):
            name = f"{stage}-seed-{seed}"
            environments = self._environments(rounds.envs, run.key(name))
            transitions = jax.tree.map(jnp.asarray, demonstrations)
            rollouts = HostRollouts(
                environments, agent, time=rounds.time, demonstrations=transitions, overlap=self.overlap
            )
            initial = None if start is None else of_seed(start, seed)
            fit = partial(run.fit, name, Algorithm(agent.init, agent.step), rollouts, rounds.schedule)
            states.append(jax.device_get(fit(start=initial, observe=rollouts.recording, mesh=one_device())))
            environments.close()
        return jax.tree.map(lambda *leaves: np.stack(leaves), *states)

    def returns(self, agent, states, key, episodes, seeds, *, explore=False):
        evaluate = partial(host_returns, self.make, agent, explore=explore, most_steps=self.horizon)
        keys = jax.random.split(key, seeds)
        return np.stack([evaluate(of_seed(states, i), episodes, seed_of(keys[i])) for i in range(seeds)])

    def rollout(self, agent, state, key, envs, steps=None):
        environments = self._environments(envs, key)
        rollout = HostRollouts(environments, agent, time=steps or self.horizon).next(state)
        environments.close()
        assert isinstance(rollout, Rollout)
        return rollout

    def frames(self, run, name, agent, state, key):
        return of_gymnasium(run, name, self.make, agent, state, seed_of(key))

    def _wrapped(self, wrapper) -> "OnHost":
        return OnHost(lambda: wrapper(create(self.make)), workers=self.workers, overlap=self.overlap)

    def _environments(self, envs: int, key: jax.Array) -> VectorEnvironment:
        return VectorEnvironment(self.make, envs=envs, seed=seed_of(key), workers=self.workers)


def one_device() -> jax.sharding.Mesh:
    """The mesh of control runs: their batches are small and are indexed by row, so they stay on one device."""
    return make_mesh(devices=jax.local_devices()[:1])


def of_seed(states: AgentState, seed: int) -> AgentState:
    """The state of one seed."""
    return jax.tree.map(lambda leaf: leaf[seed], states)


def seed_of(key: jax.Array) -> int:
    """An integer seed for an environment, from 0 to 2**31 - 1."""
    return int(jax.random.bits(key)) >> 1


class ConstantSource:
    """A `Source` that always returns the same batch."""

    def __init__(self, batch: Any):
        self._batch = batch

    def next(self, state: Any = None) -> Any:
        return self._batch

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """There is no position to restore."""


def over_seeds(algorithm: Algorithm, seeds: int) -> Algorithm:
    """Independent trainings in one program. Metrics are means over seeds; returns are also reported per seed."""

    def init(key: jax.Array) -> State:
        return jax.vmap(algorithm.init)(jax.random.split(key, seeds))

    def step(state: State, batch: Any, key: jax.Array) -> tuple[State, Info]:
        state, infos = jax.vmap(algorithm.step, in_axes=(0, None, 0))(state, batch, jax.random.split(key, seeds))
        returns = {f"return, seed {seed}": infos["return"][seed] for seed in range(seeds)}
        return state, jax.tree.map(jnp.mean, infos) | returns

    return Algorithm(init, step)
