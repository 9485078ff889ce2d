"""Demonstrations: episodes on the host, validated on construction.

An episode of T steps has T actions and T + 1 observations, the last of which follows the last action. It is `terminal`
if the task was over; there are no further rewards then. After any other last step (a time limit, a stopped recording)
the future is unknown. Arrays keep their dtype.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import ArrayLike

from irl.control.spaces import Space, check_values
from irl.control.types import Transitions
from irl.types import InputError

ROWS = ("observations", "actions")
"""The required arrays of a trajectory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """An episode, or its first steps: observations [T + 1, ...], actions [T, ...]."""

    observations: np.ndarray
    actions: np.ndarray
    terminal: bool
    rewards: np.ndarray | None = None
    """The environment's rewards, [T]; for evaluation only."""
    infos: tuple[str, ...] | None = None
    """One JSON text per step, in imitation's format; never decoded."""
    environment: str = ""
    """Id of the environment, if known."""

    def __post_init__(self):
        for name in ROWS:
            _check_numbers(f"Trajectory.{name}", getattr(self, name))
        steps = len(self.actions)
        if steps == 0:
            raise InputError("Trajectory.actions: empty; expected at least one step")
        _check_steps_of_observations(self.observations, steps)
        if self.rewards is not None:
            _check_rewards("Trajectory.rewards", self.rewards, steps)
        if self.infos is not None and len(self.infos) != steps:
            raise InputError(f"Trajectory.infos: expected {steps}, one per action, got {len(self.infos)}")

    def __len__(self) -> int:
        return len(self.actions)


def from_arrays(
    observations: ArrayLike | Sequence[Any],
    actions: ArrayLike | Sequence[Any],
    rewards: ArrayLike | Sequence[Any] | None = None,
    *,
    terminal: bool,
    environment: str = "",
) -> Trajectory:
    """A trajectory of array-likes: lists, arrays of JAX or torch."""
    return Trajectory(
        observations=_array("observations", observations),
        actions=_array("actions", actions),
        rewards=None if rewards is None else _array("rewards", rewards),
        terminal=terminal,
        environment=environment,
    )


def from_steps(
    observations: np.ndarray,
    actions: np.ndarray,
    next_observations: np.ndarray,
    terminated: np.ndarray,
    truncated: np.ndarray,
    rewards: np.ndarray | None = None,
    *,
    environment: str = "",
) -> list[Trajectory]:
    """The episodes of consecutive steps, split after each terminated or truncated step.

    Steps after the last split become a trajectory that is not terminal. Raises InputError if, within an episode, an
    observation differs from the next observation of the previous step.
    """
    columns = {"actions": actions, "next_observations": next_observations} | (
        {"terminated": terminated, "truncated": truncated} | ({} if rewards is None else {"rewards": rewards})
    )
    for name, values in columns.items():
        if len(values) != len(observations):
            raise InputError(f"{name}: expected {len(observations)} rows, one per observation, got {len(values)}")
    if len(observations) == 0:
        raise InputError("observations: empty; expected at least one step")
    if next_observations.shape != observations.shape:
        shapes = f"expected shape {observations.shape}, as of observations, got {next_observations.shape}"
        raise InputError(f"next_observations: {shapes}")
    for name, values in (("observations", observations), ("next_observations", next_observations)):
        _check_numbers(name, values)
    ends = np.flatnonzero(terminated | truncated)
    _check_chain(observations, next_observations, ends)
    starts = [0, *(ends + 1)]
    stops = [*(ends + 1), len(observations)]
    return [
        Trajectory(
            observations=np.concatenate([observations[start:stop], next_observations[stop - 1 : stop]]),
            actions=actions[start:stop],
            rewards=None if rewards is None else rewards[start:stop],
            terminal=bool(terminated[stop - 1]),
            environment=environment,
        )
        for start, stop in zip(starts, stops, strict=True)
        if start < stop
    ]


def to_transitions(trajectories: Sequence[Trajectory]) -> Transitions:
    """All steps of all trajectories as numpy arrays; the last step of a terminal trajectory is terminated."""
    check_alike(trajectories)
    columns = [
        [t.observations[:-1] for t in trajectories],
        [t.actions for t in trajectories],
        [t.observations[1:] for t in trajectories],
        [np.arange(1, len(t) + 1) == len(t) * t.terminal for t in trajectories],
    ]
    joined: list[Any] = [np.concatenate(column) for column in columns]
    return Transitions(*joined)


def check_alike(trajectories: Sequence[Trajectory], names: Sequence[str] = ROWS) -> None:
    """Raise InputError unless there are trajectories, whose rows have the same shapes and dtypes."""
    if not trajectories:
        raise InputError("no demonstrations: expected at least one trajectory, got none")
    for name in names:
        first, *others = (_row_type(getattr(t, name)) for t in trajectories)
        for index, row_type in enumerate(others, start=1):
            if row_type != first:
                problem = f"expected {first} per step, as in trajectory 0, got {row_type}"
                raise InputError(f"trajectory {index}, {name}: {problem}; convert one, or use them separately")


def check_spaces(trajectories: Sequence[Trajectory], observation: Space, action: Space) -> None:
    """Raise InputError unless the trajectories are in these spaces."""
    check_alike(trajectories)
    for index, trajectory in enumerate(trajectories):
        where = f"trajectory {index}" + (f" of {trajectory.environment}" if trajectory.environment else "")
        steps = len(trajectory)
        try:
            check_values(f"{where}, observations", observation, trajectory.observations, (steps + 1,))
            check_values(f"{where}, actions", action, trajectory.actions, (steps,))
        except InputError as error:
            raise InputError(f"{error}; use demonstrations of this environment") from None


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: expected an array, but rows differ in shape ({error})") from None


def _check_numbers(name: str, values: np.ndarray) -> None:
    if values.ndim == 0 or values.dtype.kind not in "biuf":
        raise InputError(
            f"{name}: expected an array of numbers with one row per step, got {values.dtype}, shape {values.shape}"
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        raise InputError(f"{name}[{int(np.argmax(bad))}]: NaN or infinite, as {int(bad.sum())} of {len(bad)} rows are")


def _check_steps_of_observations(observations: np.ndarray, steps: int) -> None:
    expected = (steps + 1, *observations.shape[1:])
    if observations.shape != expected:
        problem = f"expected shape {expected}, one row more than the {steps} actions, got {observations.shape}"
        advice = "; append the final observation" if len(observations) == steps else ""
        raise InputError(f"Trajectory.observations: {problem}{advice}")


def _check_rewards(name: str, rewards: np.ndarray, steps: int) -> None:
    if rewards.shape != (steps,):
        raise InputError(f"{name}: expected shape {(steps,)}, one per action, got {rewards.shape}")
    if rewards.dtype.kind != "f":
        raise InputError(f"{name}: expected floats, got dtype {rewards.dtype}; convert with .astype(np.float32)")
    _check_numbers(name, rewards)


def _check_chain(observations: np.ndarray, next_observations: np.ndarray, ends: np.ndarray) -> None:
    same = (next_observations[:-1] == observations[1:]).all(axis=tuple(range(1, observations.ndim)))
    same[ends[ends < len(same)]] = True
    if not same.all():
        row = int(np.argmin(same))
        problem = f"row {row} differs from observation {row + 1}, but is neither terminated nor truncated"
        raise InputError(f"next_observations: {problem}; mark the ends of episodes, and keep the order of steps")


def _row_type(values: np.ndarray | None) -> str:
    return "none" if values is None else f"{values.dtype}{list(values.shape[1:])}"
