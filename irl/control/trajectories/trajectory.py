"""Demonstrations: whole episodes on the host, checked when they are built.

An episode of T steps has T actions and T + 1 observations; the last one is where its last action led. `terminal` says
that it ended because the task was over. After a terminal step nothing more is earned; after any other last step (a time
limit, a recording that was stopped) the future is only unknown. Arrays keep their dtype.
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
"""The arrays that every trajectory has."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectory:
    """One episode, or its beginning: observations [T + 1, ...], actions [T, ...]."""

    observations: np.ndarray
    actions: np.ndarray
    terminal: bool
    rewards: np.ndarray | None = None
    """The environment's, [T]; not shown to a learner of rewards."""
    infos: tuple[str, ...] | None = None
    """A JSON text per step, as imitation keeps them. Never decoded here."""
    environment: str = ""
    """Where it was recorded, if that is known."""

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
    """A trajectory of anything that numpy reads as an array: lists, arrays of JAX or torch."""
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
    """The episodes of a flat set of steps in the order they were taken, cut wherever one is terminated or truncated.

    Steps after the last cut become a trajectory that is not terminal. InputError: a step does not begin where the one
    before it led, although that did not end an episode.
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
        shapes = f"expected shape {observations.shape} as of observations, got {next_observations.shape}"
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
    """All steps of all trajectories one after another, as numpy arrays; terminated where a terminal one ends."""
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
    """InputError: no trajectory at all, or one whose rows are not of the shape and dtype of the first one's."""
    if not trajectories:
        raise InputError("no demonstrations: expected at least one trajectory, got none")
    for name in names:
        first, *others = (_look(getattr(t, name)) for t in trajectories)
        for index, look in enumerate(others, start=1):
            if look != first:
                told = f"expected {first} per step, as in trajectory 0, got {look}"
                raise InputError(f"trajectory {index}, {name}: {told}; convert one, or use them apart")


def check_spaces(trajectories: Sequence[Trajectory], observation: Space, action: Space) -> None:
    """InputError: not demonstrations in these spaces, but of another environment."""
    check_alike(trajectories)
    for index, trajectory in enumerate(trajectories):
        where = f"trajectory {index}" + (f" of {trajectory.environment}" if trajectory.environment else "")
        steps = len(trajectory)
        try:
            check_values(f"{where}, observations", observation, trajectory.observations, (steps + 1,))
            check_values(f"{where}, actions", action, trajectory.actions, (steps,))
        except InputError as error:
            raise InputError(f"{error}; take demonstrations of this very environment") from None


def _array(name: str, values: Any) -> np.ndarray:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: no array can be made of it, rows differ in shape ({error})") from None


def _check_numbers(name: str, values: np.ndarray) -> None:
    if values.ndim == 0 or values.dtype.kind not in "biuf":
        shape = f"dtype {values.dtype}, shape {values.shape}"
        raise InputError(f"{name}: expected an array of numbers with a row per step, got {shape}")
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        raise InputError(f"{name}[{int(np.argmax(bad))}]: NaN or infinite, as {int(bad.sum())} of {len(bad)} rows are")


def _check_steps_of_observations(observations: np.ndarray, steps: int) -> None:
    expected = (steps + 1, *observations.shape[1:])
    if observations.shape != expected:
        told = f"expected shape {expected}, one row more than the {steps} actions, got {observations.shape}"
        short = "; the last row is what the last action led to" if len(observations) == steps else ""
        raise InputError(f"Trajectory.observations: {told}{short}")


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
        told = f"row {row} leads elsewhere than row {row + 1} begins, but is neither terminated nor truncated"
        raise InputError(f"next_observations: {told}; mark the ends of episodes, and keep the order of steps")


def _look(values: np.ndarray | None) -> str:
    return "none" if values is None else f"{values.dtype}{list(values.shape[1:])}"
