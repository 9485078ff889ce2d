"""brax's environments against brax itself: ends told apart, no reset inside a step, the same numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.agent import Agent
from irl.control.environments.brax_env import brax_environment
from irl.control.rollout.in_graph import collect, reset
from irl.control.spaces import Box
from irl.types import InputError

envs = pytest.importorskip("brax.envs")
pytestmark = pytest.mark.filterwarnings("ignore:Brax System", "ignore::DeprecationWarning")
KEY = jax.random.key(0)


def steps(world, count, action):
    """The first observation and the outcomes of doing one thing."""
    state, first = jax.jit(world.reset)(KEY)
    step = jax.jit(world.step)
    outcomes = []
    for _ in range(count):
        state, outcome = step(state, jnp.full(world.action.shape, action), KEY)
        outcomes.append(outcome)
    return first, outcomes


def test_it_moves_as_brax_does_until_the_horizon():
    """In brax's world without physics."""
    world = brax_environment("brax/fast", horizon=5)
    assert world.name == "brax/fast" and world.horizon == 5
    assert world.observation == Box((2,)) and world.action == Box((1,), -1.0, 1.0)
    first, outcomes = steps(world, 5, 0.3)
    raw = envs.get_environment("fast")
    state = raw.reset(KEY)
    np.testing.assert_array_equal(first, state.obs)
    for outcome in outcomes:
        state = raw.step(state, jnp.full(1, 0.3))
        np.testing.assert_allclose(outcome.observation, state.obs, rtol=1e-5)
        assert float(outcome.reward) == pytest.approx(float(state.reward))
    assert [(bool(o.terminated), bool(o.truncated)) for o in outcomes] == [(False, False)] * 4 + [(False, True)]


def test_a_fall_terminates_and_a_step_never_resets():
    world = brax_environment("inverted_pendulum/spring")
    assert world.name == "brax/inverted_pendulum/spring" and world.horizon == 1000
    _, pushed = steps(world, 40, 1.0)
    first = [bool(o.terminated) for o in pushed].index(True)
    assert abs(pushed[first].observation[1]) > 0.2 >= abs(pushed[first - 1].observation[1])
    assert abs(pushed[first + 1].observation[1]) > 0.2 and not any(o.truncated for o in pushed)


@pytest.mark.parametrize("name", ["hopper/spring", "ant/positional"])
def test_a_state_keeps_its_types_and_is_not_written_to(name):
    """brax's healthy rewards are plain floats, and its metrics are updated in place. Traced, not compiled."""
    world = brax_environment(name)

    def both(key):
        before, _ = world.reset(key)
        held = jax.tree.leaves(before)
        after, outcome = world.step(before, jnp.zeros(world.action.shape), key)
        assert all(a is b for a, b in zip(held, jax.tree.leaves(before), strict=True))
        return before, after, outcome

    before, after, outcome = jax.eval_shape(both, KEY)
    assert before == after and outcome.terminated.dtype == bool and outcome.reward.shape == ()


def test_it_rolls_out_in_one_program():
    def act(state, seen, key):
        return jnp.ones((len(seen), 1)), jnp.zeros(len(seen))

    agent = Agent(lambda key: None, act, lambda s, o: act(s, o, None)[0], lambda s, o, a: a, lambda *a: a)
    world = brax_environment("fast", horizon=5)
    made = jax.jit(lambda states: collect(world, agent, None, states, KEY, 7)[1])(reset(world, 2, KEY))
    assert made.truncated[:, 0].tolist() == [False] * 4 + [True, False, False]
    assert made.next_observation[4, 0, 1] == pytest.approx(0.1) and made.observation[5, 0, 1] == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half_cheetah", "no environment 'half_cheetah'; did you mean halfcheetah"),
        ("zzz", "no environment 'zzz'; there are ant, "),
        ("ant/springs", "no backend 'springs'; did you mean spring"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(InputError, match=message):
        brax_environment(name)
