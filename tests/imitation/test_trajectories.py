"""imitation 1.0.1 writes what we read, and reads what we write."""

import datasets
import gymnasium as gym
import numpy as np
import pytest
import torch
from imitation.algorithms.bc import BC
from imitation.data import rollout, serialize
from imitation.data.types import Trajectory as TheirTrajectory
from imitation.data.types import TrajectoryWithRew
from imitation.data.wrappers import RolloutInfoWrapper
from imitation.util.util import make_vec_env

from irl.control.spaces import Box, Discrete
from irl.control.trajectories.files import read_trajectories
from irl.control.trajectories.imitation_format import write_imitation
from irl.control.trajectories.trajectory import check_spaces, to_transitions


@pytest.fixture(scope="module")
def rollouts():
    """A random policy's episodes in the peer's own CartPole, with its infos."""
    rng = np.random.default_rng(0)
    venv = make_vec_env(
        "seals:seals/CartPole-v0", rng=rng, n_envs=2, post_wrappers=[lambda e, _: RolloutInfoWrapper(e)]
    )
    return rollout.rollout(None, venv, rollout.make_sample_until(min_episodes=2), rng=rng, unwrap=True)


def test_its_demonstrations(rollouts, tmp_path):
    serialize.save(tmp_path / "d", rollouts)
    found = read_trajectories(tmp_path / "d")
    for one, other in zip(found, rollouts, strict=True):
        assert one.observations.dtype == other.obs.dtype and np.array_equal(one.observations, other.obs)
        assert one.actions.dtype == other.acts.dtype and np.array_equal(one.actions, other.acts)
        assert one.rewards is not None and one.rewards.dtype == other.rews.dtype
        assert np.array_equal(one.rewards, other.rews) and one.terminal == other.terminal
    check_spaces(found, Box((4,)), Discrete(2))


def test_the_same_transitions(rollouts, tmp_path):
    serialize.save(tmp_path / "d", rollouts)
    ours, theirs = to_transitions(read_trajectories(tmp_path / "d")), rollout.flatten_trajectories(rollouts)
    assert np.array_equal(ours.observation, theirs.obs) and np.array_equal(ours.next_observation, theirs.next_obs)
    assert np.array_equal(ours.action, theirs.acts) and np.array_equal(ours.terminated, theirs.dones)


@pytest.mark.parametrize("rewards", [True, False])
def test_ours_in_its_hands(tmp_path, rewards):
    """float32 in our file; it is its own reader that makes float64 of it."""
    rng = np.random.default_rng(0)
    obs, acts = rng.normal(size=(6, 3)).astype(np.float32), rng.integers(0, 2, 5)
    plain = {"obs": obs, "acts": acts, "infos": np.array([{"step": i} for i in range(5)]), "terminal": True}
    made = TrajectoryWithRew(**plain, rews=np.ones(5, np.float32)) if rewards else TheirTrajectory(**plain)
    serialize.save(tmp_path / "its", [made, made])
    write_imitation(tmp_path / "ours", read_trajectories(tmp_path / "its"))
    its, ours = (datasets.load_from_disk(str(tmp_path / name)) for name in ("its", "ours"))
    assert ours.features == its.features and ours.data.table.equals(its.data.table)
    loaded = serialize.load(tmp_path / "ours")
    assert len(loaded) == 2 and type(loaded[0]) is type(made)
    assert np.array_equal(loaded[1].obs, obs) and np.array_equal(loaded[1].acts, acts) and loaded[1].terminal
    assert list(loaded[0].infos) == [{"step": i} for i in range(5)]
    assert np.float32 == ours.with_format("numpy")[0]["obs"].dtype


def test_it_learns_the_same_from_ours(rollouts, tmp_path):
    """Two updates on our file and two on its own end with the same weights."""
    serialize.save(tmp_path / "its", rollouts)
    write_imitation(tmp_path / "ours", read_trajectories(tmp_path / "its"))
    spaces = {"observation_space": gym.spaces.Box(-np.inf, np.inf, (4,)), "action_space": gym.spaces.Discrete(2)}

    def weights(folder, n_batches):
        torch.manual_seed(0)
        learner = BC(**spaces, demonstrations=serialize.load(folder), rng=np.random.default_rng(0))
        if n_batches:
            learner.train(n_batches=n_batches, progress_bar=False)
        return torch.nn.utils.parameters_to_vector(learner.policy.parameters()).detach().numpy()

    ours = weights(tmp_path / "ours", 2)
    np.testing.assert_array_equal(ours, weights(tmp_path / "its", 2))
    assert np.abs(ours - weights(tmp_path / "ours", 0)).max() > 1e-4
