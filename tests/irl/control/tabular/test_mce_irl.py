"""MCE-IRL against the exact likelihood of all paths and against experts whose reward is known, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.tabular.cliff_world import CliffWorld
from irl.control.tabular.demonstrations import empirical_transitions, sample
from irl.control.tabular.full_batch import Adam
from irl.control.tabular.mce_irl import MceIrl, mce_loss
from irl.control.tabular.mdp import occupancy, soft_value_iteration
from irl.control.tabular.random_mdp import RandomMdp
from irl.control.tabular.rewards import LinearReward, MlpReward, TabularReward
from irl.types import InputError
from tests.irl.control.tabular.all_paths import (
    ACTIONS,
    HORIZON,
    STATES,
    chance,
    luck,
    paths,
    random_policy,
    tiny_mdp,
    tiny_reward,
)

KEY = jax.random.key(0)
ENDLESS = {"horizon": None, "discount": 0.9}


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def expert_of(mdp, reward):
    return occupancy(mdp, soft_value_iteration(mdp, reward).policy)


def likelihood(mdp, expert, discount):
    """reward -> - E_E sum_t discount^t log pi_t(a_t|s_t), path by path, pi by a plain recursion."""
    every = list(paths())
    weight = jnp.array([luck(mdp, path) * chance(expert, path) for path in every])
    states, actions = (jnp.array([path[side][:HORIZON] for path in every]) for side in (0, 1))

    def loss(reward):
        table = reward if reward.ndim == 2 else jnp.repeat(reward[:, None], ACTIONS, axis=1)
        value, total = jnp.zeros(STATES), 0.0
        for t in reversed(range(HORIZON)):
            q = table + discount * jnp.stack([mdp.transition[:, a] @ value for a in range(ACTIONS)], axis=1)
            value = jnp.log(jnp.exp(q).sum(axis=1))
            log_policy = q - value[:, None]
            total -= discount**t * jnp.sum(weight * log_policy[states[:, t], actions[:, t]])
        return total

    return loss


@pytest.mark.parametrize("axes", [1, 2])
@pytest.mark.parametrize("discount", [1.0, 0.8])
def test_loss_and_gradient_are_those_of_the_exact_likelihood(axes, discount):
    mdp, reward, expert = tiny_mdp(discount=discount), tiny_reward(axes), random_policy(HORIZON, STATES)
    reference = jax.value_and_grad(likelihood(mdp, expert, discount))(reward)
    visits = occupancy(mdp, expert)
    (loss, info), gradient = jax.value_and_grad(lambda r: mce_loss(mdp, r, visits), has_aux=True)(reward)
    np.testing.assert_allclose(loss, reference[0], atol=1e-10)
    np.testing.assert_allclose(gradient, reference[1], atol=1e-10)
    gap = expert_of(mdp, reward) - visits
    np.testing.assert_allclose(gradient, gap if axes == 2 else gap.sum(axis=1), atol=1e-12)
    np.testing.assert_allclose(info["occupancy_gap"], np.abs(gap).max(), atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_gradient_over_an_infinite_horizon_is_the_slope_of_the_loss(axes):
    mdp, reward = tiny_mdp(**ENDLESS), tiny_reward(axes)
    visits = occupancy(mdp, random_policy(STATES))
    direction = tiny_reward(axes, seed=5)

    def loss(step):
        return mce_loss(mdp, reward + step * direction, visits, tolerance=1e-13)[0]

    slope = (loss(1e-5) - loss(-1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(loss)(0.0), slope, atol=1e-7)


@pytest.mark.parametrize(
    ("settings", "axes"), [({}, 2), ({"discount": 0.8}, 1), (ENDLESS, 2)], ids=["finite", "discounted", "endless"]
)
def test_the_experts_occupancy_and_policy_are_recovered(settings, axes):
    mdp, truth = tiny_mdp(**settings), tiny_reward(axes)
    expert = expert_of(mdp, truth)
    own_number = jnp.eye(truth.size).reshape(*truth.shape, truth.size)
    reward = LinearReward().make(own_number)
    fitted = MceIrl().fit(mdp, reward, expert, KEY)
    assert fitted.converged and fitted.steps < 100
    plan = soft_value_iteration(mdp, reward.apply(fitted.params))
    np.testing.assert_allclose(occupancy(mdp, plan.policy), expert, atol=1e-6)
    np.testing.assert_allclose(plan.policy, soft_value_iteration(mdp, truth).policy, atol=1e-6)
    assert fitted.info["occupancy_gap"] < 1e-6


def test_theta_is_recovered_where_features_identify_it():
    """Rewards of states, few features and no constant among them: nothing is left to shaping."""
    world = RandomMdp(states=8, features=3, horizon=6).make()
    reward = LinearReward().make(world.features)
    fitted = MceIrl().fit(world.mdp, reward, expert_of(world.mdp, world.reward), KEY)
    np.testing.assert_allclose(reward.apply(fitted.params), world.reward, atol=1e-6)


def test_cliff_world_with_a_perceptron():
    world = CliffWorld(width=3, height=3, horizon=5).make()
    expert = expert_of(world.mdp, world.reward)
    reward = MlpReward(hidden=(16,)).make(jnp.eye(world.mdp.states))
    fitted = MceIrl().fit(world.mdp, reward, expert, KEY, steps=400, tolerance=1e-7)
    assert fitted.info["occupancy_gap"] < 1e-6


def test_adam_steps_towards_the_same_minimum():
    mdp, truth = tiny_mdp(), tiny_reward(1)
    expert, reward = expert_of(mdp, truth), LinearReward().make(jnp.eye(STATES))
    fitted = MceIrl(optimiser=Adam()).fit(mdp, reward, expert, KEY, steps=2000, tolerance=1e-7)
    assert fitted.info["occupancy_gap"] < 1e-6


def test_demonstrations_approach_the_exact_occupancy():
    mdp, truth = tiny_mdp(), tiny_reward(2)
    plan = soft_value_iteration(mdp, truth)
    reward = LinearReward().make(jnp.eye(6).reshape(3, 2, 6))
    drawn = empirical_transitions(mdp, sample(mdp, plan.policy, KEY, 20_000)).sum(axis=-1)
    # Counts of demonstrations are never exactly those of a policy in these dynamics: what is left over has no minimum.
    fitted = MceIrl(l2=1e-4).fit(mdp, reward, drawn, KEY)
    learned = soft_value_iteration(mdp, reward.apply(fitted.params)).policy
    np.testing.assert_allclose(learned, plan.policy, atol=0.03)


def test_l2_keeps_the_reward_of_a_deterministic_expert_finite():
    mdp = tiny_mdp()
    always = jnp.zeros((STATES, ACTIONS)).at[:, 0].set(1.0)
    reward = LinearReward().make(jnp.eye(6).reshape(3, 2, 6))
    fitted = MceIrl(l2=1e-2).fit(mdp, reward, occupancy(mdp, always), KEY)
    assert fitted.converged and jnp.abs(fitted.params).max() < 20
    gap = expert_of(mdp, reward.apply(fitted.params)) - occupancy(mdp, always)
    np.testing.assert_allclose(gap.reshape(-1), -1e-2 * fitted.params, atol=1e-7)


def test_steps_are_an_algorithm_traced_once():
    mdp, reward = tiny_mdp(), LinearReward().make(jnp.eye(STATES))
    expert, calls = expert_of(mdp, tiny_reward(1)), []

    def apply(params):
        calls.append(None)
        return reward.apply(params)

    algorithm = MceIrl().make(mdp, TabularReward(reward.init, apply))
    step, state = jax.jit(algorithm.step), algorithm.init(KEY)
    state, first = step(state, expert, KEY)
    traced = len(calls)
    for _ in range(7):
        state, info = step(state, expert, KEY)
    assert len(calls) == traced and info["occupancy_gap"] < 0.1 * first["occupancy_gap"]


def test_single_precision_works():
    world = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), tiny_mdp()._replace(discount=jnp.float32(1.0)))
    truth = tiny_reward(1).astype(jnp.float32)
    reward = LinearReward().make(jnp.eye(STATES, dtype=jnp.float32))
    with jax.enable_x64(False):
        fitted = MceIrl().fit(world, reward, expert_of(world, truth), KEY, steps=30, tolerance=1e-5)
    assert fitted.params.dtype == jnp.float32 and fitted.info["occupancy_gap"] < 1e-4


def test_bad_inputs_are_named():
    mdp, reward = tiny_mdp(), LinearReward().make(jnp.eye(STATES))
    with pytest.raises(InputError, match=r"occupancy: expected a sum of 3, .* got 6"):
        MceIrl().fit(mdp, reward, jnp.ones((STATES, ACTIONS)), KEY)
    with pytest.raises(InputError, match=r"occupancy: expected shape \(3, 2\), got \(3, 2, 3\)"):
        mce_loss(mdp, tiny_reward(1), jnp.ones((STATES, ACTIONS, STATES)))
    with pytest.raises(InputError, match="discount: expected less than 1"):
        MceIrl().make(tiny_mdp(horizon=None), reward)
    wrong = LinearReward().make(jnp.eye(4))
    with pytest.raises(InputError, match=r"reward: expected shape .* got \(4,\)"):
        MceIrl().fit(mdp, wrong, expert_of(mdp, tiny_reward(1)), KEY)


def test_a_loss_that_is_not_finite_is_named():
    mdp = tiny_mdp()
    broken = TabularReward(lambda key: jnp.zeros(STATES), lambda params: params / 0.0)
    with pytest.raises(InputError, match="step 0: the loss is nan"):
        MceIrl(optimiser=Adam()).fit(mdp, broken, expert_of(mdp, tiny_reward(1)), KEY)
