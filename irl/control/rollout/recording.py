"""Record demonstrations: by a policy, or by hand with the keyboard in a rendered environment.

    env = create("MountainCar-v0", render_mode="rgb_array")
    trajectories = play(env, {"left": 0, "right": 2}, idle=1, episodes=3, seed=0)
    save_trajectories("mine.safetensors", trajectories)

Keys have the names of pygame; "left+up" means two keys held together. Escape ends the recording and backspace starts a
new episode. Both discard the current episode.
"""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, Protocol, runtime_checkable

import gymnasium
import numpy as np

from irl.control.environments.gymnasium_env import Bridge, bridge, name_of
from irl.control.rollout.vector_environment import EpisodeRunner, Step
from irl.control.spaces import Discrete, Space, check_values
from irl.control.trajectories.trajectory import Trajectory
from irl.types import InputError

END, AGAIN = "escape", "backspace"


def record_policy(
    env: gymnasium.Env,
    policy: Callable[[np.ndarray], Any],
    *,
    episodes: int,
    seed: int,
    most_steps: int | None = None,
) -> list[Trajectory]:
    """Record episodes of a policy, which maps an observation of `bridge(env).observation` to an action.

    An episode stops after `most_steps` and is then not terminal.
    """
    return [_record(runner, policy, most_steps) for runner in _episodes(env, bridge(env), episodes, seed)]


def _episodes(env: gymnasium.Env, of_env: Bridge, episodes: int, seed: int):
    if episodes < 1:
        raise InputError(f"recording {name_of(env)}: expected at least 1 episode, got {episodes}")
    runner = EpisodeRunner(env, of_env, seed, 0)
    for _ in range(episodes):
        runner.begin()
        yield runner


def _record(runner: EpisodeRunner, policy: Callable[[np.ndarray], Any], most_steps: int | None) -> Trajectory:
    tape = Tape(runner)
    while not tape.over and (most_steps is None or len(tape.steps) < most_steps):
        tape.do(policy(runner.observation))
    return tape.trajectory()


class Tape:
    """The recording of the current episode. Actions are stored as the environment received them, within bounds."""

    def __init__(self, runner: EpisodeRunner):
        self._runner, self._first = runner, runner.observation
        self.steps: list[Step] = []
        self._actions: list[np.ndarray] = []

    @property
    def over(self) -> bool:
        return bool(self.steps) and (self.steps[-1].terminated or self.steps[-1].truncated)

    def do(self, action: Any) -> None:
        """One step."""
        space = self._runner.bridge.action
        batch = as_action(f"{self._runner.where}, action", space, action)[None]
        given = self._runner.bridge.write(batch)[0]
        self.steps.append(self._runner.advance(given))
        self._actions.append(batch[0] if isinstance(space, Discrete) else np.asarray(given, space.dtype))

    def trajectory(self) -> Trajectory:
        return Trajectory(
            observations=np.stack([self._first, *(step.observation for step in self.steps)]),
            actions=np.stack(self._actions),
            rewards=np.array([step.reward for step in self.steps], np.float32),
            terminal=bool(self.steps) and self.steps[-1].terminated,
            environment=name_of(self._runner.env),
        )


def as_action(name: str, space: Space, action: Any) -> np.ndarray:
    """One action as an array of the space; InputError where it is none."""
    values = np.asarray(action)
    if not isinstance(space, Discrete):
        values = values.astype(space.dtype)
    check_values(name, space, values[None], (1,))
    return values.astype(space.dtype)


class Key(NamedTuple):
    """A key press or release."""

    name: str
    down: bool


@runtime_checkable
class Window(Protocol):
    """Displays an environment and reads keys."""

    def show(self, frame: np.ndarray) -> None:
        """Display a frame uint8[height, width, 3]."""
        ...

    def keys(self, wait: bool) -> Sequence[Key]:
        """The key events since the last call; with `wait`, blocks until there is one."""
        ...

    def tick(self, frames_per_second: float) -> None:
        """Wait until the next frame is due."""
        ...


def play(
    env: gymnasium.Env,
    keys: Mapping[str, Any],
    *,
    episodes: int,
    seed: int,
    idle: Any = None,
    frames_per_second: float | None = None,
    window: Window | None = None,
) -> list[Trajectory]:
    """Record episodes by hand. `idle` is the action while no key is held; without it, every step waits for a key.

    The environment needs render_mode="rgb_array". The default `window` is a `PygameWindow`.
    """
    of_env = bridge(env)
    if env.render_mode != "rgb_array":
        raise InputError(f'{name_of(env)}: made with render_mode={env.render_mode!r}; make it with "rgb_array"')
    hands = Hands({frozenset(name.lower().split("+")): action for name, action in keys.items()}, idle)
    for name, action in [*keys.items(), *([] if idle is None else [("idle", idle)])]:
        as_action(f"{name_of(env)}, key {name!r}", of_env.action, action)
    rate = frames_per_second or float(env.metadata.get("render_fps") or 30)
    if window is not None:
        return _play(env, of_env, hands, window, episodes, seed, rate)
    window = PygameWindow(f"{name_of(env)}: {END} ends, {AGAIN} begins again")
    try:
        return _play(env, of_env, hands, window, episodes, seed, rate)
    finally:
        window.close()


def _play(
    env: gymnasium.Env, of_env: Bridge, hands: "Hands", window: Window, episodes: int, seed: int, rate: float
) -> list[Trajectory]:
    recorded: list[Trajectory] = []
    runners = _episodes(env, of_env, episodes, seed)
    for runner in runners:
        tape = Tape(runner)
        while not tape.over:
            window.show(np.asarray(env.render()))
            pressed = window.keys(wait=hands.waits)
            names = {key.name for key in pressed if key.down}
            if END in names:
                return recorded
            if AGAIN in names:
                runner.begin()
                tape = Tape(runner)
            action = hands.action(pressed)
            if action is not None:
                tape.do(action)
            window.tick(rate)
        recorded.append(tape.trajectory())
    return recorded


class Hands:
    """The keys that are held, and the action that they mean."""

    def __init__(self, actions: Mapping[frozenset[str], Any], idle: Any):
        self._actions, self._idle = actions, idle
        self._known = frozenset().union(*actions)
        self._held: set[str] = set()

    @property
    def waits(self) -> bool:
        """Whether the environment waits for a key."""
        return self._idle is None

    def action(self, pressed: Sequence[Key]) -> Any:
        """The current action, or None. A key that was pressed and released between two frames counts as held."""
        for key in pressed:
            (self._held.add if key.down else self._held.discard)(key.name)
        now = self._held | {key.name for key in pressed if key.down}
        if self.waits and not any(key.down and key.name in self._known for key in pressed):
            return None
        return self._actions.get(frozenset(now & self._known), self._idle)


class PygameWindow:
    """A window of pygame."""

    def __init__(self, title: str):
        self._pygame = _pygame()
        self._pygame.display.init()
        self._pygame.display.set_caption(title)
        self._pygame.key.set_repeat(300, 50)
        self._clock = self._pygame.time.Clock()
        self._screen: Any = None

    def show(self, frame: np.ndarray) -> None:
        size = (frame.shape[1], frame.shape[0])
        if self._screen is None:
            self._screen = self._pygame.display.set_mode(size)
        frame_surface = self._pygame.surfarray.make_surface(np.swapaxes(frame, 0, 1))
        self._screen.blit(frame_surface, (0, 0))
        self._pygame.display.flip()

    def keys(self, wait: bool) -> Sequence[Key]:
        happened = [self._pygame.event.wait()] if wait else []
        return [key for event in [*happened, *self._pygame.event.get()] for key in self._key(event)]

    def tick(self, frames_per_second: float) -> None:
        self._clock.tick(frames_per_second)

    def close(self) -> None:
        self._pygame.display.quit()

    def _key(self, event: Any) -> list[Key]:
        if event.type == self._pygame.QUIT:
            return [Key(END, True)]
        if event.type not in (self._pygame.KEYDOWN, self._pygame.KEYUP):
            return []
        return [Key(self._pygame.key.name(event.key).lower(), event.type == self._pygame.KEYDOWN)]


def _pygame() -> ModuleType:
    try:
        import pygame
    except ImportError:
        raise InputError("recording with the keyboard needs pygame: pip install 'traceward[keyboard]'") from None
    return pygame
