"""Frames of one episode side by side, for the report: what the learned policy looks like.

Gymnasium's environments draw themselves (render_mode="rgb_array"). Of the pure-JAX ones those with a twin in Gymnasium
are drawn by it, from what is observed: CartPole, MountainCar, Pendulum, Acrobot. Where nothing can be drawn (no pygame,
no GL, no way to draw at all) a run says so in one line and goes on.
"""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import matplotlib.image
import numpy as np
from jaxtyping import Float, UInt8

from experiments.core.run_folder import RunFolder
from irl.control.agent import Agent, AgentState
from irl.control.environments.base import Environment
from irl.control.environments.gymnasium_env import Make, bridge, create
from irl.control.rollout.in_graph import begin, collect
from irl.control.rollout.vector_environment import Lane
from irl.types import InputError

Frame = UInt8[np.ndarray, "height width 3"]
Record = dict[str, Any]
State = Callable[[np.ndarray], np.ndarray]
"""An observation -> the state that Gymnasium draws."""

FRAMES, FRAME_WIDTH, GAP = 6, 240, 4
"""Frames of a strip, and pixels of their width at most and between them."""

EDGE = 2.3
"""Metres from the middle of the picture of CartPole."""
MOST_STEPS = 5000
"""Of an episode that has no time limit."""


def _cartpole(seen: np.ndarray) -> np.ndarray:
    """A cart that has run away stays at the edge: pygame knows no farther places."""
    return np.array([np.clip(seen[0], -EDGE, EDGE), *seen[1:]])


def _pendulum(seen: np.ndarray) -> np.ndarray:
    return np.array([np.arctan2(seen[1], seen[0]), seen[2]])


def _acrobot(seen: np.ndarray) -> np.ndarray:
    return np.array([np.arctan2(seen[1], seen[0]), np.arctan2(seen[3], seen[2]), seen[4], seen[5]])


TWINS: dict[str, tuple[str, State]] = {
    "CartPole-v1": ("CartPole-v1", _cartpole),
    "seals/CartPole-v0": ("CartPole-v1", _cartpole),
    "MountainCar-v0": ("MountainCar-v0", np.asarray),
    "seals/MountainCar-v0": ("MountainCar-v0", np.asarray),
    "MountainCarContinuous-v0": ("MountainCarContinuous-v0", np.asarray),
    "Pendulum-v1": ("Pendulum-v1", _pendulum),
    "Acrobot-v1": ("Acrobot-v1", _acrobot),
}
"""Name of a pure-JAX environment: id of its twin in Gymnasium, and how it is told the state."""


def of_gymnasium(run: RunFolder, name: str, make: Make, agent: Agent, state: AgentState, seed: int) -> list[Record]:
    """Records for `frames` of report.json: one strip of an episode by what the agent thinks best, or none."""
    return _told(run, name, lambda: played(make, agent, state, seed))


def of_pure_jax(
    run: RunFolder, name: str, environment: Environment, agent: Agent, state: AgentState, key: jax.Array
) -> list[Record]:
    """The same of a pure-JAX environment whose observations are its own, not scaled ones."""
    return _told(run, name, lambda: drawn(environment.name, lambda: observed(environment, agent, state, key)))


def reading(agent: Agent, read: Callable[[jax.Array], jax.Array]) -> Agent:
    """An agent that sees observations through `read`, such as one that learned in other units."""
    return agent._replace(
        act=lambda state, seen, key: agent.act(state, read(seen), key),
        best=lambda state, seen: agent.best(state, read(seen)),
        log_prob=lambda state, seen, actions: agent.log_prob(state, read(seen), actions),
    )


def _told(run: RunFolder, name: str, frames: Callable[[], "Kept"]) -> list[Record]:
    try:
        return [write_strip(run.folder, name, frames())]
    except InputError as error:
        run.say(f"no frames of {name}: {error}")
        return []


class Kept:
    """Frames at even distances of an episode of unknown length: twice FRAMES at most are held at any time."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.steps: list[int] = []
        self._stride = 1

    def offer(self, step: int, draw: Callable[[], Frame]) -> None:
        """Draws only what is kept."""
        if step % self._stride:
            return
        self.frames.append(smaller(draw()))
        self.steps.append(step)
        if len(self.frames) == 2 * FRAMES:
            self.frames, self.steps, self._stride = self.frames[::2], self.steps[::2], 2 * self._stride

    def chosen(self) -> list[int]:
        """Places of at most FRAMES of them, the first and the last among them."""
        return np.unique(np.linspace(0, len(self.frames) - 1, FRAMES).round().astype(int)).tolist()


def played(make: Make, agent: Agent, state: AgentState, seed: int) -> Kept:
    """An episode of an environment of Gymnasium. InputError: it cannot be drawn, or raises."""
    best = jax.jit(lambda seen: agent.best(state, seen[None]))
    kept = Kept()
    with drawing(make) as (env, draw):
        lane = Lane(env, bridge(env), seed, 0)
        lane.begin()
        kept.offer(0, draw)
        while True:
            step = lane.advance(lane.bridge.write(np.asarray(best(lane.observation)))[0])
            kept.offer(lane.steps, draw)
            if step.terminated or step.truncated or lane.steps >= MOST_STEPS:
                return kept


def observed(environment: Environment, agent: Agent, state: AgentState, key: jax.Array) -> Float[np.ndarray, "rows _"]:
    """What is seen in one episode by what the agent thinks best, the last observation included."""
    acting = agent._replace(act=lambda state, seen, key: (agent.best(state, seen), np.zeros(1, np.float32)))
    roll = jax.jit(partial(collect, environment, acting, time=environment.horizon))
    made = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], roll(state, begin(environment, 1, key), key)[1])
    steps = int(np.argmax(made.terminated | made.truncated)) + 1
    return np.concatenate([made.observation[:steps], made.next_observation[steps - 1 : steps]])


def drawn(name: str, observe: Callable[[], Float[np.ndarray, "rows width"]]) -> Kept:
    """States of a pure-JAX environment as Gymnasium draws them. InputError: it has no twin there, or no pygame."""
    if name not in TWINS:
        raise InputError(f"{name} cannot be drawn; there are {', '.join(TWINS)}")
    twin, state_of = TWINS[name]
    kept = Kept()
    with drawing(twin) as (env, draw):
        env.reset(seed=0)
        for step, seen in enumerate(observe()):
            vars(env.unwrapped)["state"] = state_of(np.asarray(seen, np.float64))
            kept.offer(step, draw)
    return kept


@contextmanager
def drawing(make: Make):
    """(environment, what draws it). InputError: it does not draw arrays, or what it draws with is missing."""
    plain = create(make)
    modes = plain.metadata.get("render_modes") or []
    plain.close()
    if "rgb_array" not in modes:
        raise InputError(f"it draws no arrays; render modes are {list(modes)}")
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("MUJOCO_GL", "egl")
    for driver in ("SDL_AUDIODRIVER", "SDL_VIDEODRIVER"):  # pygame opens sound and screen, though it needs neither
        os.environ.setdefault(driver, "dummy")
    env = create(make, render_mode="rgb_array")

    def draw() -> Frame:
        try:
            frame = env.render()
        except Exception as error:  # third-party code: the errors of MuJoCo, GL and pygame have no common base
            raise InputError(f"it cannot be drawn here: {type(error).__name__}: {error}") from error
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.dtype != np.uint8:
            raise InputError("what it draws is no array of pixels")
        return frame

    try:
        yield env, draw
    finally:
        env.close()


def smaller(frame: Frame) -> Frame:
    """At most FRAME_WIDTH wide, by means of square blocks."""
    block = -(-frame.shape[1] // FRAME_WIDTH)
    height, width = (size // block for size in frame.shape[:2])
    blocks = frame[: height * block, : width * block].reshape(height, block, width, block, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def write_strip(folder: Path, name: str, kept: Kept) -> Record:
    """figures/frames_NAME.png of a run folder, and its record for `frames` of report.json."""
    chosen = kept.chosen()
    file = f"figures/frames_{''.join(c if c.isalnum() else '_' for c in name)}.png"
    (folder / "figures").mkdir(exist_ok=True)
    matplotlib.image.imsave(folder / file, side_by_side([kept.frames[i] for i in chosen]))
    return {"name": name, "file": file, "steps": [kept.steps[i] for i in chosen]}


def side_by_side(frames: Iterable[Frame]) -> Frame:
    """Frames of one height with white between them."""
    first, *rest = frames
    white = np.full((first.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([first, *(part for frame in rest for part in (white, frame))], axis=1)
