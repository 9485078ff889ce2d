"""Reasoning environments as Gymnasium's: against the verifier, the solver and texts."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.control.environments.gymnasium_env import bridge, create
from irl.control.environments.reasoning import (
    HAND,
    ONE_HOT,
    CountdownSteps,
    ModChainSteps,
    demonstrations,
    legal_actions,
    operation_of,
)
from irl.control.spaces import Box, Discrete
from irl.control.trajectories.trajectory import check_spaces, to_transitions
from irl.domains.countdown.countdown import problem_of
from irl.domains.countdown.solver import operations
from irl.domains.modchain import ModChain
from irl.types import InputError, Problem

SMALL = {"num_ops": 2, "modulus": 5, "train_size": 20, "test_size": 5}


@pytest.mark.parametrize("make", [lambda: ModChainSteps(**SMALL), lambda: CountdownSteps()], ids=["chain", "countdown"])
@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes:UserWarning")
def test_gymnasium_finds_nothing_wrong(make):
    check_env(make())


def test_they_are_registered():
    env = create("traceward/ModChain-v0", **SMALL)
    assert bridge(env).action == Discrete(5) and bridge(env).observation == Box((5 + 2 * 8,), 0.0, 1.0)
    assert isinstance(gymnasium.make("traceward/Countdown-v0").unwrapped, CountdownSteps)


def chain(prompt="3 * 4 + 1 mod 5"):
    env = ModChainSteps(**SMALL)
    return env, env.reset(seed=0, options={"problem": Problem(id="x", prompt=prompt)})[0]


def test_an_observation_of_a_chain_is_the_value_and_what_is_due():
    env, first = chain()  # symbols in the order + - *
    value, due = [0, 0, 0, 1, 0], [[0, 0, 1, 0, 0, 0, 0, 1], [1, 0, 0, 0, 1, 0, 0, 0]]
    np.testing.assert_array_equal(first, [*value, *due[0], *due[1]])
    second, reward, terminated, truncated, _ = env.step(2)  # 3 * 4 = 2 mod 5
    np.testing.assert_array_equal(second, [0, 0, 1, 0, 0, *due[1], *[0] * 8])
    assert (reward, terminated, truncated) == (0.0, False, False)


@pytest.mark.parametrize(("claims", "reward"), [((2, 3), 1.0), ((2, 4), 0.0), ((1, 2), 0.0), ((1, 3), 0.0)])
def test_only_a_chain_without_a_fault_is_paid(claims, reward):
    """(1, 2): the second step is right for the wrong value; (1, 3): the answer is right, both steps are not."""
    env, _ = chain()
    env.step(claims[0])
    _, paid, terminated, truncated, _ = env.step(claims[1])
    assert (paid, terminated, truncated) == (reward, True, False)


def test_the_text_of_a_chain():
    env, _ = chain()
    env.step(2)
    assert env.text() is None
    env.step(4)
    assert env.text() == "3 * 4 = 2\n2 + 1 = 4\nAnswer: 4"


def countdown(*hand):
    env = CountdownSteps()
    return env, *env.reset(seed=0, options={"problem": problem_of(hand)})


def test_an_observation_of_countdown():
    env, first, _ = countdown(3, 3, 8, 8)
    rows = first.reshape(HAND, 3 + ONE_HOT)
    np.testing.assert_allclose(rows[0, :3], [1, np.log(4) / np.log(28562), 1], rtol=1e-6)
    assert rows[2, 3 + 8] == 1 and rows[2, 3:].sum() == 1
    second = env.step(env.action_of("8 / 3 = 8/3 (left: 3 8/3 8)"))[0].reshape(HAND, -1)
    np.testing.assert_allclose(second[0, :3], [1, np.log(8 / 3 + 1) / np.log(28562), 0], rtol=1e-6)
    assert second[0, 3:].sum() == 0 and second[3].sum() == 0, "not whole, and one number fewer"


@pytest.mark.parametrize(
    ("steps", "reward"),
    [
        (("8 / 3 = 8/3", "3 - 8/3 = 1/3", "8 / 1/3 = 24"), 1.0),
        (("8 * 3 = 24", "8 - 3 = 5", "24 + 5 = 29"), 0.0),
    ],
)
def test_a_game_of_24(steps, reward):
    env, _, _ = countdown(3, 3, 8, 8)
    for step in steps[:-1]:
        _, paid, terminated, _, _ = env.step(env.action_of(step))
        assert (paid, terminated) == (0.0, False)
    _, paid, terminated, truncated, _ = env.step(env.action_of(steps[-1]))
    assert (paid, terminated, truncated) == (reward, True, False)


def test_what_cannot_be_done_changes_nothing():
    env, _, info = countdown(1, 1, 5, 5)
    env.step(env.action_of("1 - 1 = 0"))
    before = env.observation()
    divided = 4  # numbers 0 5 5: pair (0, 1), small / large is 0 / 5; large / small divides by 0
    illegal = divided - 1
    assert env.info()["action_mask"][[illegal, divided]].tolist() == [0, 1]
    after, reward, terminated, truncated, _ = env.step(illegal)
    np.testing.assert_array_equal(after, before)
    assert (reward, terminated, truncated) == (0.0, False, False) and env.numbers == (0, 5, 5)
    assert info["action_mask"].all() and not env.info()["action_mask"][5 * 2 : 5 * 3].any(), "there is no fourth number"


def test_refused_steps_end_at_the_limit():
    env = CountdownSteps(most_steps=3)
    env.reset(seed=0, options={"problem": problem_of((1, 1, 5, 5))})
    env.step(env.action_of("1 - 1 = 0"))
    ends = [env.step(3)[2:4] for _ in range(2)]
    assert ends == [(False, False), (False, True)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 13), min_size=2, max_size=4))
def test_the_actions_are_the_operations_of_the_solver(hand):
    """operations() lists every distinct operation once, larger number first; actions may repeat it."""
    numbers = tuple(sorted(hand))
    found = {operation_of(numbers, action) for action in np.flatnonzero(legal_actions(numbers)).tolist()}
    assert found >= {operation for operation, _ in operations(numbers)}
    assert {o.result for o in found} == {operation.result for operation, _ in operations(numbers)}


@pytest.mark.parametrize("name", ["traceward/ModChain-v0", "traceward/Countdown-v0"])
def test_experts_are_paid_and_are_demonstrations_of_the_environment(name):
    env = create(name)
    trajectories = demonstrations(env, 12, seed=3)
    of_env = bridge(env)
    check_spaces(trajectories, of_env.observation, of_env.action)
    assert all(t.terminal and t.rewards.sum() == 1.0 == t.rewards[-1] and t.environment == name for t in trajectories)
    lengths = {len(t) for t in trajectories}
    assert lengths == ({5} if "ModChain" in name else {3})
    assert to_transitions(trajectories).terminated.sum() == 12
    again = demonstrations(create(name), 12, seed=3)
    assert all(np.array_equal(a.actions, b.actions) for a, b in zip(trajectories, again, strict=True))


def test_experts_go_round_all_problems():
    env = ModChainSteps(**SMALL)
    starts = {t.observations[0].tobytes() for t in demonstrations(env, 20, seed=0)}
    assert len(starts) == 20 == len(ModChain(**SMALL).problems("train"))


def test_bad_input():
    env, _ = chain()
    with pytest.raises(InputError, match=r"ModChain: expected a step such as '7 . 3 = 8', got 'and so on'"):
        env.action_of("and so on")
    with pytest.raises(InputError, match="Countdown: expected a step on two of 3 3 8 8, got '9 - 8 = 1'"):
        countdown(3, 3, 8, 8)[0].action_of("9 - 8 = 1")
    with pytest.raises(InputError, match="expected up to 4 numbers and target 24"):
        CountdownSteps().reset(options={"problem": problem_of((1, 2), 3)})
    with pytest.raises(InputError, match=r"expected one of the reasoning environments, got .*CartPole"):
        demonstrations(gymnasium.make("CartPole-v1"), 1, 0)
