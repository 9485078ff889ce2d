"""Vectorised Gymnasium environments on the host, which can be restored after a restart.

They are stepped as single environments. Gymnasium's own vector environments reset in the step that ends an episode
(0.29) or in the following one (1.x, by default), while `reset` and `step` of a single environment mean the same in
both. The observation after the last step of an episode is therefore the final one.

The seed of an episode is derived from (seed, environment, episode). A running episode is saved as its number and its
actions so far, and restored by repeating them. This is exact, including hidden state and random generators, for every
environment that is a function of its seed and the actions. (Positions and velocities alone would not suffice: the next
step of MuJoCo also depends on the warm start of its solver, and rewards depend on earlier positions.) If the same
actions lead to another observation, a new episode starts, with a note on stderr.
"""

import hashlib
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from jaxtyping import Bool, Float, Num

from irl.control.environments.gymnasium_env import Bridge, Make, bridge, create, name_of
from irl.types import InputError

Json = dict[str, Any]

MOST_REPLAYED = 20_000
"""Longest episode, in steps, that is restored."""
FINITE = "expected finite numbers"


class Step(NamedTuple):
    """The outcome of one action."""

    observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool


class EpisodeRunner:
    """One environment, one episode at a time. Its InputErrors name environment, episode and step."""

    def __init__(self, env: gymnasium.Env, env_bridge: Bridge, seed: int, index: int):
        self.env, self.bridge, self._seed, self._index = env, env_bridge, seed, index
        self.episode = -1
        self.observation = np.zeros(env_bridge.observation.shape, env_bridge.observation.dtype)
        self.steps, self.episode_return = 0, 0.0
        self._actions: list[Any] = []

    def begin(self) -> None:
        """Start the next episode."""
        self.episode += 1
        self.steps, self.episode_return, self._actions = 0, 0.0, []
        try:
            self.observation = self.bridge.read(self.env.reset(seed=self._episode_seed())[0])
        except Exception as error:  # the environment is third-party code and can raise anything
            raise InputError(f"{self.where}, reset: {_message(error)}") from error
        if not np.isfinite(self.observation).all():
            raise InputError(f"{self.where}, reset: the observation is {self.observation.tolist()}; {FINITE}")

    def advance(self, action: Any) -> Step:
        """Take one step. After the last step of an episode, the caller calls `begin`."""
        try:
            raw, reward, terminated, truncated, _ = self.env.step(action)
            self.observation, reward = self.bridge.read(raw), float(reward)
        except Exception as error:  # the environment is third-party code and can raise anything
            raise InputError(f"{self.where}, step {self.steps}, action {action}: {_message(error)}") from error
        self.steps += 1
        self.episode_return += reward
        if self.steps <= MOST_REPLAYED:
            self._actions.append(action)
        return Step(self.observation, reward, bool(terminated), bool(truncated) and not terminated)

    @property
    def where(self) -> str:
        seeded = f"episode {self.episode} (seed {self._episode_seed()})"
        return f"{name_of(self.env)}, environment {self._index}, {seeded}"

    def get_state(self) -> Json:
        """The running episode as its actions, and a digest of its last observation."""
        actions = None if self.steps > MOST_REPLAYED else np.asarray(self._actions).tolist()
        return {"episode": self.episode, "actions": actions, "observation": _digest(self.observation)}

    def set_state(self, state: Json) -> None:
        """Restore the episode. If that fails, start the next one, with a note on stderr."""
        self.episode = state["episode"] - 1
        self.begin()
        if self._replayed(state):
            return
        problem = f"{self.where} cannot be restored: the same actions lead elsewhere, or are too many"
        print(f"note: {problem}; a new episode starts", file=sys.stderr, flush=True)
        self.episode = state["episode"]
        self.begin()

    def _replayed(self, state: Json) -> bool:
        if state["actions"] is None:
            return False
        dtype = self.env.action_space.dtype
        for action in state["actions"]:
            step = self.advance(np.asarray(action, dtype) if isinstance(action, list) else action)
            if step.terminated or step.truncated:
                return False
        return _digest(self.observation) == state["observation"]

    def _episode_seed(self) -> int:
        return episode_seed(self._seed, self._index, self.episode)


def episode_seed(seed: int, environment: int, episode: int) -> int:
    """The 32-bit seed of one episode of one environment, independent of all others."""
    return int(np.random.SeedSequence(seed, spawn_key=(environment, episode)).generate_state(1)[0])


def _message(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"it raised {type(error).__name__}: {error}"


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


class Outcome(NamedTuple):
    """The outcome of one step of all environments."""

    next_observation: Num[np.ndarray, "envs *observation"]
    """The final observation at the end of an episode."""
    reward: Float[np.ndarray, " envs"]
    terminated: Bool[np.ndarray, " envs"]
    truncated: Bool[np.ndarray, " envs"]


class Episode(NamedTuple):
    """A completed episode."""

    environment: int
    number: int
    """Index among the episodes of its environment, from 0."""
    episode_return: float
    steps: int


class VectorEnvironment:
    """`envs` environments, stepped together by `workers` threads.

    Threads pay off if steps run outside of Python, as in MuJoCo and Atari.
    """

    def __init__(self, environment: Make, *, envs: int, seed: int, workers: int = 1, **options: Any):
        if envs < 1 or workers < 1 or seed < 0:
            raise InputError(
                f"VectorEnvironment: expected envs and workers >= 1 and seed >= 0, got {envs}, {workers}, {seed}"
            )
        created = [create(environment, **options) for _ in range(envs)]
        self.bridge, self.seed, self.name = bridge(created[0]), seed, name_of(created[0])
        self.observation_space, self.action_space = self.bridge.observation, self.bridge.action
        self._runners = [EpisodeRunner(env, self.bridge, seed, index) for index, env in enumerate(created)]
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.observation = np.zeros((envs, *self.observation_space.shape), self.observation_space.dtype)
        self._begin(range(envs))

    def __len__(self) -> int:
        return len(self._runners)

    def step(self, actions: Num[np.ndarray, "envs *action"]) -> tuple[Outcome, list[Episode]]:
        """(outcome, completed episodes). New episodes start in place of completed ones.

        `observation` is the input of the next actions.
        """
        if actions.dtype.kind == "f" and not np.isfinite(actions).all():
            raise InputError(f"{self.name}: the agent's actions are NaN or infinite: {actions.tolist()}")
        env_actions = self.bridge.write(actions)
        steps = self._parallel(lambda i: self._runners[i].advance(env_actions[i]), range(len(self)))
        observations, rewards, terminated, truncated = zip(*steps, strict=True)
        outcome = Outcome(
            np.stack(observations), np.array(rewards, np.float32), np.array(terminated), np.array(truncated)
        )
        self._check_finite(outcome)
        self.observation = outcome.next_observation
        over = np.flatnonzero(outcome.terminated | outcome.truncated).tolist()
        runners = [(i, self._runners[i]) for i in over]
        completed = [Episode(i, runner.episode, runner.episode_return, runner.steps) for i, runner in runners]
        if over:
            self._begin(over)
        return outcome, completed

    def get_state(self) -> Json:
        return {"episodes": [runner.get_state() for runner in self._runners], "environment": self._identity()}

    def set_state(self, state: Json) -> None:
        """Restore all episodes. Raises InputError for the state of another environment."""
        if state["environment"] != self._identity():
            difference = f"was saved for {state['environment']}, but is {self._identity()} now"
            raise InputError(f"environments: the state {difference}; resume with the same settings, or start a new run")
        for runner, saved in zip(self._runners, state["episodes"], strict=True):
            runner.set_state(saved)
        self.observation = self._observations()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        for runner in self._runners:
            runner.env.close()

    def _identity(self) -> Json:
        return {"name": self.name, "envs": len(self), "seed": self.seed}

    def _begin(self, which: Sequence[int]) -> None:
        self._parallel(lambda i: self._runners[i].begin(), which)
        self.observation = self._observations()

    def _observations(self) -> np.ndarray:
        return np.stack([runner.observation for runner in self._runners])

    def _parallel(self, work: Callable[[int], Any], which: Sequence[int]) -> list[Any]:
        if self._pool is None:
            return [work(i) for i in which]
        parts = [part.tolist() for part in np.array_split(which, self._workers) if len(part)]
        return [result for part in self._pool.map(lambda part: [work(i) for i in part], parts) for result in part]

    def _check_finite(self, outcome: Outcome) -> None:
        for name, values in (("observation", outcome.next_observation), ("reward", outcome.reward)):
            if not np.isfinite(values).all():
                index = int(np.argmin(np.isfinite(values.reshape(len(self), -1)).all(axis=1)))
                runner = self._runners[index]
                problem = f"step {runner.steps - 1}: the {name} is {values[index].tolist()}; {FINITE}"
                raise InputError(f"{runner.where}, {problem}")
