"""Where demonstrations in control come from: a file of trajectories, or an expert trained on the true reward."""

from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import jax
import numpy as np

from experiments.run_folder import RunFolder
from irl.control.environments.base import Environment
from irl.control.in_graph import begin, collect, in_graph
from irl.control.ppo import Ppo
from irl.control.trajectories import Trajectory, check_spaces, from_steps, to_transitions
from irl.control.trajectory_files import load_trajectories, read_trajectories, save_trajectories
from irl.control.types import Rollout, Transitions
from irl.train import Schedule


class Demonstrated(NamedTuple):
    """Steps of an expert, and what its episodes earned where that is known."""

    transitions: Transitions
    returns: np.ndarray | None


@dataclass(frozen=True, kw_only=True)
class DemonstrationFile:
    """Trajectories in any format that is read (irl/control/trajectory_files.py)."""

    path: str
    episodes: int | None = None
    """The first so many; None: all."""

    def run(self, run: RunFolder, environment: Environment) -> Demonstrated:
        return _demonstrated(read_trajectories(self.path)[: self.episodes], environment)


@dataclass(frozen=True, kw_only=True)
class TrainedExpert:
    """PPO on the environment's own reward, and `episodes` of what it does."""

    learner: Ppo = Ppo(learning_rate=1e-3, normalise=True)
    envs: int = 8
    time: int = 256
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=100, log_every=5, save_every=100))
    episodes: int = 64

    def run(self, run: RunFolder, environment: Environment) -> Demonstrated:
        """Train, or read back what was demonstrated."""
        file = run.folder / "demonstrations.safetensors"
        if not file.exists():
            agent = self.learner.make(environment.observation, environment.action)
            algorithm = in_graph(environment, agent, envs=self.envs, time=self.time)
            trained = run.fit("expert", algorithm, NoData(), self.schedule).agent
            lanes = begin(environment, self.episodes, run.key("demonstrations"))
            act = jax.jit(partial(collect, environment, agent, time=environment.horizon))
            made = act(trained, lanes, run.key("expert acts"))[1]
            save_trajectories(file, _first_episodes(environment, made))
        return _demonstrated(load_trajectories(file), environment)


class NoData:
    """A `Source` for learners of a given reward."""

    def next(self, state=None) -> None:
        return None

    def get_state(self) -> dict:
        return {}

    def set_state(self, state: dict) -> None:
        """There is no position."""


def _first_episodes(environment: Environment, rollout: Rollout) -> list[Trajectory]:
    """The first episode of every lane."""
    columns = (
        rollout.observation,
        rollout.action,
        rollout.next_observation,
        rollout.terminated,
        rollout.truncated,
        rollout.reward,
    )
    lanes = zip(*(np.moveaxis(np.asarray(column), 1, 0) for column in columns), strict=True)
    return [from_steps(*lane, environment=environment.name)[0] for lane in lanes]


def _demonstrated(trajectories: list[Trajectory], environment: Environment) -> Demonstrated:
    check_spaces(trajectories, environment.observation, environment.action)
    earned = [float(t.rewards.sum()) for t in trajectories if t.rewards is not None]
    whole = len(earned) == len(trajectories)
    return Demonstrated(to_transitions(trajectories), np.array(earned) if whole else None)
