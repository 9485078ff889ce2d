"""The bridge to Gymnasium (0.29 and 1.x): environments by id or function, with their spaces and values as ours."""

import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces
from jaxtyping import Num

from irl.control.spaces import Discrete, Space, box
from irl.types import InputError

Make = str | Callable[[], gymnasium.Env]
"""An id of `gymnasium.make`, or a function that returns an environment. For the id "MODULE:NAME", Gymnasium imports the
module first; the environment variable `ALLOWED_IMPORTS` must list it."""

ALLOWED_IMPORTS = "TRACEWARD_ALLOW_IMPORTS"
"""Environment variable: the modules, separated by commas, that an id may import. Ids come from files such as a
config.json, which must not run code."""

MOST_JOINT_ACTIONS = 1000
"""Largest number of combinations of a MultiDiscrete action space."""

_FLATTENED = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def create(environment: Make, **options: Any) -> gymnasium.Env:
    """The environment of an id or function.

    Raises:
        InputError: An unknown id, a missing package, or an id that imports a module without permission.
    """
    if not isinstance(environment, str):
        return environment(**options)
    _check_import(environment)
    if ".mujoco." in str(getattr(gymnasium.registry.get(environment), "entry_point", "")):
        _redirect_warnings_of_mujoco()
    try:
        return gymnasium.make(environment, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError, ValueError) as error:
        raise InputError(f"environment {environment[:200]}: {error}") from error


def _redirect_warnings_of_mujoco() -> None:
    """Send warnings to the logger "mujoco"; MuJoCo itself appends them to MUJOCO_LOG.TXT in the current folder."""
    try:
        import mujoco
    except ImportError:
        return  # gymnasium.make says what is missing
    mujoco.set_mju_user_warning(logging.getLogger("mujoco").info)


def _check_import(environment: str) -> None:
    module, colon, _ = environment.partition(":")
    allowed = [name.strip() for name in os.environ.get(ALLOWED_IMPORTS, "").split(",")]
    if colon and module not in allowed:
        problem = f"imports the module {module[:100]!r}, which runs its code"
        advice = f"if you trust it, set the environment variable {ALLOWED_IMPORTS}={module[:100]}"
        raise InputError(f"environment {environment[:200]}: {problem}; {advice}")


def name_of(env: gymnasium.Env) -> str:
    """Its id, or the name of its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


class Bridge(NamedTuple):
    """Conversion between the values of an environment and arrays of our spaces."""

    observation: Space
    action: Space
    read: Callable[[Any], np.ndarray]
    """An observation as an array of `observation`."""
    write: Callable[[Num[np.ndarray, "envs ..."]], Sequence[Any]]
    """Actions in the environment's format, clipped to its bounds."""


def bridge(env: gymnasium.Env) -> Bridge:
    """The bridge of an environment.

    Dict and Tuple observations, and integer vectors, are flattened to one vector with one-hot discrete parts. A
    MultiDiscrete action becomes one choice among all combinations. Raises InputError for an unsupported space.
    """
    observation, read = _reader(name_of(env), env.observation_space)
    action, write = _writer(name_of(env), env.action_space)
    return Bridge(observation, action, read, write)


def _reader(name: str, space: spaces.Space) -> tuple[Space, Callable[[Any], np.ndarray]]:
    if isinstance(space, spaces.Discrete):
        start, n = int(space.start), int(space.n)
        return Discrete(n), lambda value: _index(value, start, n)
    unknown = [part for part in _parts(space) if not isinstance(part, _FLATTENED)]
    if unknown:
        known = "Box, Discrete, MultiDiscrete, MultiBinary, and Dict and Tuple of them"
        raise InputError(f"{name}: observations of {unknown[0]} are not supported; there are {known}")
    if isinstance(space, spaces.Box):
        return box(space.low, space.high), lambda value: _array(value, space.shape)
    vector = spaces.flatten_space(space)
    assert isinstance(vector, spaces.Box)
    return box(vector.low, vector.high), lambda value: _array(spaces.flatten(space, value), vector.shape)


def _parts(space: spaces.Space) -> Iterator[spaces.Space]:
    match space:
        case spaces.Dict():
            inner = list(space.spaces.values())
        case spaces.Tuple():
            inner = list(space.spaces)
        case _:
            yield space
            return
    for part in inner:
        yield from _parts(part)


def _index(value: Any, start: int, n: int) -> np.ndarray:
    index = int(value) - start
    if not 0 <= index < n:
        raise InputError(f"expected an observation from {start} to {start + n - 1}, got {value}")
    return np.asarray(index, np.int32)


def _array(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(value, np.float32)
    if array.shape != shape:
        raise InputError(f"expected an observation of shape {shape}, as in its space, got {array.shape}")
    return array


def _writer(name: str, space: spaces.Space) -> tuple[Space, Callable[[np.ndarray], Sequence[Any]]]:
    match space:
        case spaces.Discrete():
            start = int(space.start)
            return Discrete(int(space.n)), lambda actions: (actions + start).tolist()
        case spaces.MultiDiscrete() if math.prod(space.nvec.ravel().tolist()) <= MOST_JOINT_ACTIONS:
            return Discrete(math.prod(space.nvec.ravel().tolist())), lambda actions: _combinations(space, actions)
        case spaces.Box() if np.issubdtype(space.dtype, np.floating):
            return box(space.low, space.high), lambda actions: _clipped(space, actions)
    known = f"Discrete, float Box, and MultiDiscrete of up to {MOST_JOINT_ACTIONS} combinations"
    raise InputError(f"{name}: actions of {space} are not supported; there are {known}: wrap the environment")


def _clipped(space: spaces.Box, actions: np.ndarray) -> Sequence[np.ndarray]:
    return list(np.clip(actions, space.low, space.high).astype(space.dtype))


def _combinations(space: spaces.MultiDiscrete, actions: np.ndarray) -> Sequence[np.ndarray]:
    chosen = np.stack(np.unravel_index(actions, space.nvec.ravel()), axis=-1)
    return list(chosen.reshape(-1, *space.nvec.shape).astype(space.dtype) + space.start)
