"""The game on a world of signs: its optimum is known, and what is exported is the reward without the shaping."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.agent import ImitationBatch
from irl.control.algorithms.adversarial import Discriminator, gradient_penalty
from irl.control.algorithms.airl import TransitionAirl
from irl.control.algorithms.gail import Gail
from irl.control.learners.ppo import Ppo
from irl.control.learners.reward_override import with_frozen_reward, with_reward
from irl.control.rewards import RewardMlp, RewardNetwork, ShapedReward, each, ensemble
from irl.control.rollout.in_graph import State, collect, in_graph, reset, returns
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions
from irl.types import InputError
from reward_models.reward_maps import REWARD_MAPS
from tests.irl.control.tiny_environments import target

WORLD = target()
PPO = Ppo(learning_rate=3e-3, minibatch=80, epochs=4, discount=0.5, hidden=(16,))
DISCRIMINATOR = Discriminator(updates=4, batch=64, learning_rate=3e-3)


def demonstrations(count: int = 256) -> Transitions:
    """The best action at every sign."""
    rng = np.random.default_rng(0)
    sign, after = rng.choice([-1.0, 1.0], size=(2, count, 1)).astype(np.float32)
    action = (sign[:, 0] > 0).astype(np.int32)
    return Transitions(jnp.array(sign), jnp.array(action), jnp.array(after), jnp.zeros(count, bool))


def trained(agent, rounds=40):
    algorithm = in_graph(WORLD, agent, envs=16, time=10)
    step, state = jax.jit(algorithm.step), algorithm.init(jax.random.key(0))
    for number in range(rounds):
        state, info = step(state, demonstrations(), jax.random.key(number))
    assert step._cache_size() == 1
    return state, info


NETWORKS = {"plain": RewardMlp(hidden=(16,)), "shaped": ShapedReward(base=RewardMlp(hidden=(16,)), discount=0.5)}


@pytest.mark.parametrize("game", ["gail", "airl"])
def test_the_policy_becomes_the_expert_without_ever_being_told_the_reward(game):
    config = {
        "gail": Gail(discriminator=DISCRIMINATOR, network=NETWORKS["plain"]),
        "airl": TransitionAirl(discriminator=DISCRIMINATOR, network=NETWORKS["shaped"]),
    }[game]
    agent = config.make(PPO.make(WORLD.observation, WORLD.action), WORLD.observation, WORLD.action)
    state, info = trained(agent)
    assert returns(WORLD, agent, state.agent, jax.random.key(9), 64).mean() > 9.8
    assert {"discriminator_loss", "expert_accuracy", "policy_accuracy", "learned_reward", "return"} <= set(info)
    if game == "airl":
        network = config.network.make(WORLD.observation, WORLD.action)
        grid = Transitions(
            jnp.array([[-1.0], [-1.0], [1.0], [1.0]]), jnp.array([0, 1, 0, 1]), jnp.ones((4, 1)), jnp.zeros(4, bool)
        )
        reward = network.portable(state.params, grid)
        assert reward[0] > reward[1] + 1 and reward[3] > reward[2] + 1, "what carries over prefers the right action"


def test_shaping_telescopes_and_ends_with_the_task():
    network = ShapedReward(discount=0.9).make(Box((1,)), Discrete(2))
    params = network.init(jax.random.key(0))
    path = np.linspace(-1, 1, 6, dtype=np.float32)[:, None]
    steps = Transitions(jnp.array(path[:-1]), jnp.zeros(5, int), jnp.array(path[1:]), jnp.zeros(5, bool))
    difference = network.apply(params, steps) - network.portable(params, steps)
    at = lambda x: network.apply(params, _still(x)) - network.portable(params, _still(x))  # noqa: E731
    value = lambda x: at(x) / (0.9 - 1)  # noqa: E731  (0.9 h - h at a state that stays)
    discounted = sum(0.9**t * difference[t] for t in range(5))
    np.testing.assert_allclose(discounted, 0.9**5 * value(path[-1]) - value(path[0]), rtol=1e-3, atol=1e-4)
    ended = steps._replace(terminated=jnp.ones(5, bool))
    shaping = network.apply(params, ended) - network.portable(params, ended)
    np.testing.assert_allclose(shaping[0], -value(path[0]), rtol=1e-3, atol=1e-4)


def _still(x):
    return Transitions(jnp.array(x)[None], jnp.zeros(1, int), jnp.array(x)[None], jnp.zeros(1, bool))


def test_rewards_read_what_they_are_told_to():
    space, actions = Box((2,)), Discrete(3)
    some = Transitions(jnp.ones((1, 2)), jnp.array([1]), jnp.zeros((1, 2)), jnp.zeros(1, bool))
    changes = {
        "observation": some._replace(observation=2 * jnp.ones((1, 2))),
        "action": some._replace(action=jnp.array([2])),
        "next_observation": some._replace(next_observation=jnp.ones((1, 2))),
        "terminated": some._replace(terminated=jnp.ones(1, bool)),
    }
    for read in changes:
        only = RewardMlp(**{name: name == read for name in changes}).make(space, actions)
        params = only.init(jax.random.key(1))
        for name, changed in changes.items():
            same = only.apply(params, changed) == only.apply(params, some)
            assert bool(same[0]) == (name != read), (read, name)


def test_a_small_head_starts_near_zero():
    plain, small = (RewardMlp(normalise=False, head_scale=scale).make(Box((1,)), Discrete(2)) for scale in (1.0, 0.01))
    values = [network.apply(network.init(jax.random.key(0)), demonstrations(8)) for network in (plain, small)]
    np.testing.assert_allclose(values[1], 0.01 * values[0], rtol=1e-4)
    assert np.abs(values[0]).max() > 0.1


def test_ensembles_are_the_mean_of_their_members():
    member = RewardMlp(hidden=(4,)).make(Box((1,)), Discrete(2))
    together = ensemble(member, 3)
    params = together.init(jax.random.key(0))
    every = each(member.apply, params, demonstrations(8))
    assert every.shape == (3, 8) and np.std(every, axis=0).min() > 0
    np.testing.assert_allclose(together.apply(params, demonstrations(8)), every.mean(0), rtol=1e-5)
    seen = together.observe(params, demonstrations(8))
    np.testing.assert_array_equal(seen["moments"].count, [8, 8, 8])


def test_gradient_penalty_of_a_linear_reward():
    """l = 3 s + 4 s': the norm of its gradient is 5 everywhere."""
    linear = RewardNetwork(
        init=lambda key: None,
        apply=lambda params, t: 3 * t.observation[:, 0] + 4 * t.next_observation[:, 0],
        portable=lambda params, t: t.observation[:, 0],
        observe=lambda params, t: params,
    )
    found = gradient_penalty(linear, None, demonstrations(16), demonstrations(16), jax.random.key(0))
    assert found == pytest.approx(16.0, rel=1e-4)


@pytest.mark.parametrize("option", [{"gradient_penalty": 1.0}, {"entropy": 0.01}, {"label_smoothing": 0.1}])
def test_options_of_the_discriminator_change_what_it_learns(option):
    def after(config):
        network = RewardMlp(hidden=(8,), spectral_norm=True)
        agent = Gail(discriminator=config, network=network).make(
            PPO.make(WORLD.observation, WORLD.action), WORLD.observation, WORLD.action
        )
        return jax.tree.leaves(trained(agent, 1)[0].params["network"])

    plain, changed = after(DISCRIMINATOR), after(Discriminator(updates=4, batch=64, learning_rate=3e-3, **option))
    assert any((np.asarray(a) != np.asarray(b)).any() for a, b in zip(plain, changed, strict=True))
    assert all(np.isfinite(leaf).all() for leaf in changed)


def test_reward_maps():
    logit = jnp.array([-2.0, 0.0, 3.0])
    d = jax.nn.sigmoid(logit)
    wanted = {"gail": -jnp.log(1 - d), "gail_loss": jnp.log(d), "airl": logit, "fkl": -logit * jnp.exp(logit)}
    assert set(wanted) == set(REWARD_MAPS)
    for name, values in wanted.items():
        np.testing.assert_allclose(REWARD_MAPS[name](logit), values, rtol=1e-4)


def test_a_learner_is_paid_another_reward():
    learner = PPO.make(WORLD.observation, WORLD.action)
    agent = with_reward(learner, lambda t: (t.action == 0).astype(float))
    algorithm = in_graph(WORLD, agent, envs=16, time=10)
    step, state = jax.jit(algorithm.step), algorithm.init(jax.random.key(0))
    for number in range(20):
        state, info = step(state, None, jax.random.key(number))
    assert info["learned_reward"] > 0.9 and info["return"] < 7


@pytest.mark.parametrize("pay", ["logit", "f"])
def test_what_airl_pays(pay):
    """A learner that keeps the rewards it is given: l holds the log-probability of who acted, f does not."""
    keeper = PPO.make(WORLD.observation, WORLD.action)
    keeper = keeper._replace(step=lambda state, rollout, key: (state, {"paid": rollout.reward}))
    config = TransitionAirl(discriminator=DISCRIMINATOR, network=NETWORKS["shaped"], pay=pay)
    agent = config.make(keeper, WORLD.observation, WORLD.action)
    state = agent.init(jax.random.key(0))
    rollout = collect(WORLD, agent, state, reset(WORLD, 3, jax.random.key(1)), jax.random.key(2), 10)[1]
    state, info = agent.step(state, ImitationBatch(rollout, demonstrations()), jax.random.key(3))
    network = config.network.make(WORLD.observation, WORLD.action)
    f = network.apply(state.params, rollout.transitions()).reshape(10, 3)
    np.testing.assert_allclose(info["paid"], f - rollout.log_prob if pay == "logit" else f, rtol=1e-4, atol=1e-5)


def test_each_seed_is_paid_by_its_own_frozen_reward():
    """The frozen part is the sign of the action that pays."""
    learner = PPO.make(WORLD.observation, WORLD.action)
    agent, begin_paid = with_frozen_reward(learner, lambda good, t: (t.action == good).astype(jnp.float32))
    algorithm = in_graph(WORLD, agent, envs=16, time=10)

    def one(good, key):
        state = State(begin_paid(good, key), reset(WORLD, 16, key))
        step = lambda state, key: (algorithm.step(state, None, key)[0], None)  # noqa: E731
        return jax.lax.scan(step, state, jax.random.split(key, 20))[0].agent

    trained = jax.jit(jax.vmap(one))(jnp.array([0, 1]), jax.random.split(jax.random.key(0), 2))
    best = jax.vmap(lambda state: agent.greedy(state, jnp.array([[-1.0], [1.0]])))(trained)
    np.testing.assert_array_equal(best, [[0, 0], [1, 1]])
    np.testing.assert_array_equal(trained.frozen, [0, 1])
    with pytest.raises(TypeError, match="no init without a reward"):
        agent.init(jax.random.key(0))


def test_bad_settings():
    with pytest.raises(InputError, match=r"TransitionAirl\.pay: expected 'logit' or 'f', got 'g'"):
        TransitionAirl(pay="g")
    with pytest.raises(InputError, match=r"Gail\.reward_map: expected 'gail', .* or 'fkl', got 'wgan'"):
        Gail(reward_map="wgan")
    with pytest.raises(InputError, match=r"Discriminator\.updates: expected at least 1, got 0"):
        Discriminator(updates=0, batch=8)
    with pytest.raises(InputError, match="RewardMlp: no inputs"):
        RewardMlp(observation=False, action=False)
    with pytest.raises(InputError, match=r"ShapedReward.potential: expected observation as the only input"):
        ShapedReward(potential=RewardMlp()).make(Box((1,)), Discrete(2))
