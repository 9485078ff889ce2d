"""Frames of one episode of the learned policy, side by side, for the report.

Gymnasium environments render themselves (render_mode="rgb_array"). Pure-JAX environments with a counterpart in
Gymnasium are rendered by it, from their observations: CartPole, MountainCar, Pendulum, Acrobot. If rendering is
impossible (no pygame, no GL, no render mode), a run reports it in one line and continues.
"""

import os
import sys
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, UInt8

from experiments.core.run_folder import RunFolder
from irl.control.agent import Agent, AgentState
from irl.control.environments.base import Environment
from irl.control.environments.gymnasium_env import Make, bridge, create
from irl.control.rollout.in_graph import collect, reset
from irl.control.rollout.vector_environment import EpisodeRunner
from irl.types import InputError

Frame = UInt8[np.ndarray, "height width 3"]
Record = dict[str, Any]
ToState = Callable[[np.ndarray], np.ndarray]
"""An observation -> the state that Gymnasium renders."""

FRAMES, FRAME_WIDTH, GAP = 6, 240, 4
"""Frames of a strip, their largest width, and the gap between them, in pixels."""

EDGE = 2.3
"""Largest rendered position of the cart, in metres."""
MOST_STEPS = 5000
"""Length of an episode without a time limit."""


def _cartpole(x: np.ndarray) -> np.ndarray:
    """The cart stays in the frame: pygame fails on distant positions."""
    return np.array([np.clip(x[0], -EDGE, EDGE), *x[1:]])


def _pendulum(x: np.ndarray) -> np.ndarray:
    return np.array([np.arctan2(x[1], x[0]), x[2]])


def _acrobot(x: np.ndarray) -> np.ndarray:
    return np.array([np.arctan2(x[1], x[0]), np.arctan2(x[3], x[2]), x[4], x[5]])


COUNTERPARTS: dict[str, tuple[str, ToState]] = {
    "CartPole-v1": ("CartPole-v1", _cartpole),
    "seals/CartPole-v0": ("CartPole-v1", _cartpole),
    "MountainCar-v0": ("MountainCar-v0", np.asarray),
    "seals/MountainCar-v0": ("MountainCar-v0", np.asarray),
    "MountainCarContinuous-v0": ("MountainCarContinuous-v0", np.asarray),
    "Pendulum-v1": ("Pendulum-v1", _pendulum),
    "Acrobot-v1": ("Acrobot-v1", _acrobot),
}
"""Name of a pure-JAX environment -> id of its counterpart in Gymnasium, and its state as a function of observations."""


def of_gymnasium(run: RunFolder, name: str, make: Make, agent: Agent, state: AgentState, seed: int) -> list[Record]:
    """Records for `frames` of report.json: a strip of an episode with greedy actions, if it can be rendered."""
    return _records(run, name, lambda: play_on_host(make, agent, state, seed))


def of_pure_jax(
    run: RunFolder, name: str, environment: Environment, agent: Agent, state: AgentState, key: jax.Array
) -> list[Record]:
    """The same for a pure-JAX environment with untransformed observations."""
    return _records(run, name, lambda: render(environment.name, lambda: observe(environment, agent, state, key)))


def reading(agent: Agent, transform: Callable[[jax.Array], jax.Array]) -> Agent:
    """An agent that acts on transformed observations."""
    return agent._replace(
        act=lambda state, observations, key: agent.act(state, transform(observations), key),
        greedy=lambda state, observations: agent.greedy(state, transform(observations)),
        log_prob=lambda state, observations, actions: agent.log_prob(state, transform(observations), actions),
    )


def _records(run: RunFolder, name: str, frames: Callable[[], "FrameBuffer"]) -> list[Record]:
    try:
        return [write_strip(run.folder, name, frames())]
    except InputError as error:
        run.say(f"no frames of {name}: {error}")
        return []


class FrameBuffer:
    """Evenly spaced frames of an episode of unknown length, at most 2 * FRAMES at a time."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.steps: list[int] = []
        self._stride = 1

    def offer(self, step: int, draw: Callable[[], Frame]) -> None:
        """Render the step if it is to be stored."""
        if step % self._stride:
            return
        self.frames.append(downscaled(draw()))
        self.steps.append(step)
        if len(self.frames) == 2 * FRAMES:
            self.frames, self.steps, self._stride = self.frames[::2], self.steps[::2], 2 * self._stride

    def chosen(self) -> list[int]:
        """Indices of at most FRAMES frames, including the first and the last."""
        return np.unique(np.linspace(0, len(self.frames) - 1, FRAMES).round().astype(int)).tolist()


def play_on_host(make: Make, agent: Agent, state: AgentState, seed: int) -> FrameBuffer:
    """An episode of a Gymnasium environment. Raises InputError if it cannot be rendered."""
    greedy = jax.jit(lambda observation: agent.greedy(state, observation[None]))
    frames = FrameBuffer()
    with rendering(make) as (env, draw):
        runner = EpisodeRunner(env, bridge(env), seed, 0)
        runner.begin()
        frames.offer(0, draw)
        while True:
            step = runner.advance(runner.bridge.write(np.asarray(greedy(runner.observation)))[0])
            frames.offer(runner.steps, draw)
            if step.terminated or step.truncated or runner.steps >= MOST_STEPS:
                return frames


def observe(environment: Environment, agent: Agent, state: AgentState, key: jax.Array) -> Float[np.ndarray, "rows _"]:
    """The observations of one episode with greedy actions, including the final one."""
    act = jax.jit(partial(collect, environment, agent.exploiting(), time=environment.horizon))
    rollout = jax.tree.map(lambda leaf: np.asarray(leaf)[:, 0], act(state, reset(environment, 1, key), key)[1])
    steps = int(np.argmax(rollout.terminated | rollout.truncated)) + 1
    return np.concatenate([rollout.observation[:steps], rollout.next_observation[steps - 1 : steps]])


def render(name: str, observe: Callable[[], Float[np.ndarray, "rows width"]]) -> FrameBuffer:
    """Observations of a pure-JAX environment, rendered by Gymnasium. Raises InputError if it has no counterpart."""
    if name not in COUNTERPARTS:
        raise InputError(f"{name} cannot be rendered; expected one of {', '.join(COUNTERPARTS)}")
    counterpart, to_state = COUNTERPARTS[name]
    frames = FrameBuffer()
    with rendering(counterpart) as (env, draw):
        env.reset(seed=0)
        for step, observation in enumerate(observe()):
            vars(env.unwrapped)["state"] = to_state(np.asarray(observation, np.float64))
            frames.offer(step, draw)
    return frames


@contextmanager
def rendering(make: Make):
    """(environment, function that renders it). Raises InputError if it does not render arrays."""
    plain = create(make)
    modes = plain.metadata.get("render_modes") or []
    plain.close()
    if "rgb_array" not in modes:
        raise InputError(f"expected render mode rgb_array, got {list(modes)}")
    if sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & os.environ.keys():
        os.environ.setdefault("MUJOCO_GL", "egl")
    for driver in ("SDL_AUDIODRIVER", "SDL_VIDEODRIVER"):  # pygame opens sound and screen, but needs neither
        os.environ.setdefault(driver, "dummy")
    env = create(make, render_mode="rgb_array")

    def draw() -> Frame:
        try:
            frame = env.render()
        except Exception as error:  # third-party code: the errors of MuJoCo, GL and pygame have no common base
            raise InputError(f"it cannot be rendered here: {type(error).__name__}: {error}") from error
        if not isinstance(frame, np.ndarray) or frame.ndim != 3 or frame.dtype != np.uint8:
            raise InputError("expected an array of pixels from render()")
        return frame

    try:
        yield env, draw
    finally:
        env.close()


def downscaled(frame: Frame) -> Frame:
    """A frame of at most FRAME_WIDTH pixels, by averaging square blocks."""
    block = -(-frame.shape[1] // FRAME_WIDTH)
    height, width = (size // block for size in frame.shape[:2])
    blocks = frame[: height * block, : width * block].reshape(height, block, width, block, 3)
    return blocks.mean(axis=(1, 3)).round().astype(np.uint8)


def write_strip(folder: Path, name: str, frames: FrameBuffer) -> Record:
    """Write figures/frames_NAME.png of a run folder; returns the record for `frames` of report.json."""
    chosen = frames.chosen()
    file = f"figures/frames_{''.join(c if c.isalnum() else '_' for c in name)}.png"
    (folder / "figures").mkdir(exist_ok=True)
    import matplotlib.image  # here, so that --help does not wait for it

    matplotlib.image.imsave(folder / file, side_by_side([frames.frames[i] for i in chosen]))
    return {"name": name, "file": file, "steps": [frames.steps[i] for i in chosen]}


def side_by_side(frames: Iterable[Frame]) -> Frame:
    """Frames of equal height with white gaps."""
    first, *rest = frames
    white = np.full((first.shape[0], GAP, 3), 255, np.uint8)
    return np.concatenate([first, *(part for frame in rest for part in (white, frame))], axis=1)
