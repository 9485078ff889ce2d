"""Planning and occupancies against enumeration of all paths, closed forms, and long finite horizons, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.tabular.mdp import (
    TabularMdp,
    check,
    check_reward,
    expected_reward,
    occupancy,
    occupancy_by_time,
    policy_over_time,
    policy_value,
    soft_value_iteration,
    start_value,
    total_occupancy,
    transition_occupancy,
    transition_reward,
)
from irl.types import InputError
from tests.irl.control.tabular.all_paths import (
    ACTIONS,
    HORIZON,
    STATES,
    chance,
    counted,
    earned,
    luck,
    paths,
    random_policy,
    tiny_mdp,
    tiny_reward,
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def test_the_three_shapes_of_a_reward():
    mdp = tiny_mdp()
    by_state, by_action, by_move = (tiny_reward(axes) for axes in (1, 2, 3))
    np.testing.assert_array_equal(expected_reward(mdp, by_state), np.repeat(by_state[:, None], ACTIONS, axis=1))
    np.testing.assert_array_equal(expected_reward(mdp, by_action), by_action)
    mean = [[float(mdp.transition[s, a] @ by_move[s, a]) for a in range(ACTIONS)] for s in range(STATES)]
    np.testing.assert_allclose(expected_reward(mdp, by_move), mean, atol=1e-14)
    for reward in (by_state, by_action, by_move):
        full = np.asarray(transition_reward(mdp, reward))
        for move in itertools.product(range(STATES), range(ACTIONS), range(STATES)):
            assert full[move] == reward[move[: reward.ndim]]


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_evaluation_and_occupancy_are_sums_over_all_paths(axes, discount):
    mdp, reward, policy = tiny_mdp(discount=discount), tiny_reward(axes), random_policy(HORIZON, STATES)
    weights = {path: luck(mdp, path) * chance(policy, path) for path in paths()}
    assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
    expected = sum(weight * earned(mdp, reward, path) for path, weight in weights.items())
    assert float(start_value(mdp, policy_value(mdp, reward, policy))) == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(transition_occupancy(mdp, policy), counted(mdp, weights), atol=1e-12)
    undiscounted = counted(mdp._replace(discount=1.0), weights)
    np.testing.assert_allclose(occupancy_by_time(mdp, policy).sum(axis=0), undiscounted.sum(axis=-1), atol=1e-12)
    last = sum(w for (states, actions), w in weights.items() if (states[2], actions[2]) == (1, 0))
    assert float(occupancy_by_time(mdp, policy)[2, 1, 0]) == pytest.approx(last, abs=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_the_soft_policy_is_the_best_of_return_and_causal_entropy(axes, discount):
    mdp, reward = tiny_mdp(discount=discount), tiny_reward(axes)

    def objective(policy):
        """E sum_t discount^t (r - log pi): no recursion."""
        bonus, policy = np.log(np.asarray(policy)), np.asarray(policy)
        total = 0.0
        for path in paths():
            entropy = -sum(discount**t * bonus[t, s, a] for t, (s, a) in enumerate(zip(*path, strict=False)))
            total += luck(mdp, path) * chance(policy, path) * (earned(mdp, reward, path) + entropy)
        return total

    plan = soft_value_iteration(mdp, reward)
    best = objective(plan.policy)
    assert best == pytest.approx(float(start_value(mdp, plan.value)), abs=1e-12)
    for seed in range(3):
        other = 0.99 * plan.policy + 0.01 * random_policy(HORIZON, STATES, seed=seed)
        assert 0 < best - objective(other) < 1e-2


def test_soft_values_of_one_state_are_known():
    """V = log sum exp r / (1 - discount), and finite horizons are partial sums."""
    r, discount = jnp.array([[0.3, -1.0, 2.0]]), 0.9
    mdp = TabularMdp(jnp.ones((1, 3, 1)), jnp.ones(1), None, discount)
    once = np.log(np.exp(r).sum())
    endless = soft_value_iteration(mdp, r)
    np.testing.assert_allclose(endless.value, [once / (1 - discount)], atol=1e-9)
    np.testing.assert_allclose(endless.policy, np.exp(r) / np.exp(r).sum(), atol=1e-12)
    short = soft_value_iteration(mdp._replace(horizon=4), r)
    np.testing.assert_allclose(short.value[:, 0], [once * sum(discount**k for k in range(n)) for n in (4, 3, 2, 1)])
    assert float(occupancy(mdp, endless.policy).sum()) == pytest.approx(10, abs=1e-9)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_an_infinite_horizon_is_a_long_finite_one(axes):
    endless, reward = tiny_mdp(discount=0.9, horizon=None), tiny_reward(axes)
    long = endless._replace(horizon=400)
    first, plan = soft_value_iteration(long, reward), soft_value_iteration(endless, reward)
    np.testing.assert_allclose(plan.value, first.value[0], atol=1e-9)
    np.testing.assert_allclose(plan.policy, first.policy[0], atol=1e-9)
    np.testing.assert_allclose(occupancy(endless, plan.policy), occupancy(long, plan.policy), atol=1e-9)
    np.testing.assert_allclose(
        policy_value(endless, reward, plan.policy), policy_value(long, reward, plan.policy)[0], atol=1e-9
    )


def test_return_is_occupancy_times_reward():
    for mdp in (tiny_mdp(discount=0.8), tiny_mdp(discount=0.8, horizon=None)):
        reward, policy = tiny_reward(3), random_policy(STATES)
        paid = float(jnp.vdot(transition_occupancy(mdp, policy), reward))
        assert paid == pytest.approx(float(start_value(mdp, policy_value(mdp, reward, policy))), abs=1e-10)
        total = float(occupancy(mdp, policy).sum())
        assert total == pytest.approx(float(total_occupancy(mdp)), abs=1e-10)


def test_the_tolerance_bounds_the_error():
    mdp, reward = tiny_mdp(discount=0.95, horizon=None), tiny_reward(1)
    exact = soft_value_iteration(mdp, reward, tolerance=1e-12).value
    errors = []
    for tolerance in (1e-1, 1e-3, 1e-6):
        errors.append(float(np.abs(soft_value_iteration(mdp, reward, tolerance=tolerance).value - exact).max()))
        assert errors[-1] <= tolerance
    assert errors[0] > 1e-3  # it did stop early


def test_without_a_future_only_the_next_reward_counts():
    mdp, reward = tiny_mdp(discount=0.0, horizon=None), tiny_reward(2)
    soft = np.log(np.exp(reward).sum(axis=1))
    np.testing.assert_allclose(soft_value_iteration(mdp, reward).value, soft, atol=1e-14)


def test_single_precision_stays_and_ends():
    mdp = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tiny_mdp(discount=0.99, horizon=None))
    reward = tiny_reward(2).astype(jnp.float32)
    plan = soft_value_iteration(mdp, reward)  # a tolerance below what float32 can tell
    exact = soft_value_iteration(tiny_mdp(discount=0.99, horizon=None), tiny_reward(2))
    np.testing.assert_allclose(plan.value, exact.value, rtol=1e-4)
    for made in (*plan, occupancy(mdp, plan.policy), policy_value(mdp, reward, plan.policy)):
        assert made.dtype == jnp.float32
    short = mdp._replace(horizon=3)
    plan = soft_value_iteration(short, reward)
    for made in (*plan, occupancy(short, plan.policy), policy_value(short, reward, plan.policy)):
        assert made.dtype == jnp.float32


def test_worlds_pass_through_jit_and_vmap_with_a_static_horizon():
    traces = []

    @jax.jit
    def solve(mdp, reward):
        traces.append(mdp.horizon)
        return soft_value_iteration(mdp, reward).value

    reward = tiny_reward(2)
    np.testing.assert_allclose(solve(tiny_mdp(), reward), soft_value_iteration(tiny_mdp(), reward).value, atol=1e-14)
    solve(tiny_mdp(seed=7, discount=0.5), 2 * reward)
    solve(tiny_mdp(horizon=5), reward)
    assert traces == [3, 5]
    rates = jnp.array([0.5, 0.9])
    both = jax.vmap(lambda rate: soft_value_iteration(tiny_mdp(discount=rate, horizon=None), reward).value)(rates)
    one = soft_value_iteration(tiny_mdp(discount=0.5, horizon=None), reward).value
    np.testing.assert_allclose(both[0], one, atol=1e-9)


def altered(name, index, value):
    mdp = tiny_mdp()
    return mdp._replace(**{name: getattr(mdp, name).at[index].set(value)})


@pytest.mark.parametrize(
    ("mdp", "message"),
    [
        (
            lambda: tiny_mdp()._replace(transition=jnp.ones((3, 2))),
            r"expected shape \[states, actions, states\], got \(3, 2\)",
        ),
        (lambda: tiny_mdp()._replace(transition=jnp.ones((3, 2, 4))), r"got \(3, 2, 4\)"),
        (
            lambda: altered("transition", (2, 1), 0.3),
            r"transition\[2, 1\]: expected probabilities that sum to 1.* 0\.9",
        ),
        (
            lambda: altered("transition", (1, 0, 2), -0.25),
            r"transition\[1, 0\]: expected probabilities of 0 or more, got -0\.25",
        ),
        (lambda: altered("transition", (0, 1, 2), jnp.nan), r"transition\[0, 1, 2\]: expected finite numbers, got nan"),
        (
            lambda: tiny_mdp()._replace(transition=jnp.ones((3, 2, 3), int)),
            "transition: expected floats, got dtype int",
        ),
        (
            lambda: tiny_mdp()._replace(initial=jnp.ones(4) / 4),
            r"initial: expected shape \(3,\), got \(4,\)",
        ),
        (
            lambda: tiny_mdp()._replace(initial=jnp.ones(3)),
            "initial: expected probabilities that sum to 1.* a sum of 3",
        ),
        (lambda: tiny_mdp(horizon=0), r"horizon: expected 1 action or more, or None \(infinite\), got 0"),
        (lambda: tiny_mdp(discount=1.5), "discount: expected 0 to 1, got 1.5"),
        (lambda: tiny_mdp(horizon=None), "discount: expected less than 1 if horizon is None"),
    ],
)
def test_bad_worlds_are_named(mdp, message):
    with pytest.raises(InputError, match=message):
        check(mdp())


def test_good_worlds_pass():
    check(tiny_mdp())
    check(tiny_mdp(horizon=None, discount=0.99))
    check(jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tiny_mdp()))


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda: jnp.zeros(4), r"reward: expected shape \(3,\), \(3, 2\) or \(3, 2, 3\), got \(4,\)"),
        (lambda: jnp.zeros((3, 3)), r"got \(3, 3\)"),
        (lambda: jnp.float64(1.0), r"got \(\)"),
        (lambda: jnp.zeros(3, int), "reward: expected floats, got dtype int64"),
        (lambda: jnp.zeros((3, 2)).at[1, 1].set(jnp.inf), r"reward\[1, 1\]: expected finite numbers, got inf"),
    ],
)
def test_bad_rewards_are_named(reward, message):
    with pytest.raises(InputError, match=message):
        check_reward(tiny_mdp(), reward())


def test_a_reward_of_another_world_is_refused_by_planning():
    with pytest.raises(InputError, match=r"reward: expected shape .* got \(4,\)"):
        jax.jit(soft_value_iteration)(tiny_mdp(), jnp.zeros(4))


def test_bad_policies_are_named():
    mdp = tiny_mdp()
    with pytest.raises(InputError, match=r"policy: expected shape \(3, 2\) or \(3, 3, 2\), got \(2, 2\)"):
        occupancy(mdp, jnp.ones((2, 2)) / 2)
    with pytest.raises(InputError, match=r"policy: expected shape \(3, 2\), got \(3, 3, 2\)"):
        occupancy(mdp._replace(horizon=None, discount=0.9), random_policy(3, 3))
    with pytest.raises(InputError, match="expected a finite horizon"):
        policy_over_time(mdp._replace(horizon=None), random_policy(STATES))
