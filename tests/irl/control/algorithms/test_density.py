"""Density rewards against scipy and by hand, chunks of any size, PPO on the reward, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import gaussian_kde

from irl.control.algorithms.density import Density, log_kernel_density
from irl.control.environments.base import Environment, Outcome
from irl.control.learners.ppo import Ppo
from irl.control.learners.reward_override import with_reward
from irl.control.rollout.in_graph import in_graph
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions
from irl.types import InputError


def steps_of(observations, actions=None):
    observations = np.asarray(observations, np.float32)
    rows = len(observations)
    actions = np.zeros(rows, np.int32) if actions is None else np.asarray(actions, np.int32)
    return Transitions(observations, actions, observations + 1, np.zeros(rows, bool))


def by_hand(samples, points, bandwidth):
    """Float64, one kernel after another."""
    squares = ((points[:, None] - samples[None]) ** 2).sum(axis=-1)
    kernels = np.exp(-squares / (2 * bandwidth**2)) / (bandwidth * np.sqrt(2 * np.pi)) ** samples.shape[1]
    return np.log(kernels.mean(axis=1))


def test_as_scipy_in_one_dimension():
    rng = np.random.default_rng(0)
    shown, asked = rng.gamma(2.0, 3.0, 200), rng.gamma(2.0, 3.0, 50)
    log_density = Density(bandwidth=0.3, action=False).log_density(Box((1,)), Discrete(2), steps_of(shown[:, None]))
    ours = np.asarray(log_density(steps_of(asked[:, None]))) - np.log(shown.std())
    theirs = gaussian_kde(shown, bw_method=0.3 * shown.std() / shown.std(ddof=1)).logpdf(asked)
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("action", "next_observation"), [(False, False), (True, False), (False, True), (True, True)])
def test_what_it_reads_is_standardised(action, next_observation):
    rng = np.random.default_rng(1)
    shown, asked = (steps_of(rng.normal(5, [1, 30], (n, 2)), rng.integers(0, 3, n)) for n in (40, 7))
    shown, asked = (t._replace(next_observation=np.float32(t.observation**2 / 9)) for t in (shown, asked))

    def read(t):
        parts = [t.observation, np.eye(3)[t.action]] if action else [t.observation]
        return np.concatenate([*parts, t.next_observation] if next_observation else parts, axis=1).astype(np.float64)

    mean, std = read(shown).mean(axis=0), read(shown).std(axis=0)
    density = Density(bandwidth=0.7, action=action, next_observation=next_observation)
    ours = density.log_density(Box((2,)), Discrete(3), shown)(asked)
    expected = by_hand((read(shown) - mean) / std, (read(asked) - mean) / std, 0.7)
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_a_coordinate_that_never_varies_is_not_divided_by_zero():
    shown = steps_of([[0.0, 7.0], [2.0, 7.0]])
    log_density = Density(bandwidth=1.0, action=False).log_density(Box((2,)), Discrete(2), shown)
    at, beside = log_density(steps_of([[1.0, 7.0], [1.0, 8.0]]))
    np.testing.assert_allclose(at - beside, 0.5, rtol=1e-5)


@pytest.mark.parametrize("pairs", [1, 12, 35, 1000])
def test_chunks_change_nothing(pairs):
    rng = np.random.default_rng(2)
    samples, points = rng.normal(size=(5, 3)), rng.normal(size=(7, 3))
    ours = log_kernel_density(jnp.float32(samples), jnp.float32(points), bandwidth=0.5, pairs=pairs)
    np.testing.assert_allclose(ours, by_hand(samples, points, 0.5), rtol=1e-5, atol=1e-5)


def test_far_away_is_finite_and_the_reward_is_bounded():
    shown = steps_of(np.random.default_rng(3).normal(size=(300, 1)))
    density = Density(bandwidth=0.5, action=False, floor=10.0)
    far = steps_of([[1e4], [-1e6]])
    raw = density.log_density(Box((1,)), Discrete(2), shown)(far)
    assert np.isfinite(raw).all() and (raw < -1e6).all()
    reward = density.make(Box((1,)), Discrete(2), shown)
    np.testing.assert_allclose(reward(far), 0.0, atol=1e-6)
    np.testing.assert_allclose(reward(shown).mean(), 1.0, atol=1e-5)
    assert (np.diff(reward(steps_of([[3.0], [2.0], [1.0], [0.0]]))) > 0).all()


def line(horizon=8):
    """A point on a line that moves by its action."""

    def reset(key):
        return (jnp.zeros(1), jnp.int32(0)), jnp.zeros(1)

    def step(state, action, key):
        place, time = state[0] + 0.5 * action - 0.25, state[1] + 1
        return (place, time), Outcome(place, place[0], jnp.bool_(False), time >= horizon)

    return Environment("line", Box((1,)), Discrete(2), horizon, reset, step)


def test_ppo_follows_the_density_of_steps_to_the_right():
    world = line()
    shown = np.arange(9, dtype=np.float32)[:, None] * 0.25
    density = Density(bandwidth=0.3, next_observation=True, action=False, floor=10.0)
    demonstrations = Transitions(shown[:-1], np.ones(8, np.int32), shown[1:], np.zeros(8, bool))
    reward = density.make(world.observation, world.action, demonstrations)
    agent = with_reward(
        Ppo(hidden=(8,), learning_rate=0.01, minibatch=64).make(world.observation, world.action), reward
    )
    algorithm, traced = in_graph(world, agent, envs=16, time=8), []

    def step(state, key):
        traced.append(key)
        return algorithm.step(state, None, key)

    state = jax.jit(algorithm.init)(jax.random.key(0))
    state, info = jax.jit(lambda s, k: jax.lax.scan(step, s, jax.random.split(k, 30)))(state, jax.random.key(1))
    assert len(traced) == 1
    assert info["learned_reward"][-1] > 0.8 > info["learned_reward"][0]
    assert info["return"][-1] > 6  # 9 at most, by always going right


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"Density.bandwidth: expected at least 1e-06, got 0"):
        Density(bandwidth=0)
    with pytest.raises(InputError, match=r"demonstrations: empty; expected at least one step"):
        Density().make(Box((1,)), Discrete(2), steps_of(np.zeros((0, 1))))
