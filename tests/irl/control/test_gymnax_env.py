"""gymnax's environments against Gymnasium's, and the seals variants against their definition."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.environments.gymnax_env import gymnax_environment, seals_cartpole, seals_mountain_car
from irl.control.environments.scaled import moments_of, scaled, scaled_environment
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions
from irl.types import InputError


def test_cartpole_moves_as_gymnasium_does():
    ours, theirs = gymnax_environment("CartPole-v1"), gymnasium.make("CartPole-v1").unwrapped
    state, observation = ours.reset(jax.random.key(0))
    theirs.reset(seed=0)
    theirs.state = tuple(np.asarray(observation, np.float64))
    for action in (1, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1):
        state, outcome = ours.step(state, jnp.int32(action), jax.random.key(1))
        there, reward, terminated, _, _ = theirs.step(action)
        np.testing.assert_allclose(outcome.observation, there, atol=1e-4)
        assert outcome.reward == reward and outcome.terminated == terminated
        if terminated:
            break
    assert terminated
    assert ours.observation.shape == (4,) and ours.action == Discrete(2) and ours.horizon == 500


def test_pendulum_and_time_limits():
    world = gymnax_environment("Pendulum-v1", max_steps_in_episode=3)
    assert world.action == Box((1,), -2.0, 2.0) and world.horizon == 3
    state, _ = world.reset(jax.random.key(0))
    ends = []
    for _ in range(3):
        state, outcome = world.step(state, jnp.zeros(1), jax.random.key(1))
        ends.append((bool(outcome.terminated), bool(outcome.truncated)))
    assert ends == [(False, False), (False, False), (False, True)]


def test_unknown_parameter():
    with pytest.raises(InputError, match=r"CartPole-v1: no parameter 'mass'; there are .*masscart"):
        gymnax_environment("CartPole-v1", mass=3.0)


def test_seals_cartpole_goes_on_after_a_fall():
    world = seals_cartpole(horizon=60)
    state, _ = world.reset(jax.random.key(0))
    outcomes = []
    for _ in range(60):
        state, outcome = world.step(state, jnp.int32(1), jax.random.key(1))
        outcomes.append(outcome)
    assert not any(o.terminated for o in outcomes)
    assert [bool(o.truncated) for o in outcomes] == [False] * 59 + [True]
    upright = [abs(float(o.observation[2])) < 12 * np.pi / 180 and abs(float(o.observation[0])) < 2.4 for o in outcomes]
    assert [float(o.reward) for o in outcomes] == [float(u) for u in upright] and 0 < sum(upright) < 60
    assert all(abs(float(o.observation[2])) <= np.pi + 1e-5 for o in outcomes)


def test_seals_mountain_car_stays_at_the_goal():
    world = seals_mountain_car(horizon=6)
    (inner, observation, at_goal, time), _ = world.reset(jax.random.key(0))
    near = inner.replace(position=jnp.float32(0.49), velocity=jnp.float32(0.06))
    state, rewards, seen = (near, observation, at_goal, time), [], []
    for _ in range(6):
        state, outcome = world.step(state, jnp.int32(2), jax.random.key(0))
        rewards.append(float(outcome.reward))
        seen.append(float(outcome.observation[0]))
        assert not outcome.terminated
    assert outcome.truncated and rewards == [-1.0, 0, 0, 0, 0, 0] and seen == [seen[0]] * 6 and seen[0] >= 0.5


def test_observations_in_units_of_the_demonstrations():
    world = gymnax_environment("Pendulum-v1")
    seen = np.random.default_rng(0).normal([1, 2, 3], [0.1, 1, 10], size=(50, 3)).astype(np.float32)
    demonstrations = Transitions(seen, np.zeros((50, 1)), seen, np.zeros(50, bool))
    moments = moments_of(world, demonstrations)
    inside = scaled(world, moments, demonstrations)
    np.testing.assert_allclose(inside.observation.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(inside.observation.std(0), 1, rtol=1e-3)
    there = scaled_environment(world, moments)
    _, plain = world.reset(jax.random.key(3))
    state, observation = there.reset(jax.random.key(3))
    np.testing.assert_allclose(observation, np.clip((plain - seen.mean(0)) / seen.std(0), -10, 10), rtol=1e-3)
    _, outcome = there.step(state, jnp.zeros(1), jax.random.key(0))
    assert outcome.observation.shape == (3,) and there.observation == Box((3,), -10.0, 10.0)


def test_what_has_no_scale():
    world = gymnax_environment("CartPole-v1")
    nothing = Transitions(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, bool))
    with pytest.raises(InputError, match="demonstrations: expected one transition or more, got none"):
        moments_of(world, nothing)
    with pytest.raises(InputError, match=r"has Discrete\(n=3\) as observations, which have no scale"):
        moments_of(world._replace(observation=Discrete(3)), nothing)
