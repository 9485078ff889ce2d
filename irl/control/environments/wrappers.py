"""Gymnasium environments that show themselves otherwise: in the units of demonstrations, or with an absorbing end.

The same two changes as scaled.py and absorbing.py make to pure-JAX environments, as wrappers of Gymnasium.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from irl.control.environments.absorbing import absorbed, absorbing_space
from irl.control.environments.gymnasium_env import bridge
from irl.control.environments.scaled import CLIP
from irl.control.moments import Moments
from irl.control.spaces import Box, Discrete, Space


class Scaled(gymnasium.ObservationWrapper):
    """Observations as vectors: less the mean, by the standard deviation, cut at `CLIP` of them."""

    def __init__(self, env: gymnasium.Env, moments: Moments):
        super().__init__(env)
        self._read = bridge(env).read
        self._mean = np.asarray(moments.mean, np.float32)
        self._std = np.sqrt(np.asarray(moments.variance, np.float32) + np.float32(1e-8))
        self.observation_space = spaces.Box(-CLIP, CLIP, self._mean.shape, np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        return np.clip((self._read(observation).reshape(-1) - self._mean) / self._std, -CLIP, CLIP)


class AbsorbingEnd(gymnasium.Wrapper):
    """Once its task is over it stays in the absorbing state, at reward 0, until the horizon cuts it off."""

    def __init__(self, env: gymnasium.Env, horizon: int):
        super().__init__(env)
        of_env = bridge(env)
        self._space, self._read, self._horizon = of_env.observation, of_env.read, horizon
        self._over, self._time = False, 0
        self.observation_space = _of_gymnasium(absorbing_space(self._space))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        observation, info = self.env.reset(seed=seed, options=options)
        self._over, self._time = False, 0
        return self._present(observation), info

    def step(self, action: Any):
        self._time += 1
        cut_off = self._time >= self._horizon
        if self._over:
            return np.asarray(absorbed(self._space)), 0.0, False, cut_off, {}
        observation, reward, self._over, truncated, info = self.env.step(action)
        seen = np.asarray(absorbed(self._space)) if self._over else self._present(observation)
        return seen, reward, False, cut_off or (truncated and not self._over), info

    def _present(self, observation: Any) -> Any:
        seen = self._read(observation)
        return seen if isinstance(self._space, Discrete) else np.append(seen, np.float32(0))


def _of_gymnasium(space: Space) -> spaces.Space:
    if isinstance(space, Box):
        low, high = space.bounds()
        return spaces.Box(low, high, dtype=np.float32)
    return spaces.Discrete(space.n)
