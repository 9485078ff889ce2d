"""Gymnasium's environments side by side on the host, episode after episode, and back again after a restart.

Single environments are stepped, none of Gymnasium's vector environments: those reset in the very step that ends an
episode (0.29) or in the one after it (1.x, unless told otherwise), while `reset` and `step` of one environment mean the
same in both. So the observation that a step led to is the true one at the end of an episode too.

An episode's seed comes from (seed, lane, episode). So a running episode is known by its number and its actions so far,
and is brought back by doing them again: bit for bit, hidden state and random generator included, wherever an
environment is a function of its seed and the actions. (Positions and velocities would not do: MuJoCo's next step also
hangs on the warm start of its solver, and its rewards on positions of the step before.) Where the same actions lead
elsewhere, a fresh episode is begun, and a note says so.
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
"""Steps of one episode; a longer one is not brought back."""
FINITE = "expected finite numbers"


class Step(NamedTuple):
    """What an action led to."""

    observation: np.ndarray
    reward: float
    terminated: bool
    truncated: bool


class Lane:
    """One environment, an episode at a time. InputError names environment, episode and step of whatever goes wrong."""

    def __init__(self, env: gymnasium.Env, of_env: Bridge, seed: int, index: int):
        self.env, self.bridge, self._seed, self._index = env, of_env, seed, index
        self.episode = -1
        self.observation = np.zeros(of_env.observation.shape, of_env.observation.dtype)
        self.steps, self.earned = 0, 0.0
        self._actions: list[Any] = []

    def begin(self) -> None:
        """The next episode."""
        self.episode += 1
        self.steps, self.earned, self._actions = 0, 0.0, []
        try:
            self.observation = self.bridge.read(self.env.reset(seed=self._episode_seed())[0])
        except Exception as error:  # the environment is third-party code and can raise anything
            raise InputError(f"{self.where}, reset: {_told(error)}") from error
        if not np.isfinite(self.observation).all():
            raise InputError(f"{self.where}, reset: the observation is {self.observation.tolist()}; {FINITE}")

    def advance(self, action: Any) -> Step:
        """One step; `begin` is the caller's to call when it ends the episode."""
        try:
            raw, reward, terminated, truncated, _ = self.env.step(action)
            self.observation, reward = self.bridge.read(raw), float(reward)
        except Exception as error:  # the environment is third-party code and can raise anything
            raise InputError(f"{self.where}, step {self.steps}, action {action}: {_told(error)}") from error
        self.steps += 1
        self.earned += reward
        if self.steps <= MOST_REPLAYED:
            self._actions.append(action)
        return Step(self.observation, reward, bool(terminated), bool(truncated) and not terminated)

    @property
    def where(self) -> str:
        seeded = f"episode {self.episode} (seed {self._episode_seed()})"
        return f"{name_of(self.env)}, environment {self._index}, {seeded}"

    def get_state(self) -> Json:
        """The running episode as its actions, and a digest of where they led."""
        actions = None if self.steps > MOST_REPLAYED else np.asarray(self._actions).tolist()
        return {"episode": self.episode, "actions": actions, "observation": _digest(self.observation)}

    def set_state(self, state: Json) -> None:
        """The episode brought back; where it cannot be, the one after it is begun, and a note says so."""
        self.episode = state["episode"] - 1
        self.begin()
        if self._same_again(state):
            return
        lost = f"{self.where} cannot be brought back: the same actions lead elsewhere, or are too many"
        print(f"note: {lost}; it goes on with a fresh episode", file=sys.stderr, flush=True)
        self.episode = state["episode"]
        self.begin()

    def _same_again(self, state: Json) -> bool:
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


def episode_seed(seed: int, lane: int, episode: int) -> int:
    """A seed of 32 bits for one episode of one environment, independent of all others."""
    return int(np.random.SeedSequence(seed, spawn_key=(lane, episode)).generate_state(1)[0])


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, InputError) else f"it raised {type(error).__name__}: {error}"


def _digest(values: np.ndarray) -> str:
    return hashlib.sha256(values.tobytes()).hexdigest()[:16]


class Outcome(NamedTuple):
    """What a step of every lane led to."""

    next_observation: Num[np.ndarray, "envs *observation"]
    """Also where an episode ended."""
    reward: Float[np.ndarray, " envs"]
    terminated: Bool[np.ndarray, " envs"]
    truncated: Bool[np.ndarray, " envs"]


class Episode(NamedTuple):
    """One that ended."""

    lane: int
    number: int
    """Of its lane, from 0."""
    earned: float
    """Its return."""
    steps: int


class Lanes:
    """`envs` environments side by side; `workers` threads share them.

    Threads pay where a step leaves Python, as MuJoCo's and Atari's do.
    """

    def __init__(self, environment: Make, *, envs: int, seed: int, workers: int = 1, **options: Any):
        if envs < 1 or workers < 1 or seed < 0:
            raise InputError(f"Lanes: expected envs and workers >= 1 and seed >= 0, got {envs}, {workers}, {seed}")
        made = [create(environment, **options) for _ in range(envs)]
        self.bridge, self.seed, self.name = bridge(made[0]), seed, name_of(made[0])
        self.observation_space, self.action_space = self.bridge.observation, self.bridge.action
        self._lanes = [Lane(env, self.bridge, seed, index) for index, env in enumerate(made)]
        self._workers = workers
        self._pool = ThreadPoolExecutor(workers) if workers > 1 else None
        self.observation = np.zeros((envs, *self.observation_space.shape), self.observation_space.dtype)
        self._begin(range(envs))

    def __len__(self) -> int:
        return len(self._lanes)

    def step(self, actions: Num[np.ndarray, "envs *action"]) -> tuple[Outcome, list[Episode]]:
        """Where it led, and the episodes that ended: new ones are begun in their lanes.

        `observation` is what the next actions are taken on.
        """
        if actions.dtype.kind == "f" and not np.isfinite(actions).all():
            raise InputError(f"{self.name}: the agent's actions are NaN or infinite: {actions.tolist()}")
        given = self.bridge.write(actions)
        steps = self._parallel(lambda i: self._lanes[i].advance(given[i]), range(len(self)))
        observations, rewards, terminated, truncated = zip(*steps, strict=True)
        outcome = Outcome(
            np.stack(observations), np.array(rewards, np.float32), np.array(terminated), np.array(truncated)
        )
        self._check_finite(outcome)
        self.observation = outcome.next_observation
        over = np.flatnonzero(outcome.terminated | outcome.truncated).tolist()
        ended = [Episode(i, lane.episode, lane.earned, lane.steps) for i, lane in self._at(over)]
        if over:
            self._begin(over)
        return outcome, ended

    def get_state(self) -> Json:
        return {"lanes": [lane.get_state() for lane in self._lanes], "environment": self._identity()}

    def set_state(self, state: Json) -> None:
        """Every lane's episode brought back; InputError when it was another environment's."""
        if state["environment"] != self._identity():
            difference = f"was saved for {state['environment']}, but is {self._identity()} now"
            raise InputError(f"environments: the state {difference}; resume with the same settings, or start a new run")
        for lane, saved in zip(self._lanes, state["lanes"], strict=True):
            lane.set_state(saved)
        self.observation = self._observations()

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
        for lane in self._lanes:
            lane.env.close()

    def _identity(self) -> Json:
        return {"name": self.name, "envs": len(self), "seed": self.seed}

    def _begin(self, which: Sequence[int]) -> None:
        self._parallel(lambda i: self._lanes[i].begin(), which)
        self.observation = self._observations()

    def _observations(self) -> np.ndarray:
        return np.stack([lane.observation for lane in self._lanes])

    def _at(self, which: Sequence[int]) -> list[tuple[int, Lane]]:
        return [(i, self._lanes[i]) for i in which]

    def _parallel(self, work: Callable[[int], Any], which: Sequence[int]) -> list[Any]:
        if self._pool is None:
            return [work(i) for i in which]
        parts = [part.tolist() for part in np.array_split(which, self._workers) if len(part)]
        return [one for done in self._pool.map(lambda part: [work(i) for i in part], parts) for one in done]

    def _check_finite(self, outcome: Outcome) -> None:
        for name, values in (("observation", outcome.next_observation), ("reward", outcome.reward)):
            if not np.isfinite(values).all():
                index = int(np.argmin(np.isfinite(values.reshape(len(self), -1)).all(axis=1)))
                lane = self._lanes[index]
                told = f"step {lane.steps - 1}: the {name} is {values[index].tolist()}; {FINITE}"
                raise InputError(f"{lane.where}, {told}")
