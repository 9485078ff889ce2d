"""Demonstrations of one's own: by a policy, and by hand with keys that a script presses."""

import gymnasium
import numpy as np
import pytest

from irl.control.environments.gymnasium_env import bridge, create
from irl.control.rollout import recording
from irl.control.rollout.recording import Key, PygameWindow, play, record_policy
from irl.control.rollout.vector_environment import episode_seed
from irl.control.trajectories.trajectory import check_spaces
from irl.types import InputError


def test_a_policy_is_recorded_as_by_hand():
    env = create("CartPole-v1")
    trajectories = record_policy(env, lambda seen: int(seen[2] > 0), episodes=2, seed=4)
    by_hand = gymnasium.make("CartPole-v1")
    for episode, trajectory in enumerate(trajectories):
        np.testing.assert_array_equal(trajectory.observations[0], by_hand.reset(seed=episode_seed(4, 0, episode))[0])
        for t, action in enumerate(trajectory.actions.tolist()):
            assert action == int(trajectory.observations[t][2] > 0)
            seen, reward, terminated, _, _ = by_hand.step(action)
            np.testing.assert_array_equal(seen, trajectory.observations[t + 1])
            assert reward == trajectory.rewards[t]
        assert terminated and trajectory.terminal and trajectory.environment == "CartPole-v1"
    of_env = bridge(env)
    check_spaces(trajectories, of_env.observation, of_env.action)


def test_an_episode_that_is_cut_is_not_terminal():
    cut, limited = create("Pendulum-v1"), create("Pendulum-v1", max_episode_steps=6)
    for env, steps, length in [(cut, 5, 5), (limited, None, 6)]:
        (trajectory,) = record_policy(env, lambda seen: [0.5], episodes=1, seed=0, most_steps=steps)
        assert len(trajectory) == length and not trajectory.terminal


def test_actions_are_kept_as_the_environment_got_them():
    (trajectory,) = record_policy(create("Pendulum-v1"), lambda seen: [9.0], episodes=1, seed=0, most_steps=2)
    np.testing.assert_array_equal(trajectory.actions, np.full((2, 1), 2, np.float32))
    assert trajectory.actions.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "action", "message"),
    [
        ("CartPole-v1", 2, "expected 0 to 1, got 2"),
        ("CartPole-v1", 0.5, "expected integers below 2, got dtype float64"),
        ("Pendulum-v1", 0.5, r"expected shape \(1, 1\) of Box.*got \(1,\)"),
        ("Pendulum-v1", [np.nan], "NaN or infinite"),
    ],
)
def test_policies_that_answer_wrongly(name, action, message):
    with pytest.raises(InputError, match=f"{name}, environment 0, episode 0 .*, action.*{message}"):
        record_policy(create(name), lambda seen: action, episodes=1, seed=0)


def test_no_episodes():
    with pytest.raises(InputError, match="CartPole-v1: expected at least 1 episode, got 0"):
        record_policy(create("CartPole-v1"), lambda seen: 0, episodes=0, seed=0)


class Script:
    """A window whose keys are told beforehand: "a+" goes down, "a-" up; pictures are kept."""

    def __init__(self, *pressed):
        self.pressed, self.frames, self.waited, self.ticks = list(pressed), [], [], []

    def show(self, frame):
        self.frames.append(frame)

    def keys(self, wait):
        self.waited.append(wait)
        return [Key(k[:-1], k[-1] == "+") for k in self.pressed.pop(0).split()]

    def tick(self, rate):
        self.ticks.append(rate)


class Steps(gymnasium.Env):
    """Counts its steps; over after `length`."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 12}  # noqa: RUF012
    render_mode = "rgb_array"

    def __init__(self, length=4):
        self.observation_space, self.action_space = gymnasium.spaces.Box(0, 99, (1,)), gymnasium.spaces.Discrete(4)
        self.length = length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.count += 1
        return np.full(1, self.count, np.float32), float(action), self.count == self.length, False, {}

    def render(self):
        return np.full((4, 6, 3), self.count, np.uint8)


KEYS = {"left": 0, "right": 2, "Left+up": 3}


def test_keys_that_are_held_steer():
    window = Script("", "left+", "", "up+", "left- right+", "up- right-", "right+ right-", "")
    (trajectory,) = play(Steps(8), KEYS, idle=1, episodes=1, seed=0, window=window)
    # nothing; left; left still; left and up; up and right: no such key; nothing; right, for a moment; nothing
    assert trajectory.actions.tolist() == [1, 0, 0, 3, 1, 1, 2, 1]
    assert trajectory.terminal and trajectory.rewards.tolist() == trajectory.actions.tolist()
    assert [frame[0, 0, 0] for frame in window.frames] == list(range(8)), "every state is shown before it is acted on"
    assert window.ticks == [12.0] * 8 and not any(window.waited)


def test_without_idle_the_environment_waits():
    window = Script("", "x+", "left+", "left-", "up+", "left+", "left+")
    (trajectory,) = play(Steps(3), {"left": 0, "left+up": 3}, episodes=1, seed=0, window=window)
    assert trajectory.actions.tolist() == [0, 3, 3], "no step for a key that means nothing, alone or at all"
    assert all(window.waited)


def test_escape_ends_and_backspace_begins_again():
    window = Script("", "", "", "", "", "backspace+", "backspace-", "", "", "", "escape+")
    recorded = play(Steps(4), KEYS, idle=1, episodes=5, seed=0, window=window)
    assert [t.observations[:, 0].tolist() for t in recorded] == [[0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]


def test_settings_of_play():
    with pytest.raises(InputError, match=r'CartPole-v1: made with render_mode=None; make it with "rgb_array"'):
        play(create("CartPole-v1"), {"left": 0}, episodes=1, seed=0)
    with pytest.raises(InputError, match="Steps, key 'up': expected 0 to 3, got 4"):
        play(Steps(), {"up": 4}, episodes=1, seed=0, window=Script())
    with pytest.raises(InputError, match="Steps, key 'idle': expected 0 to 3, got -1"):
        play(Steps(), {"up": 1}, idle=-1, episodes=1, seed=0, window=Script())


def test_a_window_of_pygame(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    pygame = pytest.importorskip("pygame")
    shown = []

    class Played(PygameWindow):
        """Presses keys when the first picture is there, and releases one before the third."""

        def show(self, frame):
            super().show(frame)
            shown.append(pygame.surfarray.array3d(self._screen))
            events = {
                1: [(pygame.KEYDOWN, pygame.K_LEFT), (pygame.KEYDOWN, pygame.K_UP)],
                3: [(pygame.KEYUP, pygame.K_UP)],
            }
            for kind, key in events.get(len(shown), []):
                pygame.event.post(pygame.event.Event(kind, key=key))
            if len(shown) == 5:
                pygame.event.post(pygame.event.Event(pygame.QUIT))

    monkeypatch.setattr(recording, "PygameWindow", Played)
    (trajectory,) = play(Steps(4), KEYS, idle=1, episodes=2, seed=0, frames_per_second=1000)
    assert trajectory.actions.tolist() == [3, 3, 0, 0]
    assert [picture.shape for picture in shown] == [(6, 4, 3)] * 5 and (shown[2] == 2).all()
    assert not pygame.display.get_init(), "the window is closed"


def test_pygame_is_asked_for(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pygame", None)
    with pytest.raises(InputError, match=r"needs pygame: pip install 'traceward\[keyboard\]'"):
        play(Steps(), KEYS, idle=1, episodes=1, seed=0)
