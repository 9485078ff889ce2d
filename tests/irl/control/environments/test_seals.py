"""The fixed-horizon variants against their definition."""

import jax
import jax.numpy as jnp
import numpy as np

from irl.control.environments.classic_control import State
from irl.control.environments.seals import seals_cartpole, seals_mountain_car


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
    (_, at_goal), _ = world.reset(jax.random.key(0))
    state, rewards, seen = (State(jnp.array([0.49, 0.06]), jnp.int32(0)), at_goal), [], []
    for _ in range(6):
        state, outcome = world.step(state, jnp.int32(2), jax.random.key(0))
        rewards.append(float(outcome.reward))
        seen.append(float(outcome.observation[0]))
        assert not outcome.terminated
    assert outcome.truncated and rewards == [-1.0, 0, 0, 0, 0, 0] and seen == [seen[0]] * 6 and seen[0] >= 0.5
