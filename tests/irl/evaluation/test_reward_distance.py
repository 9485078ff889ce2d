"""Distances of rewards against values by hand, what they must forget, and tables that samples must find again."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import pearsonr

from irl.control.types import Transitions
from irl.evaluation.reward_distance import (
    Dynamics,
    epic_canonical,
    epic_distance,
    epic_findings,
    marginals,
    minimal,
    starc_distance,
    starc_findings,
    value_levelled,
)

quick = settings(deadline=None, max_examples=40, derandomize=True)
S, A = 4, 3
tables = arrays(np.float64, (S, A, S), elements=st.floats(-10, 10, width=16))
potentials = arrays(np.float64, S, elements=st.floats(-100, 100, width=16))
scales = st.floats(0.01, 100)


def normalised(weights):
    return weights / weights.sum(axis=-1, keepdims=True)


rng = np.random.default_rng(0)
WORLD = Dynamics(normalised(rng.random((S, A, S)) ** 2), 0.9)
POLICY = normalised(rng.random((S, A)))
ON_PAIRS = normalised(rng.random(S * A)).reshape(S, A)
COVERAGE = normalised(rng.random(S * A * S)).reshape(S, A, S)
ON_STATES, ON_ACTIONS = normalised(rng.random(S)), normalised(rng.random(A))
FIRST, SECOND = rng.normal(size=(2, S, A, S))

epic = partial(epic_distance, discount=0.9, states=ON_STATES, actions=ON_ACTIONS, coverage=COVERAGE)
levelled = partial(value_levelled, policy=POLICY)
starc = partial(starc_distance, dynamics=WORLD, canonical=levelled, weights=ON_PAIRS)
least = partial(starc_distance, dynamics=WORLD, canonical=partial(minimal, weights=ON_PAIRS), weights=ON_PAIRS)
every_distance = pytest.mark.parametrize("distance", [epic, starc, least])


def shaped(reward, potential, discount=0.9):
    return reward + discount * potential - potential[:, None, None]


def redistributed(reward, noise):
    """Another table of the same mean over s'."""
    return reward + noise - (WORLD.transition * noise).sum(axis=2, keepdims=True)


def differs(*rewards):
    """Far enough from rewards without preferences, where a distance would be rounding."""
    return all(np.linalg.norm(levelled(r, WORLD)) > 0.1 for r in rewards)


def test_epic_of_two_states():
    # E R(s, A, S') is 2s + 1/2 of the first, 0 and 1/2 of the second.
    first, second = np.array([[[0.0, 1.0]], [[2.0, 3.0]]]), np.array([[[0.0, 0.0]], [[1.0, 0.0]]])
    half, one = np.full(2, 0.5), np.ones(1)
    np.testing.assert_allclose(epic_canonical(first, 0.5, half, one)[:, 0], [[-1, 1], [-1, 1]])
    np.testing.assert_allclose(epic_canonical(second, 0.5, half, one)[:, 0], [[-1 / 8, 1 / 8], [3 / 8, -3 / 8]])
    assert epic_distance(first, second, 0.5) == pytest.approx(np.sqrt((1 + 1 / np.sqrt(5)) / 2))


def test_a_levelled_reward_is_an_advantage():
    # Stay or switch between two states, 1 for being in the second afterwards. Staying is worth 0 and 1 / (1 - 1/2).
    move = np.array([[[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    reward = np.broadcast_to([0.0, 1.0], (2, 2, 2)).copy()
    stay = np.array([[1.0, 0.0], [1.0, 0.0]])
    np.testing.assert_allclose(value_levelled(reward, Dynamics(move, 0.5), stay), [[0, 2], [0, -2]], atol=1e-12)


def test_starc_of_one_state():
    world = Dynamics(np.ones((1, 3, 1)), 0.9)
    left, right = np.eye(3)[:2].reshape(2, 1, 3, 1)
    first_action = partial(value_levelled, policy=np.array([[1.0, 0.0, 0.0]]))
    assert starc_distance(left, right, world) == pytest.approx(np.sqrt(3) / 2)
    assert starc_distance(left, right, world, minimal) == pytest.approx(np.sqrt(3) / 2)
    assert starc_distance(left, right, world, first_action) == pytest.approx(np.sqrt((1 + np.sqrt(0.5)) / 2))


@quick
@given(tables, potentials, scales)
@every_distance
def test_shaping_scale_and_constants_are_forgotten(distance, reward, potential, scale):
    if differs(reward):
        assert distance(reward, scale * shaped(reward, potential) + 3) < 1e-6


@quick
@given(tables, arrays(np.float64, (S, A, S), elements=st.floats(-100, 100, width=16)))
def test_starc_forgets_what_moves_reward_between_successors_and_epic_does_not(reward, noise):
    assert epic(FIRST, redistributed(FIRST, SECOND * 10)) > 0.1
    if differs(reward):
        other = redistributed(reward, noise)
        assert max(starc(reward, other), least(reward, other)) < 1e-6


@every_distance
def test_the_negative_is_farthest(distance):
    assert distance(FIRST, -2 * FIRST) == pytest.approx(1)
    assert 0.5 < distance(FIRST, -FIRST + 0.5 * SECOND) < 1


@every_distance
def test_shaping_with_another_discount_is_seen(distance):
    assert distance(FIRST, shaped(FIRST, np.array([0.0, 10.0, 0.0, 5.0]), discount=0.5)) > 0.1


@quick
@given(tables, tables, tables)
@every_distance
def test_pseudometric(distance, one, two, three):
    if differs(one, two, three):
        assert distance(one, one) == 0
        assert distance(one, two) == distance(two, one)
        assert 0 <= distance(one, two) <= distance(one, three) + distance(three, two) + 1e-9
        assert distance(one, two) <= 1 + 1e-12


def test_unrelated_rewards_are_half_the_way_in_angle():
    one, two = np.random.default_rng(1).normal(size=(2, 30, 5, 30))
    assert epic_distance(one, two, 0.9) == pytest.approx(np.sqrt(0.5), abs=0.02)


def test_epic_is_the_correlation_of_canonical_rewards():
    x, y = (epic_canonical(r, 0.9, np.full(S, 1 / S), np.full(A, 1 / A)).ravel() for r in (FIRST, SECOND))
    assert epic_distance(FIRST, SECOND, 0.9) == pytest.approx(np.sqrt((1 - pearsonr(x, y)[0]) / 2))


@quick
@given(tables, potentials)
def test_minimal_has_the_least_norm_of_all_shaped_rewards(reward, potential):
    found = minimal(reward, WORLD, ON_PAIRS)
    other = (WORLD.transition * shaped(reward, potential)).sum(axis=2)
    assert (ON_PAIRS * found**2).sum() <= (ON_PAIRS * other**2).sum() + 1e-9
    np.testing.assert_allclose(minimal(shaped(reward, potential), WORLD, ON_PAIRS), found, atol=1e-8)


@quick
@given(tables)
def test_levelled_rewards_are_worth_nothing_to_their_policy(reward):
    np.testing.assert_allclose((POLICY * levelled(reward, WORLD)).sum(axis=1), 0, atol=1e-9)


@pytest.mark.parametrize("distance", [starc, least])
def test_a_reward_that_prefers_nothing_is_half_from_all(distance):
    nothing = shaped(np.full((S, A, S), 7.0), np.arange(4.0))
    assert distance(nothing, FIRST) == pytest.approx(0.5)
    assert distance(nothing, np.zeros((S, A, S))) == 0


def of_table(table):
    return lambda s, a, t: table[s, a, t]


def draws(count, probabilities, seed):
    """Triples (s, a, s') of a table of probabilities, each an episode of its own."""
    cell = np.random.default_rng(seed).choice(S * A * S, size=count, p=probabilities.ravel())
    return Transitions(*np.unravel_index(cell, (S, A, S)), np.zeros(count, bool))


def mean_draws(count, seed):
    r = np.random.default_rng(seed)
    return r.choice(S, count, p=ON_STATES), r.choice(A, count, p=ON_ACTIONS)


def sampled_epic(first, second, rows, many, seed=0, **options):
    steps = draws(rows, COVERAGE, seed)
    means = mean_draws(many, seed + 1)
    return epic_findings(first, second, steps, np.arange(rows), means, 0.9, seed=seed, **options)["EPIC distance"]


def test_sampled_epic_converges_to_the_table():
    truth = epic(FIRST, SECOND)
    errors = []
    for rows, many in ((20, 5), (8000, 250)):
        each = [sampled_epic(of_table(FIRST), of_table(SECOND), rows, many, seed, resamples=1) for seed in range(3)]
        errors.append(np.mean([abs(found.mean - truth) for found in each]))
    assert errors[1] < 0.015 < 0.03 < errors[0]


def test_epic_interval_covers_the_table():
    truth = epic(FIRST, SECOND)
    found = [sampled_epic(of_table(FIRST), of_table(SECOND), 100, 40, s, resamples=100) for s in range(40)]
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.85
    assert found[0].low < found[0].mean < found[0].high and found[0].num_prompts == 100


def test_sampled_epic_forgets_shaping_sample_by_sample():
    other = 3 * shaped(FIRST, np.array([5.0, -3.0, 100.0, 0.0])) + 1
    assert sampled_epic(of_table(FIRST), of_table(other), 40, 5, resamples=20).high < 1e-6
    assert sampled_epic(of_table(FIRST), of_table(-FIRST), 40, 5, resamples=20).low == pytest.approx(1)
    assert sampled_epic(of_table(FIRST), of_table(SECOND), 400, 50, resamples=20).low > 0.3


def test_epic_of_compiled_rewards_is_traced_once_and_batches_do_not_matter():
    shapes = []

    @jax.jit
    def reward(s, a, t):
        shapes.append(s.shape)
        return jnp.sin(s @ jnp.ones(2)) + a[:, 0] * t[:, 1]

    def other(s, a, t):
        potential = (0.9 * t - s) @ np.array([1.0, -2.0], np.float32)
        return reward(s, a, t) + potential

    state, action, following = np.random.default_rng(2).normal(size=(3, 33, 2)).astype(np.float32)
    steps = Transitions(state, action[:, :1], following, np.zeros(33, bool))
    means = marginals(steps, 7)
    assert [part.shape for part in means] == [(7, 2), (7, 1)]
    small, large = (
        epic_findings(reward, other, steps, np.arange(33) // 3, means, 0.9, batch=batch, resamples=20)
        for batch in (70, 10**6)
    )
    assert small["EPIC distance"].high < 1e-6 and small["EPIC distance"].num_prompts == 11
    assert set(shapes) == {(33, 2), (70, 2), (231, 2)} and len(shapes) == 3
    assert small["EPIC distance"] == pytest.approx(large["EPIC distance"], abs=1e-6)


def walk(count, seed):
    """What POLICY does in WORLD, as one long episode."""
    r = np.random.default_rng(seed)
    state, action = np.zeros(count + 1, int), np.zeros(count, int)
    for i in range(count):
        action[i] = r.choice(A, p=POLICY[state[i]])
        state[i + 1] = r.choice(S, p=WORLD.transition[state[i], action[i]])
    return Transitions(state[:-1], action, state[1:], np.zeros(count, bool))


def one_hot(state):
    return np.eye(S)[state]


def test_sampled_starc_converges_to_the_table():
    steps = walk(20000, 0)
    moves = (POLICY[..., None] * WORLD.transition).sum(axis=1)
    visits = np.linalg.matrix_power(moves, 200)[0][:, None] * POLICY
    pair = steps.observation * A + steps.action
    found = starc_findings(
        of_table(FIRST), of_table(SECOND), steps, np.arange(20000) // 100, one_hot, 0.9, pair=pair, resamples=50
    )
    truth = {
        "STARC distance, value-levelled": starc_distance(FIRST, SECOND, WORLD, levelled, visits),
        "STARC distance, minimal": starc_distance(FIRST, SECOND, WORLD, partial(minimal, weights=visits), visits),
    }
    assert found.keys() == truth.keys()
    for name, exact in truth.items():
        assert found[name].mean == pytest.approx(exact, abs=0.03)
        assert found[name].low <= exact <= found[name].high and found[name].num_prompts == 200


def test_sampled_starc_forgets_shaping_and_negation_is_farthest():
    steps, ids = walk(300, 1), np.arange(300) // 30
    other = 3 * shaped(FIRST, np.array([5.0, -3.0, 9.0, 0.0])) + 1
    for given_pair in (None, steps.observation * A + steps.action):
        run = partial(starc_findings, of_table(FIRST), pair=given_pair, resamples=20)
        assert all(each.high < 1e-6 for each in run(of_table(other), steps, ids, one_hot, 0.9).values())
        assert all(each.low == pytest.approx(1) for each in run(of_table(-FIRST), steps, ids, one_hot, 0.9).values())


def test_an_end_is_worth_nothing_and_a_time_limit_is_not():
    # 0 goes on to 1 or straight to 2, by its action, 1 goes to 2, 2 back to 0. A potential of 2 is a reward for ending.
    state, action = np.repeat([0, 1, 2], 60), np.random.default_rng(3).integers(2, size=180)
    following = np.where((state == 0) & (action == 0), 1, np.where(state == 2, 0, 2))
    limited = Transitions(state, action, following, np.zeros(180, bool))
    ended = Transitions(state[:120], action[:120], following[:120], following[:120] == 2)

    def reward(s, a, t):
        return 1.0 * a + s

    def distances(steps, at_the_end):
        potential = np.array([4.0, -3.0, at_the_end])
        ids = np.arange(len(steps.action)) % 60
        return starc_findings(
            reward,
            lambda s, a, t: reward(s, a, t) + 0.9 * potential[t] - potential[s],
            *(steps, ids, one_hot, 0.9),
            resamples=20,
        ).values()

    assert all(each.high < 1e-6 for each in distances(ended, 0.0))
    assert all(each.high < 1e-6 for each in distances(limited, -5.0))
    assert all(each.low > 0.1 for each in distances(ended, -5.0))


def sampled_starc(episode=None, features=one_hot, discount=0.9, pair=None, terminated=None):
    steps = draws(9, COVERAGE, 0)
    steps = steps if terminated is None else steps._replace(terminated=terminated)
    ids = np.arange(9) if episode is None else episode
    return starc_findings(of_table(FIRST), of_table(SECOND), steps, ids, features, discount, pair=pair, resamples=1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: epic(FIRST * np.nan, SECOND), "first: 48 of 48 numbers are not finite"),
        (lambda: epic(FIRST, SECOND[:3, :, :3]), "one shape"),
        (lambda: epic(FIRST, np.ones_like(FIRST)), "second: constant"),
        (lambda: epic(shaped(np.zeros_like(FIRST), np.arange(4.0)), FIRST), "first: constant"),
        (lambda: epic(FIRST, SECOND, discount=1.1), "discount: expected 0 to 1, got 1.1"),
        (lambda: epic(FIRST, SECOND, discount=float("nan")), "discount: expected 0 to 1, got nan"),
        (lambda: epic(FIRST, SECOND, states=np.ones(S)), "states: expected probabilities"),
        (lambda: epic(FIRST, SECOND, coverage=COVERAGE * 2), "coverage: expected probabilities"),
        (lambda: starc(FIRST, SECOND, dynamics=Dynamics(WORLD.transition, 1.0)), "0 to below 1, got 1.0"),
        (lambda: starc(FIRST, SECOND, dynamics=Dynamics(WORLD.transition * 2, 0.9)), "sum to 1"),
        (lambda: starc(FIRST, SECOND, dynamics=Dynamics(WORLD.transition[:2], 0.9)), "dynamics: expected shape"),
        (lambda: starc(FIRST, SECOND, weights=-ON_PAIRS), "weights: expected probabilities"),
        (lambda: value_levelled(FIRST, WORLD, POLICY * 2), "policy: expected probabilities"),
        (lambda: sampled_epic(lambda s, a, t: s[:-1] * 1.0, of_table(FIRST), 9, 4), "first: expected 9 rows"),
        (lambda: sampled_epic(of_table(FIRST), lambda s, a, t: s / 0.0 * 0, 9, 4), "second: 9 of 9"),
        (lambda: sampled_epic(of_table(FIRST), lambda s, a, t: 0.9 * t - s, 9, 4), "second: constant"),
        (lambda: sampled_epic(of_table(FIRST), of_table(SECOND), 9, 0), "means: expected as many states"),
        (lambda: sampled_starc(episode=np.arange(8)), "ids: expected one for each of 9 rows"),
        (lambda: sampled_starc(pair=np.arange(8)), "ids: expected one for each of 9 rows"),
        (lambda: sampled_starc(features=lambda s: s), "features: expected 9 rows in an array of 2 axes"),
        (lambda: sampled_starc(discount=1.0), "0 to below 1"),
        (lambda: sampled_starc(terminated=np.zeros(3, bool)), "transitions: expected one length"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_wrong_input_is_refused(call, message):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    refused_by_signature = isinstance(error.value, TypeError)  # where jaxtyping checks shapes at run time
    assert refused_by_signature or re.search(message, str(error.value))
