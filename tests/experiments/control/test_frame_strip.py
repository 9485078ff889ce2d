"""Frames of episodes: thinned out evenly, put side by side, shown in the page; what cannot be rendered is said."""

import json

import gymnasium
import jax
import jax.numpy as jnp
import matplotlib.image
import numpy as np
import pytest
from gymnasium import spaces

from experiments.control.frame_strip import (
    COUNTERPARTS,
    FRAME_WIDTH,
    FRAMES,
    GAP,
    FrameBuffer,
    downscaled,
    observe,
    of_gymnasium,
    of_pure_jax,
    reading,
    render,
    side_by_side,
)
from experiments.core.run_folder import RunFolder
from experiments.reporting.report import write_report
from irl.control.agent import Agent
from irl.control.environments.gymnax_env import jax_environment
from irl.types import InputError

KEY = jax.random.key(0)


def always(action):
    """An agent that does one thing."""

    def best(state, seen):
        return jnp.broadcast_to(jnp.asarray(action), (len(seen), *np.shape(action)))

    return Agent(lambda key: None, lambda s, o, k: (best(s, o), jnp.zeros(len(o))), best, lambda *a: None, lambda *a: a)


class Painted(gymnasium.Env):
    """Seven steps; paints the step's number as a shade of grey."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 1}  # noqa: RUF012
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode, self.time = render_mode, 0

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.time += 1
        return np.zeros(1, np.float32), 1.0, self.time == 7, False, {}

    def render(self):
        return np.full((20, 30, 3), 10 * self.time, np.uint8)


class Unpaintable(Painted):
    def render(self):
        raise RuntimeError("no GL here")


class Blind(Painted):
    metadata = {}  # noqa: RUF012


class Listed(Painted):
    def render(self):
        return [1, 2]


def shown(folder, records):
    (folder / "report.json").write_text(json.dumps({"frames": records}))
    return write_report(folder).read_text()


def test_frames_of_a_host_episode_are_in_the_page(tmp_path):
    records = of_gymnasium(RunFolder(tmp_path, 0), "Painted, seed 0", Painted, always(1), None, 0)
    (record,) = records
    assert record["steps"] == [0, 1, 3, 4, 6, 7] and record["file"] == "figures/frames_Painted__seed_0.png"
    picture = (255 * matplotlib.image.imread(tmp_path / record["file"])[..., :3]).round().astype(int)
    assert picture.shape == (20, 6 * 30 + 5 * GAP, 3)
    assert picture[0, :: 30 + GAP, 0].tolist() == [10 * step for step in record["steps"]]
    page = shown(tmp_path, records)
    assert page.count("<img ") == 1 and 'src="data:image/png;base64,' in page and "Painted, seed 0" in page
    assert "Steps 0, 1, 3, 4, 6, 7 of one episode" in page


def test_a_long_episode_is_thinned_out_evenly():
    kept, asked = FrameBuffer(), []
    for step in range(1001):
        kept.offer(step, lambda step=step: asked.append(step) or np.zeros((2, 2, 3), np.uint8))
    chosen = [kept.steps[i] for i in kept.chosen()]
    assert len(kept.frames) == len(kept.steps) < 2 * FRAMES and len(chosen) == FRAMES
    assert chosen[0] == 0 and chosen[-1] > 870 and max(np.diff(chosen)) <= 2 * min(np.diff(chosen))
    assert len(asked) < 60, "what is not kept is not drawn"


def test_frames_are_made_smaller_by_blocks():
    frame = np.zeros((11, 2 * FRAME_WIDTH + 1, 3), np.uint8)
    frame[0, 0], frame[3, 5] = 90, 18
    small = downscaled(frame)
    assert small.shape == (3, (2 * FRAME_WIDTH + 1) // 3, 3) and small[0, 0, 0] == 10 and small[1, 1, 0] == 2
    assert side_by_side([small, small]).shape == (3, 2 * small.shape[1] + GAP, 3)
    np.testing.assert_array_equal(downscaled(small), small)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (Unpaintable, "it cannot be rendered here: RuntimeError: no GL here"),
        (Listed, "expected an array of pixels from render()"),
        (Blind, "expected render mode rgb_array, got"),
        ("NoSuch-v0", "environment NoSuch-v0: "),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(make, message, tmp_path):
    assert of_gymnasium(RunFolder(tmp_path, 0), "mine", make, always(0), None, 0) == []
    (line,) = (tmp_path / "log.txt").read_text().splitlines()
    assert f"no frames of mine: {message}" in line


def test_a_pure_jax_environment_without_a_twin_is_said(tmp_path):
    pytest.importorskip("gymnax")
    world = jax_environment("CartPole-v1")._replace(name="Catch-bsuite")
    assert of_pure_jax(RunFolder(tmp_path, 0), "Catch", world, always(0), None, KEY) == []
    assert (
        "no frames of Catch: Catch-bsuite cannot be rendered; expected one of CartPole-v1"
        in (tmp_path / "log.txt").read_text()
    )


def test_observations_are_of_one_episode():
    pytest.importorskip("gymnax")
    world = jax_environment("CartPole-v1")
    seen = observe(world, always(1), None, KEY)
    assert 8 <= len(seen) <= 13 and abs(seen[-1][2]) > 0.209 >= abs(seen[-2][2]), "it falls, and that is the last seen"


@pytest.mark.parametrize("name", COUNTERPARTS)
def test_twins_draw_what_is_observed(name):
    """As they draw their own state, and differently from another state."""
    pytest.importorskip("pygame")
    twin, state_of = COUNTERPARTS[name]
    env = gymnasium.make(twin, render_mode="rgb_array", disable_env_checker=True)
    first, _ = env.reset(seed=1)
    frame = env.render()
    np.testing.assert_allclose(state_of(np.asarray(first, np.float64)), env.unwrapped.state, atol=1e-6)
    there, _ = env.reset(seed=5)
    env.close()
    kept = render(name, lambda: np.stack([first, there]))
    np.testing.assert_array_equal(kept.frames[0], downscaled(frame))
    assert not np.array_equal(*kept.frames)


def test_an_agent_reads_through_glasses():
    echo = Agent(lambda key: None, lambda s, o, k: (o, o[:, 0]), lambda s, o: o, lambda s, o, a: o[:, 0], lambda *a: a)
    twice = reading(echo, lambda seen: 2 * seen)
    seen = jnp.array([[1.0], [3.0]])
    assert twice.greedy(None, seen).tolist() == twice.act(None, seen, KEY)[0].tolist() == [[2], [6]]
    assert twice.log_prob(None, seen, seen).tolist() == [2, 6]


def test_an_environment_that_raises_is_said(tmp_path):
    class Broken(Painted):
        def step(self, action):
            raise ValueError("broken")

    assert of_gymnasium(RunFolder(tmp_path, 0), "mine", Broken, always(0), None, 0) == []
    assert "it raised ValueError: broken" in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize("name", ["../outside.png", "figures/none.png", "figures/text.png"])
def test_a_picture_that_is_none_is_refused(name, tmp_path):
    (tmp_path / "run" / "figures").mkdir(parents=True)
    (tmp_path / "outside.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "run" / "figures" / "text.png").write_text("no picture")
    message = "expected a PNG" if "text" in name else "expected a picture inside the folder, got"
    with pytest.raises(InputError, match=rf"frames\[0\]\.file: {message}"):
        shown(tmp_path / "run", [{"name": "x", "file": name, "steps": [0]}])
