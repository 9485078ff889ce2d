"""The bridge to Gymnasium, and its environments side by side: against stepping by hand, and all that can be wrong."""

import json
import threading

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from irl.control.environments.gymnasium_env import bridge, create
from irl.control.rollout import vector_environment
from irl.control.rollout.vector_environment import VectorEnvironment, episode_seed
from irl.control.spaces import Box, Discrete
from irl.types import InputError


class Scripted(gymnasium.Env):
    """Every step gives what it is told to."""

    def __init__(self, observation=0.0, reward=1.0, ends=(False, False), space=None, action=None, raises=None):
        self.observation_space = space or spaces.Box(-9, 9, (2,))
        self.action_space = action or spaces.Discrete(2)
        self.given, self.reward, self.ends, self.raises = observation, reward, ends, raises
        self.actions = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.actions.append(action)
        if self.raises:
            raise self.raises
        observation = self.given if isinstance(self.given, np.ndarray) else np.full(2, self.given, np.float32)
        return observation, self.reward, *self.ends, {}


class Offered(gymnasium.Env):
    """Has spaces, and nothing else."""

    def __init__(self, observation=None, action=None):
        self.observation_space = observation if observation is not None else spaces.Discrete(2)
        self.action_space = action if action is not None else spaces.Discrete(2)


def drift():
    """Does other things every time, whatever its seed."""
    env = Scripted()
    env.step = lambda action: (np.random.default_rng().normal(size=2).astype(np.float32), 0.0, False, False, {})
    return env


def test_spaces_of_known_environments():
    cartpole, pendulum = bridge(create("CartPole-v1")), bridge(create("Pendulum-v1"))
    assert cartpole.action == Discrete(2) and cartpole.observation.shape == (4,)
    np.testing.assert_allclose(cartpole.observation.bounds()[1], [4.8, np.inf, 0.41887903, np.inf])
    assert pendulum.action == Box((1,), -2.0, 2.0) and pendulum.observation == Box((3,), (-1, -1, -8), (1, 1, 8))


def test_bounds_that_are_none():
    """As Gymnasium 0.29 writes them."""
    largest = np.finfo(np.float32).max
    space = spaces.Box(np.array([-largest, 0], np.float32), np.array([1, largest], np.float32))
    assert bridge(Offered(space)).observation == Box((2,), (-np.inf, 0), (1, np.inf))


def test_dict_and_tuple_observations_become_one_vector():
    parts = {
        "hand": spaces.Discrete(3),
        "arm": spaces.Box(-1, 1, (2, 2)),
        "rest": spaces.Tuple([spaces.MultiBinary(2)]),
    }
    flat = bridge(Offered(spaces.Dict(parts)))
    assert flat.observation == Box((9,), (-1,) * 4 + (0,) * 5, 1.0)
    seen = {"hand": 2, "arm": np.array([[0.5, -0.5], [1, 0]], np.float32), "rest": (np.array([1, 0], np.int8),)}
    np.testing.assert_array_equal(flat.read(seen), [0.5, -0.5, 1, 0, 0, 0, 1, 1, 0])  # arm, hand, rest
    assert flat.read(seen).dtype == np.float32


def test_discrete_spaces_begin_at_zero():
    of_env = bridge(Offered(spaces.Discrete(4, start=-1), spaces.Discrete(3, start=5)))
    assert (of_env.observation, of_env.action) == (Discrete(4), Discrete(3))
    assert of_env.read(-1) == 0 and of_env.read(np.int64(2)) == 3
    assert of_env.write(np.array([0, 2], np.int32)) == [5, 7]


def test_combinations_of_several_choices_are_one_choice():
    space = spaces.MultiDiscrete([2, 3])
    of_env = bridge(Offered(action=space))
    assert of_env.action == Discrete(6)
    written = of_env.write(np.arange(6))
    assert [w.tolist() for w in written] == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]
    assert all(w in space for w in written)


def test_actions_are_brought_inside_the_bounds():
    of_env = bridge(Offered(action=spaces.Box(np.array([-1, 0]), np.array([1, 2]), dtype=np.float64)))
    (written,) = of_env.write(np.array([[-3.0, 2.5]], np.float32))
    assert written.tolist() == [-1, 2] and written.dtype == np.float64


@pytest.mark.parametrize(
    ("spaces_", "message"),
    [
        ({"observation": spaces.Text(5)}, r"observations of Text\("),
        ({"observation": spaces.Dict({"x": spaces.Sequence(spaces.Discrete(2))})}, r"observations of Sequence\("),
        ({"action": spaces.MultiBinary(3)}, r"actions of MultiBinary\(3"),
        ({"action": spaces.Box(0, 5, (2,), np.int32)}, r"actions of Box\("),
        ({"action": spaces.MultiDiscrete([50, 50])}, r"actions of MultiDiscrete.*up to 1000 combinations"),
        ({"action": spaces.Dict({"x": spaces.Discrete(2)})}, r"actions of Dict\("),
    ],
)
def test_spaces_that_are_refused_are_named(spaces_, message):
    with pytest.raises(InputError, match=f"Offered: {message}"):
        bridge(Offered(**spaces_))


def test_unknown_environments_are_named():
    with pytest.raises(InputError, match=r"environment CartPol-v1: .*Did you mean.*CartPole"):
        create("CartPol-v1")
    with pytest.raises(InputError, match=r"environment nowhere:Some-v0: .*nowhere"):
        create("nowhere:Some-v0")


@pytest.mark.parametrize(
    "id", ["hostile:Some-v0", "hostile:CartPole-v1", "hostile.inner:a/b-v0", "hostile:", ":CartPole-v1"]
)
def test_an_id_imports_no_module_without_permission(id, tmp_path, monkeypatch):
    (tmp_path / "hostile.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TRACEWARD_ALLOW_IMPORTS", "seals,other")
    with pytest.raises(InputError, match=r"imports the module .*TRACEWARD_ALLOW_IMPORTS="):
        create(id)
    assert not (tmp_path / "ran").exists()


def test_an_allowed_module_is_imported(tmp_path, monkeypatch):
    (tmp_path / "friendly_module.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("TRACEWARD_ALLOW_IMPORTS", "other, friendly_module")
    create("friendly_module:CartPole-v1").close()
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "id", ["", " ", "/", "a/b/c", "../x-v0", "\0", "CartPole-v" + "9" * 5_000, "GymV21Environment-v0"]
)
def test_ids_of_nothing(id):
    with pytest.raises(InputError, match=r"^environment "):
        create(id)


@pytest.mark.parametrize(("name", "limit"), [("CartPole-v1", None), ("Pendulum-v1", 7)])
@pytest.mark.parametrize("workers", [1, 2])
def test_environments_step_as_by_hand(name, limit, workers):
    environments = VectorEnvironment(name, envs=3, seed=5, workers=workers, max_episode_steps=limit)
    rng = np.random.default_rng(0)
    by_hand = [gymnasium.make(name, max_episode_steps=limit) for _ in range(3)]
    episodes, seen = [0] * 3, [env.reset(seed=episode_seed(5, i, 0))[0] for i, env in enumerate(by_hand)]
    earned, ends = [0.0] * 3, 0
    for _ in range(40):
        actions = np.stack([env.action_space.sample() for env in by_hand]) if limit else rng.integers(0, 2, 3)
        np.testing.assert_array_equal(environments.observation, seen)
        outcome, ended = environments.step(actions)
        for i, env in enumerate(by_hand):
            seen[i], reward, terminated, truncated, _ = env.step(actions[i])
            np.testing.assert_array_equal(outcome.next_observation[i], seen[i])
            assert (outcome.terminated[i], outcome.truncated[i]) == (terminated, truncated)
            assert outcome.reward[i] == np.float32(reward)
            earned[i] += reward
            if terminated or truncated:
                episode = next(e for e in ended if e.environment == i)
                assert (episode.episode_return, episode.number) == (earned[i], episodes[i])
                episodes[i], earned[i], ends = episodes[i] + 1, 0.0, ends + 1
                seen[i] = env.reset(seed=episode_seed(5, i, episodes[i]))[0]
    assert ends >= 3
    environments.close()


def test_an_end_at_the_time_limit_is_no_truncation():
    outcome, ended = VectorEnvironment(lambda: Scripted(ends=(True, True)), envs=1, seed=0).step(np.zeros(1, int))
    assert outcome.terminated.tolist() == [True] and outcome.truncated.tolist() == [False]
    assert [(e.episode_return, e.steps) for e in ended] == [(1.0, 1)]


def test_episodes_have_seeds_of_their_own():
    seeds = {episode_seed(seed, index, episode) for seed in range(3) for index in range(5) for episode in range(20)}
    assert len(seeds) == 300


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"raises": ZeroDivisionError("by zero")}, "step 0, action 1: it raised ZeroDivisionError: by zero"),
        ({"observation": np.nan}, r"step 0: the observation is \[nan, nan\]; expected finite"),
        ({"reward": np.inf}, "step 0: the reward is inf; expected finite"),
        ({"reward": "much"}, "step 0, action 1: it raised ValueError: could not convert string"),
        (
            {"observation": np.zeros(3, np.float32)},
            r"step 0, action 1: expected an observation of shape \(2,\), as in its space, got \(3,\)",
        ),
        ({"space": spaces.Box(-9, 9, (3,))}, r"reset: expected an observation of shape \(3,\), .* got \(2,\)"),
    ],
)
@pytest.mark.parametrize("workers", [1, 2])
def test_whatever_goes_wrong_in_an_environment_is_told(settings, message, workers):
    where = r"Scripted, environment 0, episode 0 \(seed \d+\), "
    with pytest.raises(InputError, match=where + message):
        VectorEnvironment(lambda: Scripted(**settings), envs=2, seed=0, workers=workers).step(np.ones(2, int))


def test_a_discrete_observation_outside_its_space():
    env = Offered(spaces.Discrete(4))
    with pytest.raises(InputError, match="expected an observation from 0 to 3, got 4"):
        bridge(env).read(4)


def test_a_reset_to_nan():
    class Broken(Scripted):
        def reset(self, *, seed=None, options=None):
            return np.full(2, np.nan, np.float32), {}

    with pytest.raises(InputError, match=r"reset: the observation is \[nan, nan\]"):
        VectorEnvironment(Broken, envs=1, seed=0)


def test_actions_that_are_nan():
    with pytest.raises(InputError, match=r"Pendulum-v1: the agent's actions are NaN or infinite: \[\[nan\]\]"):
        VectorEnvironment("Pendulum-v1", envs=1, seed=0).step(np.array([[np.nan]], np.float32))


def test_settings_of_vector_environments():
    with pytest.raises(InputError, match="envs and workers >= 1 and seed >= 0, got 0, 1, 0"):
        VectorEnvironment("CartPole-v1", envs=0, seed=0)


def actions_for(environments, steps, seed=0):
    rng, space = np.random.default_rng(seed), environments.action_space
    if isinstance(space, Discrete):
        return rng.integers(0, space.n, (steps, len(environments))).astype(np.int32)
    return rng.normal(size=(steps, len(environments), *space.shape)).astype(np.float32)


def assert_brought_back(name, before, after, **options):
    """VectorEnvironment go on bit for bit in others that are given their state, by way of JSON."""
    first, second = (VectorEnvironment(name, envs=2, seed=1, **options) for _ in range(2))
    for actions in actions_for(first, before):
        first.step(actions)
    for actions in actions_for(second, 3, seed=9):
        second.step(actions)  # another history
    second.set_state(json.loads(json.dumps(first.get_state())))
    np.testing.assert_array_equal(first.observation, second.observation)
    for actions in actions_for(first, after, seed=2):
        (one, ended), (other, ended_other) = first.step(actions), second.step(actions)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))
        assert ended == ended_other, "returns and numbers of episodes too"


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1", "MountainCarContinuous-v0"])
def test_running_episodes_are_brought_back(name):
    assert_brought_back(name, 23, 60, max_episode_steps=40)


@pytest.mark.parametrize("name", ["HalfCheetah-v5", "Ant-v5", "Hopper-v5"])
def test_running_episodes_of_mujoco_are_brought_back(name, tmp_path, monkeypatch):
    pytest.importorskip("mujoco")
    monkeypatch.chdir(tmp_path)
    if name not in gymnasium.registry:
        pytest.skip(f"Gymnasium {gymnasium.__version__} has no {name}")
    assert_brought_back(name, 12, 30)
    assert not list(tmp_path.iterdir()), "MuJoCo wrote its log into the current folder"


def test_what_cannot_be_brought_back_is_told(capsys):
    first, second = (VectorEnvironment(drift, envs=1, seed=0) for _ in range(2))
    first.step(np.zeros(1, int))
    second.set_state(first.get_state())
    note = capsys.readouterr().err
    assert "note: Scripted, environment 0, episode 0 (seed" in note and "a new episode starts" in note
    np.testing.assert_array_equal(second.observation, np.zeros((1, 2)))
    assert second.get_state()["episodes"][0]["episode"] == 1


def test_episodes_that_are_too_long_are_not_brought_back(capsys, monkeypatch):
    monkeypatch.setattr(vector_environment, "MOST_REPLAYED", 2)
    first, second = (VectorEnvironment(Scripted, envs=1, seed=0) for _ in range(2))
    for _ in range(2):
        first.step(np.zeros(1, int))
    second.set_state(first.get_state())
    assert not capsys.readouterr().err
    first.step(np.zeros(1, int))
    second.set_state(first.get_state())
    assert "too many" in capsys.readouterr().err


def test_a_replay_that_ends_early_is_told(capsys):
    first, second = (
        VectorEnvironment(Scripted, envs=1, seed=0),
        VectorEnvironment(lambda: Scripted(ends=(True, False)), envs=1, seed=0),
    )
    for _ in range(2):
        first.step(np.zeros(1, int))
    second.set_state(first.get_state())
    assert "lead elsewhere" in capsys.readouterr().err


def test_the_state_of_other_environments_is_refused():
    cartpole = VectorEnvironment("CartPole-v1", envs=1, seed=0)
    with pytest.raises(InputError, match=r"saved for .*CartPole-v1.*'seed': 0.* but is .*'seed': 1.* now"):
        VectorEnvironment("CartPole-v1", envs=1, seed=1).set_state(cartpole.get_state())


def test_threads_step_at_the_same_time():
    all_of_them = threading.Barrier(4, timeout=20)

    class Meeting(Scripted):
        def step(self, action):
            all_of_them.wait()  # raises unless the other three come too
            return super().step(action)

    outcome, ended = VectorEnvironment(Meeting, envs=4, seed=0, workers=4).step(np.zeros(4, int))
    assert outcome.reward.tolist() == [1.0] * 4 and not ended and not all_of_them.broken
