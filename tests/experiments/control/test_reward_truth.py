"""Learned rewards of known distance from the truth: shaped, negated, rescaled, unrelated, constant."""

import numpy as np
import pytest

from experiments.control.reward_truth import Steps, of_rollout, of_trajectories, potentials, truth_rows
from irl.control.trajectories.trajectory import Trajectory
from irl.control.types import Rollout, Transitions
from irl.types import InputError

DISCOUNT = 0.9


def walk(rows, seed):
    """Episodes of 20 steps that no time limit ends, in two dimensions with two actions."""
    rng = np.random.default_rng(seed)
    seen = rng.normal(size=(rows, 2)).astype(np.float32)
    action = rng.integers(0, 2, rows)
    following = (0.5 * seen + action[:, None] + rng.normal(size=seen.shape)).astype(np.float32)
    steps = Transitions(seen, action, following, np.zeros(rows, bool))
    return Steps(steps, true(steps), np.arange(rows) // 20)


def true(steps):
    return steps.observation[:, 0] + 2.0 * steps.action - steps.next_observation[:, 1]


def shaped(steps):
    """The truth on another scale, a constant more, and a potential of degree 2."""

    def potential(seen):
        return 1 + 4 * seen[:, 0] * seen[:, 1] - seen[:, 0] ** 2

    moved = DISCOUNT * potential(steps.next_observation) - potential(steps.observation)
    return 3 * true(steps) + 5 + moved


def negated(steps):
    return -true(steps)


KINDS = {"random actions": walk(400, 0), "the expert": walk(200, 1)}


def rows_of(*rewards, kinds=KINDS, truth=true):
    return truth_rows(rewards, [kinds] * len(rewards), DISCOUNT, "demonstrations", true=truth)


def values(rows):
    return {(row["name"], row["note"].split(";")[0]): row["value"] for row in rows}


def distances(rows):
    return {row["name"]: row["value"] for row in rows if "distance" in row["name"]}


def test_shaping_is_forgotten_by_distances_and_seen_by_correlations():
    rows = rows_of(shaped)
    assert set(distances(rows)) == {"EPIC distance", "STARC distance, minimal", "STARC distance, value-levelled"}
    assert all(value == pytest.approx(0, abs=2e-3) for value in distances(rows).values())
    seen = values(rows)["learned and true reward of a step, on random actions", "Pearson's correlation"]
    assert seen == pytest.approx(
        np.corrcoef(shaped(KINDS["random actions"].transitions), KINDS["random actions"].reward)[0, 1]
    )
    assert seen < 0.9


def test_the_negated_reward_is_farthest_and_the_truth_nearest():
    far, near = rows_of(negated), rows_of(true)
    assert all(value == pytest.approx(1) for value in distances(far).values())
    assert all(value == pytest.approx(0, abs=1e-6) for value in distances(near).values())
    for rows, sign in ((far, -1), (near, 1)):
        found = {name: value for name, value in values(rows).items() if "correlation" in name[1]}
        assert len(found) == 2 * (len(KINDS) + 2) and all(value == pytest.approx(sign) for value in found.values())


def test_rewards_of_unrelated_states_are_half_way():
    """Independent: correlation 0, so sqrt(1/2) apart."""
    rng = np.random.default_rng(7)
    unrelated = {id(k.transitions): rng.normal(size=len(k.reward)) for k in KINDS.values()}
    rows = truth_rows([lambda steps: unrelated[id(steps)]], [KINDS], DISCOUNT, "demonstrations")
    assert all(value == pytest.approx(0.5**0.5, abs=0.06) for value in distances(rows).values())


def test_one_kind_has_no_mixture_of_its_own_and_without_the_function_epic_is_left_out():
    rows = rows_of(shaped, kinds={"the expert": KINDS["the expert"]}, truth=None)
    assert not any("equal parts of these" in row["name"] for row in rows)
    assert "EPIC distance" not in distances(rows)
    assert all("EPIC is omitted" in row["note"] for row in rows if "STARC" in row["name"])


def test_intervals_are_over_seeds_and_one_seed_has_none():
    rows = rows_of(true, true, negated)
    epic = next(row for row in rows if row["name"] == "EPIC distance")
    assert epic["value"] == pytest.approx(1 / 3) and (epic["low"], epic["high"]) == pytest.approx((0, 1))
    assert all(row["low"] is None and row["high"] is None for row in rows_of(true))


def test_a_reward_that_does_not_vary_defines_no_correlation():
    flat = KINDS["the expert"]._replace(reward=np.ones(200))
    rows = truth_rows([true, lambda steps: 0 * true(steps)], [{"random actions": KINDS["random actions"]}] * 2, 0.9, "")
    assert "rank correlation; defined on 1 of 2 seeds" in {row["note"] for row in rows}
    assert not [row for row in rows_of(true, kinds={"the expert": flat}) if "correlation" in row["note"]]


def test_returns_are_summed_over_episodes():
    steps = Transitions(np.arange(4.0)[:, None], np.zeros(4, int), np.zeros((4, 1)), np.zeros(4, bool))
    data = {"mine": Steps(steps, np.array([0.0, 3.0, 1.0, 1.0]), np.array([0, 0, 1, 1]))}
    said = lambda steps: np.array([1.0, 0.0, 2.0, 2.0])  # returns 1 and 4 beside 3 and 2  # noqa: E731
    rows = values(truth_rows([said], [data], 0.9, ""))
    assert rows["learned and true return of an episode", "rank correlation"] == pytest.approx(-1)


def test_a_rollout_is_read_lane_by_lane():
    over = np.array([[False, True], [True, False], [False, False]])
    numbers = np.arange(6).reshape(3, 2)
    made = Rollout(
        numbers[..., None] * 1.0, numbers, numbers[..., None] + 1.0, over, ~over & False, numbers * 10.0, numbers
    )
    found = of_rollout(made)
    assert found.transitions.action.tolist() == [0, 2, 4, 1, 3, 5]
    assert found.reward.tolist() == [0, 20, 40, 10, 30, 50]
    assert found.episode.tolist() == [0, 0, 1, 2, 3, 3]
    assert found.transitions.terminated.tolist() == [False, True, False, True, False, False]


def test_trajectories_become_episodes():
    paid = [np.array([1.0, 2.0]), np.array([3.0])]
    made = [
        Trajectory(observations=np.zeros((len(r) + 1, 2)), actions=np.zeros(len(r), int), terminal=True, rewards=r)
        for r in paid
    ]
    found = of_trajectories(made)
    assert found.reward.tolist() == [1, 2, 3] and found.episode.tolist() == [0, 0, 1]
    unpaid = Trajectory(observations=np.zeros((3, 2)), actions=np.zeros(2, int), terminal=True)
    with pytest.raises(InputError, match="1 of 3 have no rewards"):
        of_trajectories([*made, unpaid])


def test_potentials_are_of_degree_2_or_one_per_state():
    basis = potentials(np.array([[0.0, 1.0], [2.0, 1.0]]))  # the second coordinate does not vary
    np.testing.assert_allclose(basis(np.array([[4.0, 2.0]])), [[1, 3, 1, 9, 3, 1]])
    wide = potentials(np.random.default_rng(0).normal(size=(50, 30)))
    assert wide(np.zeros((2, 30))).shape == (2, 1 + 30 + 30)
    assert potentials(np.array([2, 0, 2]))(np.array([0, 2])).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: truth_rows([], [], 0.9, ""), "got 0 and 0"),
        (lambda: truth_rows([true], [], 0.9, ""), "got 1 and 0"),
        (lambda: truth_rows([true], [{}], 0.9, ""), "at least one policy, got none"),
        (lambda: truth_rows([true], [KINDS], 1.0, ""), "discount: expected 0 to below 1, got 1.0"),
        (lambda: rows_of(lambda s: true(s)[1:]), r"learned reward on random actions: expected one for each of 400"),
        (lambda: rows_of(lambda s: true(s) * np.nan), "learned reward on random actions: 400 of 400 are not finite"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_no_epic_against_a_function_that_is_not_what_was_paid():
    """As where a reading clips the observations that the true reward hangs on."""
    clipped = rows_of(shaped, truth=lambda steps: true(steps._replace(observation=np.clip(steps.observation, -1, 1))))
    constant = rows_of(shaped, truth=lambda steps: np.ones(len(steps.action)))
    for rows in (clipped, constant):
        assert set(distances(rows)) == {"STARC distance, minimal", "STARC distance, value-levelled"}
