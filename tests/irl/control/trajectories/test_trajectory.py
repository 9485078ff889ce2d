"""What a trajectory must be, sets of them, and steps cut into them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.control.spaces import Box, Discrete
from irl.control.trajectories.trajectory import (
    Trajectory,
    check_alike,
    check_spaces,
    from_arrays,
    from_steps,
    to_transitions,
)
from irl.types import InputError

OBSERVATIONS = np.arange(8, dtype=np.float32).reshape(4, 2)
ACTIONS = np.array([1, 0, 1])


def episode(steps=3, *, terminal=True, start=0, dtype=np.float32, rewards=None, environment=""):
    observations = (start + np.arange(2 * steps + 2)).reshape(steps + 1, 2).astype(dtype)
    actions = np.arange(start, start + steps) % 2
    return Trajectory(
        observations=observations, actions=actions, terminal=terminal, rewards=rewards, environment=environment
    )


def with_nan():
    observations = OBSERVATIONS.copy()
    observations[2, 1] = np.nan
    return observations


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"observations": OBSERVATIONS[:3]},
            r"observations: expected shape \(4, 2\), .* 3 actions, got \(3, 2\); append",
        ),
        ({"observations": OBSERVATIONS[:2]}, r"observations: expected shape \(4, 2\), .* 3 actions, got \(2, 2\)$"),
        ({"observations": with_nan()}, r"observations\[2\]: NaN or infinite, as 1 of 4 rows are"),
        ({"observations": np.array(["a"] * 4)}, "observations: expected an array of numbers .* got <U1"),
        ({"observations": np.array(1.0)}, r"observations: .* row per step, got .* shape \(\)"),
        ({"observations": OBSERVATIONS[:1], "actions": ACTIONS[:0]}, "actions: empty; expected at least one step"),
        ({"actions": np.array([0.0, np.inf, 0.0])}, r"actions\[1\]: NaN or infinite"),
        ({"rewards": np.array([1, 2, 3])}, r"rewards: expected floats, got dtype int64; convert"),
        ({"rewards": np.zeros(4)}, r"rewards: expected shape \(3,\), one per action, got \(4,\)"),
        ({"rewards": np.zeros((3, 1))}, r"rewards: expected shape \(3,\), one per action, got \(3, 1\)"),
        ({"rewards": np.array([0.0, 0.0, np.nan])}, r"rewards\[2\]: NaN"),
        ({"infos": ("{}",)}, "infos: expected 3, one per action, got 1"),
    ],
)
def test_what_a_trajectory_must_be(fields, message):
    with pytest.raises(InputError, match=message):
        Trajectory(**{"observations": OBSERVATIONS, "actions": ACTIONS, "terminal": True, **fields})


def test_rows_of_different_shapes():
    with pytest.raises(InputError, match="observations: expected an array, but rows differ in shape"):
        from_arrays([[1.0, 2.0], [3.0]], [0], terminal=True)


def test_lists_become_arrays():
    made = from_arrays([[1.0], [2.0]], [[0.5]], [1.0], terminal=False, environment="Pendulum-v1")
    assert made.observations.shape == (2, 1) and made.actions.shape == (1, 1) and len(made) == 1
    assert made.rewards is not None and made.rewards.tolist() == [1.0]


def test_only_terminal_trajectories_end_terminated():
    found = to_transitions([episode(2), episode(3, terminal=False, start=10)])
    assert found.terminated.tolist() == [False, True, False, False, False]
    assert np.array_equal(found.observation, [[0, 1], [2, 3], [10, 11], [12, 13], [14, 15]])
    assert np.array_equal(found.next_observation, [[2, 3], [4, 5], [12, 13], [14, 15], [16, 17]])
    assert found.action.tolist() == [0, 1, 0, 1, 0]
    assert isinstance(found.observation, np.ndarray) and found.observation.dtype == np.float32


def test_no_demonstrations():
    with pytest.raises(InputError, match="no demonstrations: expected at least one trajectory, got none"):
        to_transitions([])


def test_mixed_dtypes():
    told = r"trajectory 1, observations: expected float32\[2\] per step, as in trajectory 0, got float64\[2\]"
    with pytest.raises(InputError, match=told):
        to_transitions([episode(), episode(dtype=np.float64)])


def test_some_without_rewards():
    some = [episode(rewards=np.zeros(3)), episode()]
    with pytest.raises(InputError, match=r"trajectory 1, rewards: expected float64\[\] .* got none"):
        check_alike(some, ("rewards",))
    assert len(to_transitions(some).action) == 6, "rewards are not needed to imitate"


def test_the_right_spaces():
    fitting = [episode(), episode(5)]
    check_spaces(fitting, Box((2,)), Discrete(2))
    with pytest.raises(InputError, match="trajectory 2, observations"):  # every one is checked
        check_spaces(
            [*fitting, Trajectory(observations=OBSERVATIONS[:, :1], actions=ACTIONS, terminal=True)],
            Box((2,)),
            Discrete(2),
        )


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (Box((4,)), Discrete(2), r"trajectory 0 of Toy-v0, observations: expected shape \(4, 4\) .* got \(4, 2\)"),
        (Box((2,)), Box((1,)), r"trajectory 0 of Toy-v0, actions: expected shape \(3, 1\) .* got \(3,\)"),
        (Box((2,)), Discrete(1), r"trajectory 0 of Toy-v0, actions: expected 0 to 0, got 0 to 1; use demonstrations"),
        (Discrete(9), Discrete(2), r"observations: expected shape \(4,\)"),
    ],
)
def test_demonstrations_of_another_environment(observation, action, message):
    with pytest.raises(InputError, match=message):
        check_spaces([episode(environment="Toy-v0")], observation, action)


def steps_of(trajectories):
    """The flat arrays that a recorder of steps would have made."""
    flat = to_transitions(trajectories)
    last = np.concatenate([np.arange(1, len(t) + 1) == len(t) for t in trajectories])
    return flat.observation, flat.action, flat.next_observation, flat.terminated, last & ~flat.terminated


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 5), st.booleans()), min_size=1, max_size=5), st.booleans())
def test_steps_come_back_as_the_trajectories_they_were(parts, cut_off):
    made = [episode(steps, terminal=end, start=100 * i) for i, (steps, end) in enumerate(parts)]
    columns = steps_of(made)
    if cut_off:
        columns[-1][-1] = False
    found = from_steps(*columns, rewards=np.ones(len(columns[0])))
    assert [t.terminal for t in found] == [t.terminal for t in made]
    for one, other in zip(found, made, strict=True):
        assert np.array_equal(one.observations, other.observations) and np.array_equal(one.actions, other.actions)
        assert one.rewards is not None and len(one.rewards) == len(other)


def test_an_end_that_was_not_marked():
    *columns, truncated = steps_of([episode(2, terminal=False), episode(3, start=50)])
    with pytest.raises(InputError, match=r"row 1 differs from observation 2, .* neither terminated nor truncated"):
        from_steps(*columns, np.zeros_like(truncated))


@pytest.mark.parametrize("column", range(1, 5))
def test_columns_of_different_length(column):
    columns = list(steps_of([episode()]))
    columns[column] = columns[column][:2]
    with pytest.raises(InputError, match=": expected 3 rows, one per observation, got 2"):
        from_steps(*columns)


def test_no_steps():
    with pytest.raises(InputError, match="observations: empty"):
        from_steps(*(column[:0] for column in steps_of([episode()])))


def test_next_observations_of_another_shape():
    columns = list(steps_of([episode()]))
    columns[2] = columns[2][:, :1]
    with pytest.raises(InputError, match=r"next_observations: expected shape \(3, 2\), .* got \(3, 1\)"):
        from_steps(*columns)
