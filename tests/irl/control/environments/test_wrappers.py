"""Observations otherwise, in pure-JAX environments and in Gymnasium's alike."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import spaces

from irl.control.environments.absorbing import absorbing
from irl.control.environments.gymnax_env import gymnax_environment
from irl.control.environments.scaled import moments_of, scaled, scaled_environment, unscaled
from irl.control.environments.wrappers import AbsorbingEnd, Scaled
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions
from irl.types import InputError

SEEN = np.random.default_rng(0).normal([1, 2, 3], [0.1, 1, 10], size=(50, 3)).astype(np.float32)
SHOWN = Transitions(SEEN, np.zeros((50, 1)), SEEN, np.zeros(50, bool))


def test_observations_in_units_of_the_demonstrations():
    world = gymnax_environment("Pendulum-v1")
    moments = moments_of(world.observation, SHOWN)
    inside = scaled(world.observation, moments, SEEN)
    np.testing.assert_allclose(inside.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(inside.std(0), 1, rtol=1e-3)
    np.testing.assert_allclose(unscaled(world.observation, moments, inside), SEEN, atol=1e-4)
    there = scaled_environment(world, moments)
    _, plain = world.reset(jax.random.key(3))
    state, observation = there.reset(jax.random.key(3))
    np.testing.assert_allclose(observation, np.clip((plain - SEEN.mean(0)) / SEEN.std(0), -10, 10), rtol=1e-3)
    _, outcome = there.step(state, jnp.zeros(1), jax.random.key(0))
    assert outcome.observation.shape == (3,) and there.observation == Box((3,), -10.0, 10.0)


def test_the_host_scales_as_the_program_does():
    env, moments = gymnasium.make("Pendulum-v1"), moments_of(Box((3,)), SHOWN)
    plain, _ = env.reset(seed=4)
    seen, _ = Scaled(gymnasium.make("Pendulum-v1"), moments).reset(seed=4)
    np.testing.assert_allclose(seen, scaled(Box((3,)), moments, plain[None])[0], rtol=1e-5)
    assert np.abs(seen).max() <= 10


def test_what_has_no_scale():
    nothing = Transitions(np.zeros((0, 4)), np.zeros(0, int), np.zeros((0, 4)), np.zeros(0, bool))
    with pytest.raises(InputError, match="demonstrations: expected at least one transition, got none"):
        moments_of(Box((4,)), nothing)
    with pytest.raises(InputError, match=r"observations: Discrete\(n=3\) has no scale; set --scale False"):
        moments_of(Discrete(3), nothing)


class Short(gymnasium.Env):
    """Over after two steps; a vector of the time, or the time."""

    action_space = spaces.Discrete(2)

    def __init__(self, observation_space):
        self.observation_space, self.time = observation_space, 0

    def _seen(self):
        discrete = isinstance(self.observation_space, spaces.Discrete)
        return self.time if discrete else np.full(2, self.time, np.float32)

    def reset(self, *, seed=None, options=None):
        self.time = 0
        return self._seen(), {}

    def step(self, action):
        self.time += 1
        return self._seen(), 1.0, self.time == 2, False, {}


@pytest.mark.parametrize(
    ("space", "seen"),
    [
        (spaces.Box(0, 9, (2,)), [[0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]),
        (spaces.Discrete(3), [0, 1, 3, 3, 3]),
    ],
)
def test_an_absorbing_end_on_the_host(space, seen):
    env = AbsorbingEnd(Short(space), horizon=4)
    for _ in range(2):
        observations, outcomes = [env.reset(seed=0)[0]], []
        for _ in range(4):
            observation, *outcome, _ = env.step(0)
            observations.append(observation)
            outcomes.append(tuple(outcome))
        assert np.array_equal(np.array(observations), seen)
        assert outcomes == [(1.0, False, False), (1.0, False, False), (0.0, False, False), (0.0, False, True)]
        assert all(env.observation_space.contains(np.asarray(o, env.observation_space.dtype)) for o in observations)


def test_an_absorbing_end_is_the_same_on_the_host_and_in_the_program():
    """CartPole falls under one action: observations, rewards and ends of both, from the same start."""
    world, env = absorbing(gymnax_environment("CartPole-v1"), 40), AbsorbingEnd(gymnasium.make("CartPole-v1"), 40)
    first, _ = env.reset(seed=3)
    state, _ = world.reset(jax.random.key(0))
    x, x_dot, theta, theta_dot = map(jnp.float32, first[:4])
    state = (state[0].replace(x=x, x_dot=x_dot, theta=theta, theta_dot=theta_dot), *state[1:])
    step = jax.jit(world.step)
    for _ in range(40):
        state, outcome = step(state, jnp.int32(1), jax.random.key(0))
        seen, reward, terminated, truncated, _ = env.step(1)
        np.testing.assert_allclose(outcome.observation, seen, atol=1e-4)
        assert (float(outcome.reward), bool(outcome.terminated)) == (reward, terminated)
        assert bool(outcome.truncated) == truncated
    assert seen[-1] == 1 and truncated
