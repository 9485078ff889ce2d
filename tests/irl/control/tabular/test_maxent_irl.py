"""MaxEnt IRL against the distribution over all paths, and beside causal entropy, in float64."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.tabular.demonstrations import Trajectories, empirical_transitions
from irl.control.tabular.maxent_irl import MaxEntIrl, maxent_path_loss, path_distribution
from irl.control.tabular.mce_irl import mce_loss
from irl.control.tabular.mdp import occupancy, soft_value_iteration, transition_occupancy
from irl.control.tabular.rewards import LinearReward
from irl.types import InputError
from tests.irl.control.tabular.all_paths import (
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

KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def path_weights(mdp, reward):
    """(P(path) with s_0 ~ p_0, Z(s_0)) from the definition."""
    weights = {path: luck(mdp, path) * np.exp(earned(mdp, reward, path)) for path in paths()}
    per_start = np.zeros(STATES)
    for (states, _), weight in weights.items():
        per_start[states[0]] += weight
    partition = per_start / np.asarray(mdp.initial)
    return {path: weight / partition[path[0][0]] for path, weight in weights.items()}, partition


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize("discount", [1.0, 0.8])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_distribution_is_that_over_all_paths(axes, discount, deterministic):
    mdp, reward = tiny_mdp(discount=discount, deterministic=deterministic), tiny_reward(axes)
    weights, partition = path_weights(mdp, reward)
    found = path_distribution(mdp, reward)
    np.testing.assert_allclose(found.log_partition[0], np.log(partition), atol=1e-10)
    np.testing.assert_allclose(found.transitions, counted(mdp, weights), atol=1e-10)
    second = np.zeros((STATES, 2))
    for (states, actions), weight in weights.items():
        second[states[1], actions[1]] += weight
    seen = second.sum(axis=1) > 1e-12
    conditional = second[seen] / second[seen].sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.policy[1][seen], conditional, atol=1e-10)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_loss_and_gradient_are_those_of_the_likelihood_of_demonstrations(axes):
    mdp, reward = tiny_mdp(discount=0.9), tiny_reward(axes)
    expert = random_policy(HORIZON, STATES)
    chances = {path: luck(mdp, path) * chance(expert, path) for path in paths()}
    every = list(chances)
    luck_of = jnp.array([luck(mdp, path) for path in every])
    start = jnp.array([path[0][0] for path in every])
    count = {path: counted(mdp, {path: 1.0}) for path in every}
    phi = jnp.array([count[path].sum(axis=tuple(range(axes, 3))) for path in every]).reshape(len(every), -1)

    def negative_log_likelihood(flat):
        score = phi @ flat
        partition = jnp.zeros(STATES).at[start].add(luck_of * jnp.exp(score)) / mdp.initial
        return jnp.dot(jnp.array(list(chances.values())), jnp.log(partition[start]) - score)

    value, gradient = jax.value_and_grad(negative_log_likelihood)(reward.reshape(-1))
    counts = transition_occupancy(mdp, expert)
    (loss, info), found = jax.value_and_grad(lambda r: maxent_path_loss(mdp, r, counts), has_aux=True)(reward)
    np.testing.assert_allclose(loss, value, atol=1e-10)
    np.testing.assert_allclose(found.reshape(-1), gradient, atol=1e-10)
    gap = path_distribution(mdp, reward).transitions - counts
    np.testing.assert_allclose(info["occupancy_gap"], np.abs(gap.sum(axis=-1)).max(), atol=1e-12)


@pytest.mark.parametrize("axes", [1, 2])
def test_in_deterministic_worlds_both_losses_agree(axes):
    mdp, reward = tiny_mdp(deterministic=True), tiny_reward(axes)
    plan, found = soft_value_iteration(mdp, reward), path_distribution(mdp, reward)
    np.testing.assert_allclose(found.log_partition, plan.value, atol=1e-12)
    np.testing.assert_allclose(found.policy, plan.policy, atol=1e-12)
    np.testing.assert_allclose(found.transitions, transition_occupancy(mdp, plan.policy), atol=1e-12)
    expert = random_policy(HORIZON, STATES)
    paths_loss = maxent_path_loss(mdp, reward, transition_occupancy(mdp, expert))[0]
    np.testing.assert_allclose(paths_loss, mce_loss(mdp, reward, occupancy(mdp, expert))[0], atol=1e-12)


def test_in_stochastic_worlds_a_gamble_is_overrated():
    """In state 0, action 1 leads to log 9 for sure, action 0 to log 17 or to 0 by the toss of a coin."""
    transition = np.zeros((4, 2, 4))
    transition[0, 0, 1] = transition[0, 0, 2] = 0.5
    transition[0, 1, 3] = 1
    transition[1:, :, :] = np.eye(4)[1:, None]
    mdp = tiny_mdp()._replace(transition=jnp.asarray(transition), initial=jnp.eye(4)[0], horizon=2)
    reward = jnp.array([0.0, np.log(17.0), 0.0, np.log(9.0)])
    # paths: mean of 17 and 1 is 9, the same as the sure thing; causally, the mean of log 17 and log 1 is log 17 / 2.
    np.testing.assert_allclose(path_distribution(mdp, reward).policy[0, 0], [0.5, 0.5], atol=1e-12)
    causal = 17**0.5 / (17**0.5 + 9)
    np.testing.assert_allclose(soft_value_iteration(mdp, reward).policy[0, 0], [causal, 1 - causal], atol=1e-12)
    lucky = path_distribution(mdp, reward).transitions[0, 0]
    np.testing.assert_allclose(lucky[1] / lucky.sum(), 17 / 18, atol=1e-12)


def test_the_reward_of_demonstrations_of_the_model_is_recovered():
    mdp = tiny_mdp(discount=0.9)
    features = jnp.asarray(np.random.default_rng(4).normal(size=(STATES, 2)))
    truth = features @ jnp.array([0.7, -1.2])
    reward = LinearReward().make(features)
    fitted = MaxEntIrl().fit(mdp, reward, path_distribution(mdp, truth).transitions, KEY)
    assert fitted.converged
    np.testing.assert_allclose(reward.apply(fitted.params), truth, atol=1e-6)


def test_demonstrations_are_made_likely():
    """Two deterministic demonstrations: the model's counts become theirs."""
    mdp = tiny_mdp(deterministic=True)
    table = np.asarray(mdp.transition).argmax(axis=-1)
    actions = [[0, 1, 0], [1, 1, 0]]
    states = [list(itertools.accumulate(chosen, lambda s, a: int(table[s, a]), initial=0)) for chosen in actions]
    drawn = Trajectories(jnp.array(states), jnp.array(actions))
    mdp = mdp._replace(initial=jnp.eye(STATES)[0])
    counts = empirical_transitions(mdp, drawn)
    reward = LinearReward().make(jnp.eye(6).reshape(3, 2, 6))
    before = maxent_path_loss(mdp, jnp.zeros((3, 2)), counts)[0]
    assert before == pytest.approx(HORIZON * np.log(2))  # at no reward, any of 2^3 paths
    fitted = MaxEntIrl(l2=1e-3).fit(mdp, reward, counts, KEY)
    assert fitted.converged
    gap = path_distribution(mdp, reward.apply(fitted.params)).transitions - counts
    np.testing.assert_allclose(gap.sum(axis=-1).reshape(-1), -1e-3 * fitted.params, atol=1e-7)
    after = maxent_path_loss(mdp, reward.apply(fitted.params), counts)[0]
    assert np.log(2) <= after < before  # two paths: at best one half each


def test_bad_inputs_are_named():
    endless = tiny_mdp(horizon=None, discount=0.9)
    with pytest.raises(InputError, match="maxent_irl: expected a finite horizon, got None; use mce_irl"):
        path_distribution(endless, tiny_reward(1))
    with pytest.raises(InputError, match=r"transitions: expected shape \(3, 2, 3\), got \(3, 2\)"):
        maxent_path_loss(tiny_mdp(), tiny_reward(1), jnp.ones((3, 2)))
    with pytest.raises(InputError, match=r"expected a sum of 3, .* got 18"):
        MaxEntIrl().fit(tiny_mdp(), LinearReward().make(jnp.eye(3)), jnp.ones((3, 2, 3)), KEY)
