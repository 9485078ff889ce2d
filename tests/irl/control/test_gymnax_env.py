"""gymnax's environments against Gymnasium's, and the seals variants against their definition."""

import importlib.util

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.environments.gymnax_env import gymnax_environment, jax_environment, seals_cartpole, seals_mountain_car
from irl.control.spaces import Box, Discrete
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


@pytest.mark.skipif(importlib.util.find_spec("brax") is not None, reason="brax is installed")
def test_brax_is_asked_for_by_its_prefix():
    with pytest.raises(InputError, match=r"^brax/halfcheetah: No module named 'brax'; install the extra brax"):
        jax_environment("brax/halfcheetah")
