"""gymnax's environments against Gymnasium's, and environments by their ids."""

import importlib.util

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.environments.gymnax_env import OWN, gymnax_environment, jax_environment
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
    with pytest.raises(InputError, match=r"CartPole-v1: no parameter 'mass'; expected one of .*masscart"):
        gymnax_environment("CartPole-v1", mass=3.0)


def test_by_id():
    """Our own come without gymnax, others with it."""
    assert {name: jax_environment(name).name for name in OWN} == {name: name for name in OWN}
    assert jax_environment("Catch-bsuite").action == Discrete(3)
    with pytest.raises(InputError, match="no pure-JAX environment 'CartPole-v9'; similar ids: CartPole-v1, seals"):
        jax_environment("CartPole-v9")


FIELDS = {
    "CartPole-v1": ("x", "x_dot", "theta", "theta_dot"),
    "MountainCar-v0": ("position", "velocity"),
    "Pendulum-v1": ("theta", "theta_dot"),
}


@pytest.mark.parametrize("name", FIELDS)
def test_our_own_move_as_gymnax_does(name):
    """A whole episode of the same random actions, each step from the state that ours is in."""
    ours, theirs = jax_environment(name), gymnax_environment(name)
    assert (ours.action, ours.horizon) == (theirs.action, theirs.horizon)

    def both(state, key):
        action = jax.random.randint(key, (), 0, 2)
        if name == "Pendulum-v1":
            action = jax.random.uniform(key, (1,), minval=-3.0, maxval=3.0)
        physics = dict(zip(FIELDS[name], state.physics, strict=True))
        there = theirs.reset(key)[0].replace(**physics, time=state.time)
        state, outcome = ours.step(state, action, key)
        return state, (outcome, theirs.step(there, action, key)[1])

    state, _ = ours.reset(jax.random.key(0))
    _, (mine, there) = jax.lax.scan(both, state, jax.random.split(jax.random.key(1), 60))
    np.testing.assert_allclose(mine.observation, there.observation, atol=1e-4)
    np.testing.assert_array_equal(mine.terminated, there.terminated)


@pytest.mark.skipif(importlib.util.find_spec("brax") is not None, reason="brax is installed")
def test_brax_is_asked_for_by_its_prefix():
    with pytest.raises(InputError, match=r"^brax/halfcheetah: No module named 'brax'; install the extra brax"):
        jax_environment("brax/halfcheetah")
