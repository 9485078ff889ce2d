"""Every environment against Gymnasium's, one step from many states; resets and time limits."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.environments.acrobot import acrobot
from irl.control.environments.classic_control import State, cart_pole, mountain_car, mountain_car_continuous, pendulum
from irl.control.environments.gymnasium_env import bridge

RANGES = {
    "Acrobot-v1": (acrobot, [3.1, 3.1, 12.0, 28.0]),
    "CartPole-v1": (cart_pole, [2.6, 3.0, 0.25, 3.0]),
    "MountainCar-v0": (mountain_car, [1.2, 0.07]),
    "MountainCarContinuous-v0": (mountain_car_continuous, [1.2, 0.07]),
    "Pendulum-v1": (pendulum, [9.0, 8.0]),
}
"""The constructor, and how far the states of the tests lie around 0: some end, some run into a wall."""


@pytest.mark.parametrize("name", RANGES)
def test_steps_are_those_of_gymnasium(name):
    made, ranges = RANGES[name]
    ours, theirs = made(), gymnasium.make(name).unwrapped
    draw = np.random.default_rng(0)
    physics = (draw.uniform(-1, 1, (300, len(ranges))) * ranges).astype(np.float32)
    if name.startswith("MountainCar"):
        physics[:, 0] = np.clip(physics[:, 0], -1.2, 0.6)
    theirs.action_space.seed(0)
    actions = np.stack([theirs.action_space.sample() for _ in physics])
    state = State(jnp.asarray(physics), jnp.zeros(len(physics), jnp.int32))
    keys = jax.random.split(jax.random.key(0), len(physics))
    after, outcome = jax.vmap(ours.step)(state, jnp.asarray(actions), keys)
    there = []
    for before, action in zip(physics, actions, strict=True):
        theirs.reset(seed=0)
        theirs.state = np.asarray(before, np.float64)
        there.append(theirs.step(action)[:3])
    observation, reward, terminated = (np.stack(column) for column in zip(*there, strict=True))
    rounding = 5e-4 if name == "Acrobot-v1" else 2e-5  # at speeds that it hardly reaches, speeds change by hundreds
    np.testing.assert_allclose(outcome.observation, observation, atol=rounding)
    np.testing.assert_allclose(outcome.reward, reward, atol=1e-4)
    np.testing.assert_array_equal(outcome.terminated, terminated)
    assert terminated.any() == (name != "Pendulum-v1") and not terminated.all()
    assert (after.time == 1).all() and not outcome.truncated.any()


@pytest.mark.parametrize("name", RANGES)
def test_spaces_limits_and_starts_are_those_of_gymnasium(name):
    ours, theirs = RANGES[name][0](), gymnasium.make(name)
    there = bridge(theirs)
    assert (ours.name, ours.horizon) == (name, theirs.spec.max_episode_steps)
    assert ours.action == there.action
    for mine, edge in zip(ours.observation.bounds(), there.observation.bounds(), strict=True):
        np.testing.assert_allclose(mine, edge, rtol=1e-6)
    _, starts = jax.vmap(ours.reset)(jax.random.split(jax.random.key(1), 1000))
    begun = np.stack([theirs.reset(seed=seed)[0] for seed in range(300)])
    np.testing.assert_allclose(starts.min(0), begun.min(0), atol=0.05)
    np.testing.assert_allclose(starts.max(0), begun.max(0), atol=0.05)


def test_a_time_limit_truncates_what_does_not_terminate():
    for world, action, ends in ((pendulum(3), jnp.zeros(1), False), (cart_pole(9), jnp.int32(1), True)):
        state, _ = world.reset(jax.random.key(0))
        outcomes = []
        for _ in range(world.horizon):
            state, outcome = world.step(state, action, jax.random.key(1))
            outcomes.append((bool(outcome.terminated), bool(outcome.truncated)))
        assert outcomes == [(False, False)] * (world.horizon - 1) + [(ends, not ends)]
