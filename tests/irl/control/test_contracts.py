"""The contract of every registered learner and imitator: traced once, the same result from the same key, finite."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.agent import ImitationBatch
from irl.control.algorithms.base import ImitationProblem, Imitator
from irl.control.algorithms.dagger import Dagger
from irl.control.algorithms.iq_learn import IqLearn
from irl.control.algorithms.preference_comparisons import PreferenceComparisons
from irl.control.algorithms.sqil import Sqil
from irl.control.learners.base import Learner
from irl.control.learners.dqn import Dqn
from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.ppo import Ppo
from irl.control.learners.sac import Sac
from irl.control.learners.soft_q import SoftQ
from irl.control.rewards import RewardConfig
from irl.control.rollout.in_graph import collect, reset
from irl.control.spaces import Box, Discrete
from irl.control.tabular.base import TabularIrl
from irl.control.tabular.cliff_world import CliffWorld
from irl.control.tabular.mdp import soft_value_iteration, transition_occupancy
from irl.control.tabular.rewards import LinearReward
from irl.control.types import Transitions
from irl.types import InputError
from reward_models.registry import classes, import_all
from tests.irl.control.learners.off_policy_worlds import aim
from tests.irl.control.tiny_environments import target

pytestmark = pytest.mark.usefixtures("shared_programs")

ENVS, TIME = 4, 4
KEYS = jax.random.split(jax.random.key(0), 5)
TRAINING = OffPolicy(batch=4, updates=2, capacity=32)
PPO = Ppo(epochs=1, minibatch=8, hidden=(4,))
SMALL = {kind: {"hidden": (4,), "training": TRAINING} for kind in (Dqn, Sac, SoftQ)} | {
    Ppo: {"epochs": 1, "minibatch": 8, "hidden": (4,)},
    Dagger: {"updates": 2, "batch": 4, "capacity": 32},
    Sqil: {"learner": SoftQ(hidden=(4,), training=TRAINING)},
    IqLearn: {"learner": SoftQ(hidden=(4,), training=TRAINING)},
}
"""Settings for speed; a class that is not listed has its defaults."""


def registered(base):
    import_all("irl.control")
    return [kind for kind in classes() if issubclass(kind, base) and kind.__module__.startswith("irl.")]


def small(kind):
    return kind(**SMALL.get(kind, {}))


def world_of(config):
    """The world with discrete actions, or with a box if the config does not support these."""
    for world in (target(horizon=3), aim(horizon=3)):
        try:
            return world, config.make(world.observation, world.action)
        except InputError as error:
            assert type(config).__name__ in str(error)
    raise AssertionError(f"{config} supports neither discrete actions nor boxes")


def rollout_of(world, agent, state):
    act = jax.jit(lambda state, key: collect(world, agent, state, reset(world, ENVS, KEYS[1]), key, TIME)[1])
    return act(state, KEYS[2])


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact))


def same(first, second):
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def check_step(algorithm, state, batch, equivalent=None, learned=None):
    """The state after two steps, which were traced once; the same key gives the same state, all of it finite.

    `equivalent` is another batch that must give the same `learned(state)`.
    """
    traces = []

    def counted(state, batch, key):
        traces.append(key)
        return algorithm.step(state, batch, key)

    step = jax.jit(counted)
    first, info = step(state, batch, KEYS[3])
    assert same(first, step(state, batch, KEYS[3])[0])
    second, _ = step(first, batch, KEYS[4])
    if equivalent is not None:
        assert same(learned(second), learned(step(first, equivalent, KEYS[4])[0]))
    assert len(traces) == 1
    assert finite(second) and finite(info) and all(value.shape == () for value in info.values())
    assert not same(state.params, first.params), "nothing was learned"
    return second


def check_acting(agent, state, world):
    observations = jax.vmap(world.reset)(jax.random.split(KEYS[1], ENVS))[1]
    actions, log_prob = agent.act(state, observations, KEYS[2])
    assert actions.shape == (ENVS, *world.action.shape) and actions.dtype == world.action.dtype
    np.testing.assert_allclose(agent.log_prob(state, observations, actions), log_prob, rtol=1e-3, atol=1e-4)
    greedy = agent.greedy(state, observations)
    assert greedy.shape == actions.shape and greedy.dtype == actions.dtype
    assert "policy" in agent.learned(state) and finite(agent.learned(state))


@pytest.mark.parametrize("kind", registered(Learner), ids=lambda kind: kind.__name__)
def test_learners(kind):
    world, agent = world_of(small(kind))
    state = jax.jit(agent.init)(KEYS[0])
    assert same(state, jax.jit(agent.init)(KEYS[0]))
    check_acting(agent, check_step(agent, state, rollout_of(world, agent, state)), world)


@pytest.mark.parametrize("kind", registered(Imitator), ids=lambda kind: kind.__name__)
def test_imitators(kind):
    world, config = target(horizon=3), small(kind)
    learner = PPO.make(world.observation, world.action)
    start = learner.init(KEYS[0])
    demonstrations = rollout_of(world, learner, start).transitions()
    problem = ImitationProblem(world.observation, world.action, demonstrations, learner.greedy, start)
    agent, reward = config.imitate(learner, problem)
    offline = config.offline(agent, world.action)
    if offline is not None:
        check_acting(agent, check_step(offline, offline.init(KEYS[0]), demonstrations).agent, world)
        return
    state = jax.jit(agent.init)(KEYS[0])
    batch = ImitationBatch(rollout_of(world, agent, state), demonstrations)
    other_rewards = batch._replace(rollout=batch.rollout._replace(reward=7 - 3 * batch.rollout.reward))
    after = check_step(agent, state, batch, other_rewards, agent.learned)  # no reward of the environment is used
    if not isinstance(config, Dagger):  # which acts with the expert's help
        check_acting(agent, after, world)
    if reward is not None:
        values = jax.jit(reward)(after, demonstrations)
        assert values.shape == (ENVS * TIME,) and finite(values)
    if config.trains_learner:
        clone = learner.init(KEYS[4])
        observations = demonstrations.observation
        np.testing.assert_array_equal(
            agent.greedy(agent.with_params(state, clone.params), observations), learner.greedy(clone, observations)
        )


def test_preference_comparisons():
    world = target(horizon=3)
    learner = PPO.make(world.observation, world.action)
    config = PreferenceComparisons(rounds=2, comparisons=8, length=2, members=2, updates=2, batch=2, exploration=0.0)
    agent = config.make(learner, world.observation, world.action)
    state = jax.jit(agent.init)(KEYS[0])
    after = check_step(agent, state, rollout_of(world, agent, state))
    check_acting(agent, after, world)


@pytest.mark.parametrize("kind", registered(RewardConfig), ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("action", [Discrete(3), Box((2,))], ids=["discrete", "box"])
def test_reward_networks(kind, action):
    """One reward per transition, whatever the rest of the batch; portable rewards and moments keep their shapes."""
    network = kind().make(Box((3,)), action)
    params = network.init(KEYS[0])
    x, y = jax.random.normal(KEYS[1], (2, 5, 3))
    actions = jnp.arange(5, dtype=jnp.int32) % 3 if isinstance(action, Discrete) else x[:, :2]
    steps = Transitions(x, actions, y, jnp.arange(5) == 4)
    assert jax.tree.structure(network.observe(params, steps)) == jax.tree.structure(params)
    for function in (network.apply, network.portable):
        values = function(params, steps)
        alone = function(params, jax.tree.map(lambda leaf: leaf[2:3], steps))
        np.testing.assert_allclose(values[2:3], alone, rtol=1e-5)
        assert values.shape == (5,) and finite(jax.grad(lambda p: function(p, steps).sum())(params))  # noqa: B023


@pytest.mark.parametrize("kind", registered(TabularIrl), ids=lambda kind: kind.__name__)
def test_tabular_irl(kind):
    """The exact statistics of a soft-optimal expert in deterministic dynamics are matched."""
    with jax.enable_x64(True):
        world = replace(CliffWorld(), width=3, height=2, horizon=3, wind=0.0).make()
        counts = transition_occupancy(world.mdp, soft_value_iteration(world.mdp, world.reward).policy)
        reward, config = LinearReward().make(jnp.eye(world.mdp.states)), kind()
        expert = config.statistics(counts)
        check_step(config.make(world.mdp, reward), config.make(world.mdp, reward).init(KEYS[0]), expert)
        fitted = config.fit(world.mdp, reward, expert, KEYS[0])
        assert fitted.converged and fitted.info["occupancy_gap"] < 1e-6
        with pytest.raises(InputError, match="occupancy: expected a sum of"):
            config.fit(world.mdp, reward, 2 * expert, KEYS[0])
