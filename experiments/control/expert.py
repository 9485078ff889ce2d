"""Where demonstrations in control come from: a file of trajectories, or an expert trained on the true reward."""

from dataclasses import field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.control.backends import Backend, Rounds, of_seed
from experiments.core.run_folder import RunFolder
from irl.control.agent import Agent, AgentState
from irl.control.learners.dqn import Dqn
from irl.control.learners.ppo import Ppo
from irl.control.learners.sac import Sac
from irl.control.spaces import Discrete
from irl.control.trajectories.files import load_trajectories, read_trajectories, save_trajectories
from irl.control.trajectories.trajectory import Trajectory, check_spaces, from_steps
from irl.control.types import Rollout
from irl.train import Schedule
from irl.types import InputError
from reward_models.ranges import Name, Rows, Size
from reward_models.records import record


class Expert(NamedTuple):
    """One that can be asked what it would do."""

    agent: Agent
    state: AgentState


class Demonstrated(NamedTuple):
    """Episodes of an expert, and the expert where it is at hand."""

    trajectories: list[Trajectory]
    expert: Expert | None

    @property
    def returns(self) -> np.ndarray | None:
        """What the episodes earned, where that is known of all."""
        earned = [float(t.rewards.sum()) for t in self.trajectories if t.rewards is not None]
        return np.array(earned) if len(earned) == len(self.trajectories) else None


@record
class DemonstrationFile:
    """Trajectories in any format that is read (irl/control/trajectories/files.py)."""

    path: Name
    episodes: Rows | None = None
    """The first so many; None: all."""

    def run(self, run: RunFolder, backend: Backend) -> Demonstrated:
        """InputError: no such file, or demonstrations of another environment."""
        return _demonstrated(read_trajectories(self.path)[: self.episodes], backend, None)


@record
class TrainedExpert:
    """A learner on the environment's own reward, and `episodes` of what it does."""

    learner: Ppo | Sac | Dqn = Ppo(learning_rate=1e-3, normalise=True)
    envs: Size = 8
    time: Size = 256
    schedule: Schedule = field(default_factory=lambda: Schedule(steps=100, log_every=5, save_every=100))
    episodes: Rows = 64
    greedy: bool = False
    """Demonstrated is what it thinks best, not what it does while it explores."""

    def run(self, run: RunFolder, backend: Backend) -> Demonstrated:
        """Train, or read back what was demonstrated."""
        agent = self.learner.make(backend.observation, backend.action)
        rounds = Rounds(self.envs, self.time, self.schedule)
        state = of_seed(backend.train(run, "expert", agent, None, rounds, seeds=1), 0)
        file = run.folder / "demonstrations.safetensors"
        if not file.exists():
            acting = _in_earnest(agent) if self.greedy else agent
            made = backend.rollout(acting, state, run.key("demonstrations"), self.episodes)
            save_trajectories(file, first_episodes(backend.name, made))
        return _demonstrated(load_trajectories(file), backend, Expert(agent, state))


@record
class PushingExpert:
    """MountainCar's, by hand: it pushes the way it moves, so that every push adds to its energy."""

    episodes: Rows = 64

    def run(self, run: RunFolder, backend: Backend) -> Demonstrated:
        """InputError: the environment's actions are not three, or its observations no position and velocity."""
        if backend.action != Discrete(3) or backend.observation.width != 2:
            spaces = f"{backend.observation}, {backend.action}"
            raise InputError(f"PushingExpert: expected MountainCar, got {backend.name} with {spaces}")
        made = backend.rollout(pushing_agent(), None, run.key("demonstrations"), self.episodes)
        return _demonstrated(first_episodes(backend.name, made), backend, Expert(pushing_agent(), None))


def pushing_agent() -> Agent:
    """Observations are (position, velocity), actions 0 left, 1 none, 2 right."""

    def best(state: AgentState, observations: jax.Array) -> jax.Array:
        return jnp.where(observations[..., 1] >= 0, 2, 0).astype(jnp.int32)

    return Agent(
        init=lambda key: None,
        act=lambda state, observations, key: (best(state, observations), jnp.zeros(len(observations))),
        best=best,
        log_prob=lambda state, observations, actions: jnp.zeros(len(observations)),
        step=lambda state, batch, key: (state, {}),
    )


def first_episodes(environment: str, rollout: Rollout) -> list[Trajectory]:
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
    return [from_steps(*lane, environment=environment)[0] for lane in lanes]


def _in_earnest(agent: Agent) -> Agent:
    """The agent without exploration."""

    def act(state: AgentState, observations: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return agent.best(state, observations), jnp.zeros(len(observations))

    return agent._replace(act=act)


def _demonstrated(trajectories: list[Trajectory], backend: Backend, expert: Expert | None) -> Demonstrated:
    check_spaces(trajectories, backend.observation, backend.action)
    return Demonstrated(trajectories, expert)
