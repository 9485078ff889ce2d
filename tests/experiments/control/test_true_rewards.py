"""True rewards as functions, against what the environments themselves pay."""

import jax
import numpy as np
import pytest

from experiments.control.true_rewards import TRUE_REWARDS
from irl.control.agent import random_agent
from irl.control.environments.gymnax_env import jax_environment
from irl.control.rollout.in_graph import collect, reset
from irl.control.types import Transitions

pytest.importorskip("gymnax")


@pytest.mark.parametrize("name", TRUE_REWARDS)
def test_it_is_what_the_environment_pays(name):
    world = jax_environment(name)
    key = jax.random.key(3)
    environments = reset(world, 4, key)
    made = jax.jit(lambda environments: collect(world, random_agent(world.action), None, environments, key, 150)[1])(
        environments
    )
    paid = np.asarray(made.reward).reshape(-1)
    np.testing.assert_allclose(TRUE_REWARDS[name](made.transitions()), paid, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "before", "action", "after", "paid"),
    [
        ("seals/CartPole-v0", [0, 0, 0, 0], 0, [2.5, 0, 0, 0], 0.0),
        ("seals/CartPole-v0", [9, 0, 9, 0], 1, [-2.3, 7, 0.2, 7], 1.0),
        ("seals/MountainCar-v0", [0.5, 0.0], 2, [0.5, 0.0], 0.0),
        ("MountainCarContinuous-v0", [0.44, 0.02], [2.0], [0.46, 0.02], 99.9),
        ("Acrobot-v1", [1, 0, 1, 0, 0, 0], 0, [-1, 0, 1, 0, 0, 0], 0.0),  # hanging upside down: 1 + 1 above the line
        ("Pendulum-v1", [-1, 0, 2.0], [5.0], [1, 0, 0], -(np.pi**2 + 0.4 + 0.004)),
    ],
)
def test_ends_that_chance_does_not_reach(name, before, action, after, paid):
    rows = [np.asarray([part], np.float32) for part in (before, action, after)]
    found = TRUE_REWARDS[name](Transitions(*rows, np.zeros(1, bool)))
    assert float(found[0]) == pytest.approx(paid, rel=1e-5)
