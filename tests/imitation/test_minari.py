"""Minari 0.5 writes what we read, in both of its formats, also for spaces in dictionaries."""

import minari
import numpy as np
import pytest
from gymnasium import spaces
from minari.data_collector import EpisodeBuffer

from irl.control.trajectories.files import read_trajectories

BOX = spaces.Box(-1, 1, (2,), np.float32)
GOAL = spaces.Dict({"where": BOX, "goal": spaces.Discrete(3), "pair": spaces.Tuple((BOX, spaces.MultiBinary(2)))})


def values(space, count):
    """Samples as Minari's buffers hold them: dicts and tuples of arrays."""
    if isinstance(space, spaces.Dict):
        return {name: values(inner, count) for name, inner in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(values(inner, count) for inner in space)
    return np.stack([space.sample() for _ in range(count)])


def row(tree, index):
    if isinstance(tree, dict):
        return {name: row(inner, index) for name, inner in tree.items()}
    return tuple(row(inner, index) for inner in tree) if isinstance(tree, tuple) else tree[index]


@pytest.mark.parametrize("form", ["hdf5", "arrow"])
@pytest.mark.parametrize("space", [BOX, GOAL], ids=["box", "dict"])
def test_its_data_sets(tmp_path, monkeypatch, form, space):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    action = spaces.Discrete(3)
    ends = [(3, True), (5, False)]
    buffers = [
        EpisodeBuffer(
            observations=values(space, steps + 1),
            actions=list(values(action, steps)),
            rewards=[0.5] * steps,
            terminations=[False] * (steps - 1) + [end],
            truncations=[False] * (steps - 1) + [not end],
        )
        for steps, end in ends
    ]
    minari.create_dataset_from_buffers(
        "toy/test-v0", buffers, observation_space=space, action_space=action, data_format=form
    )
    found = read_trajectories(tmp_path / "toy" / "test-v0")
    assert [(len(t), t.terminal) for t in found] == ends
    for one, other in zip(found, buffers, strict=True):
        flat = [spaces.flatten(space, row(other.observations, i)) for i in range(len(one) + 1)]
        assert np.array_equal(one.observations, np.stack(flat))
        assert one.actions.tolist() == [int(a) for a in other.actions]
        assert one.rewards is not None and one.rewards.tolist() == other.rewards
