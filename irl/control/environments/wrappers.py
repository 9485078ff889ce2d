"""Gymnasium wrappers with the transformations of scaled.py and absorbing.py."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from irl.control.environments.absorbing import absorbing_observation, absorbing_space
from irl.control.environments.gymnasium_env import bridge
from irl.control.environments.scaled import CLIP
from irl.control.moments import Moments
from irl.control.spaces import Box, Discrete, Space


class Scaled(gymnasium.ObservationWrapper):
    """Standardised observations, as vectors."""

    def __init__(self, env: gymnasium.Env, moments: Moments):
        super().__init__(env)
        self._read = bridge(env).read
        self._mean = np.asarray(moments.mean, np.float32)
        self._std = np.sqrt(np.asarray(moments.variance, np.float32) + np.float32(1e-8))
        self.observation_space = spaces.Box(-CLIP, CLIP, self._mean.shape, np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        return np.clip((self._read(observation).reshape(-1) - self._mean) / self._std, -CLIP, CLIP)


class AbsorbingEnd(gymnasium.Wrapper):
    """After termination the environment stays in the absorbing state, with reward 0, until the horizon."""

    def __init__(self, env: gymnasium.Env, horizon: int):
        super().__init__(env)
        inner = bridge(env)
        self._space, self._read, self._horizon = inner.observation, inner.read, horizon
        self._over, self._time = False, 0
        self.observation_space = _gymnasium_space(absorbing_space(self._space))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        observation, info = self.env.reset(seed=seed, options=options)
        self._over, self._time = False, 0
        return self._before_end(observation), info

    def step(self, action: Any):
        self._time += 1
        at_horizon = self._time >= self._horizon
        if self._over:
            return np.asarray(absorbing_observation(self._space)), 0.0, False, at_horizon, {}
        raw, reward, self._over, truncated, info = self.env.step(action)
        observation = np.asarray(absorbing_observation(self._space)) if self._over else self._before_end(raw)
        return observation, reward, False, at_horizon or (truncated and not self._over), info

    def _before_end(self, observation: Any) -> Any:
        values = self._read(observation)
        return values if isinstance(self._space, Discrete) else np.append(values, np.float32(0))


def _gymnasium_space(space: Space) -> spaces.Space:
    if isinstance(space, Box):
        low, high = space.bounds()
        return spaces.Box(low, high, dtype=np.float32)
    return spaces.Discrete(space.n)
