"""Sources of demonstrations in control: a file of trajectories, or an expert trained on the true reward.

A new source is a registered subclass of `ExpertSource`.
"""

from abc import ABC, abstractmethod
from dataclasses import field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.control.backends import Backend, Rounds, of_seed
from experiments.core.run_folder import RunFolder
from irl.control.agent import Agent, AgentState, scripted_agent
from irl.control.learners.base import Learner
from irl.control.learners.ppo import Ppo
from irl.control.spaces import Discrete
from irl.control.trajectories.files import load_trajectories, read_trajectories, save_trajectories
from irl.control.trajectories.trajectory import Trajectory, check_spaces, from_steps
from irl.control.types import Rollout
from irl.train import Schedule
from irl.types import InputError
from reward_models.ranges import Name, Rows, Size
from reward_models.records import record


class Expert(NamedTuple):
    """An expert that can be queried."""

    agent: Agent
    state: AgentState


class Demonstrations(NamedTuple):
    """Episodes of an expert, and the expert if it can be queried."""

    trajectories: list[Trajectory]
    expert: Expert | None

    @property
    def returns(self) -> np.ndarray | None:
        """Returns of the episodes, if all have rewards."""
        returns = [float(t.rewards.sum()) for t in self.trajectories if t.rewards is not None]
        return np.array(returns) if len(returns) == len(self.trajectories) else None


class ExpertSource(ABC):
    """The config class of a source of demonstrations."""

    @abstractmethod
    def run(self, run: RunFolder, backend: Backend) -> Demonstrations:
        """The demonstrations. Raises InputError if they do not belong to the environment."""


@record
class DemonstrationFile(ExpertSource):
    """Trajectories in any supported format (irl/control/trajectories/files.py)."""

    path: Name
    episodes: Rows | None = None
    """Use the first episodes only; None: all."""

    def run(self, run: RunFolder, backend: Backend) -> Demonstrations:
        return _checked(read_trajectories(self.path)[: self.episodes], backend, None)


@record
class TrainedExpert(ExpertSource):
    """A learner trained on the environment's reward, and `episodes` of its policy."""

    learner: Learner = Ppo(learning_rate=1e-3, normalise=True)
    envs: Size = 8
    time: Size = 256
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=100, log_every=5, save_every=100))
    episodes: Rows = 64
    greedy: bool = False
    """Demonstrate greedy instead of exploratory actions."""

    def run(self, run: RunFolder, backend: Backend) -> Demonstrations:
        agent = self.learner.make(backend.observation, backend.action)
        rounds = Rounds(self.envs, self.time, self.schedule)
        state = of_seed(backend.train(run, "expert", agent, None, rounds, seeds=1), 0)
        file = run.folder / "demonstrations.safetensors"
        if not file.exists():
            acting = agent.exploiting() if self.greedy else agent
            rollout = backend.rollout(acting, state, run.key("demonstrations"), self.episodes)
            save_trajectories(file, first_episodes(backend.name, rollout))
        return _checked(load_trajectories(file), backend, Expert(agent, state))


@record
class PushingExpert(ExpertSource):
    """A hand-written expert for MountainCar: it pushes in the direction of motion, which adds energy."""

    episodes: Rows = 64

    def run(self, run: RunFolder, backend: Backend) -> Demonstrations:
        if backend.action != Discrete(3) or backend.observation.width != 2:
            spaces = f"{backend.observation}, {backend.action}"
            raise InputError(f"PushingExpert: expected MountainCar, got {backend.name} with {spaces}")
        agent = pushing_agent()
        rollout = backend.rollout(agent, None, run.key("demonstrations"), self.episodes)
        return _checked(first_episodes(backend.name, rollout), backend, Expert(agent, None))


def pushing_agent() -> Agent:
    """Observations are (position, velocity), actions 0 left, 1 none, 2 right."""

    def policy(observations: jax.Array, key: jax.Array) -> jax.Array:
        return jnp.where(observations[..., 1] >= 0, 2, 0).astype(jnp.int32)

    return scripted_agent(policy)


def first_episodes(environment: str, rollout: Rollout) -> list[Trajectory]:
    """The first episode of each environment of a rollout."""
    by_environment = jax.tree.map(lambda leaf: np.moveaxis(np.asarray(leaf), 1, 0), rollout._replace(log_prob=None))
    columns = zip(*by_environment[:6], strict=True)
    return [from_steps(*each, environment=environment)[0] for each in columns]


def _checked(trajectories: list[Trajectory], backend: Backend, expert: Expert | None) -> Demonstrations:
    check_spaces(trajectories, backend.observation, backend.action)
    return Demonstrations(trajectories, expert)
