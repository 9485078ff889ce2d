"""SAC: densities against scipy, losses worked out by hand, gradients that reach only their own part, an aim learned."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.replay import Experience
from irl.control.learners.sac import ActorCritic, Sac, squash
from irl.control.rollout.in_graph import in_graph, returns
from irl.control.spaces import Box, Discrete
from irl.types import InputError
from tests.irl.control.learners.off_policy_worlds import aim, compiled

SEEN, DONE = Box((3,)), Box((2,), (-1.0, 0.0), (3.0, 1.0))


def some_steps(count=8, key=0):
    keys = jax.random.split(jax.random.key(key), 4)
    low, high = DONE.bounds()
    return Experience(
        jax.random.normal(keys[0], (count, 3)),
        jax.random.uniform(keys[1], (count, 2), minval=low, maxval=high),
        jax.random.normal(keys[2], (count, 3)),
        jnp.arange(count) % 2 == 0,
        jax.random.normal(keys[3], (count,)),
    )


def test_squash_there_and_back():
    scale = squash(DONE)
    np.testing.assert_allclose(
        scale.to_box(jnp.array([[-1.0, -1.0], [0.0, 0.0], [1.0, 1.0]])), [[-1, 0], [1, 0.5], [3, 1]]
    )
    np.testing.assert_allclose(scale.to_unit(jnp.array([[1.0, 0.75], [9.0, -9.0]])), [[0, 0.5], [1, -1]])
    assert scale.log_scale == pytest.approx(np.log(2 * 0.5))


@pytest.fixture(scope="module")
def begun():
    """An agent, and its state of before any step."""
    agent = Sac().make(SEEN, DONE)
    return agent, compiled(agent.init)(jax.random.key(0)), compiled(agent.log_prob)


def test_log_prob_is_the_density_of_the_action(begun):
    """By the change of variables, with scipy's normal density, in the environment's own units."""
    agent, state, log_prob_of = begun
    seen = some_steps().observation
    actions, log_prob = compiled(agent.act)(state, seen, jax.random.key(1))
    mean, log_std = ActorCritic(Sac(), SEEN, DONE).policy(state.params, seen)
    unit = (np.asarray(actions, np.float64) - [1.0, 0.5]) / [2.0, 0.5]
    density = norm.pdf(np.arctanh(unit), mean, np.exp(log_std)) / (1 - unit**2) / [2.0, 0.5]
    np.testing.assert_allclose(log_prob, np.log(density).sum(axis=1), atol=1e-4)
    np.testing.assert_allclose(log_prob_of(state, seen, actions), log_prob, atol=1e-3)
    assert np.isfinite(log_prob_of(state, seen, jnp.full((8, 2), 9.0))).all()
    assert agent.greedy(state, seen).shape == (8, 2)


def test_density_sums_to_one(begun):
    _, state, log_prob_of = begun
    first, second = np.linspace(-1, 3, 303)[1:-1], np.linspace(0, 1, 303)[1:-1]
    grid = jnp.asarray(np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2), jnp.float32)
    chances = np.exp(log_prob_of(state, jnp.ones((len(grid), 3)), grid)).reshape(301, 301)
    assert np.trapezoid(np.trapezoid(chances, second), first) == pytest.approx(1, abs=5e-3)


def test_critics_aim_at_the_lower_target():
    """Constant critics: Q' = (2, 5), so that y = r + discount (2 - alpha log pi), and r where the task is over."""
    config = Sac(discount=0.5, temperature=0.3, hidden=())
    learner, networks = config.build(SEEN, DONE), ActorCritic(config, SEEN, DONE)
    params, steps, key = learner.init(jax.random.key(0)), some_steps(), jax.random.key(3)
    constant = [{"w": jnp.zeros((2, 5, 1)), "b": jnp.array([[2.0], [5.0]])}]
    params["critic"] = [{"w": jnp.zeros((2, 5, 1)), "b": jnp.array([[1.0], [0.0]])}]
    _, info = compiled(learner.loss)(params, constant, steps, key)
    log_prob = networks.sample(params, steps.next_observation, jax.random.split(key)[0])[1]
    y = np.asarray(steps.reward) + 0.5 * np.where(steps.terminated, 0.0, 2.0 - 0.3 * np.asarray(log_prob))
    assert info["critic_loss"] == pytest.approx(0.5 * ((1 - y) ** 2).mean() + 0.5 * (y**2).mean(), rel=1e-5)
    assert info["q"] == pytest.approx(0.5)


def test_each_loss_moves_its_own_part():
    """The policy's loss does not reach the critics, and the temperature rises where entropy is below H."""
    networks = ActorCritic(Sac(target_entropy=50.0), SEEN, DONE)
    params = networks.init(jax.random.key(0))
    seen = some_steps().observation
    grads, info = compiled(jax.grad(networks.policy_loss, has_aux=True))(params, seen, jax.random.key(1))
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(grads["critic"]))
    assert np.any(grads["actor"][0]["w"])
    assert grads["log_temperature"] == pytest.approx(float(info["entropy"]) - 50, rel=1e-4)


def test_learns_to_aim_from_several_seeds_at_once():
    """By chance it costs 1.7 a step, by staying in the middle 0.33."""
    world = aim()
    config = Sac(temperature=0.1, hidden=(32,), training=OffPolicy(learning_rate=1e-2, batch=64, updates=16))
    agent = config.make(world.observation, world.action)
    algorithm, seeds = in_graph(world, agent, envs=8, time=4), jax.random.split(jax.random.key(0), 2)
    step = compiled(jax.vmap(algorithm.step, in_axes=(0, None, 0)))
    state = compiled(jax.vmap(algorithm.init))(seeds)
    for number in range(50):
        state, info = step(state, None, jax.vmap(lambda key: jax.random.fold_in(key, number))(seeds))  # noqa: B023
    assert step._cache_size() == 1
    assert all(np.isfinite(info[name]).all() for name in ("loss", "critic_loss", "entropy", "temperature", "q"))
    earned = compiled(jax.vmap(lambda state, key: returns(world, agent, state.agent, key, 20)))(state, seeds)
    assert (earned.mean(axis=1) / world.horizon > -0.05).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discount": 2.0}, "Sac.discount: expected at most 1.0, got 2.0"),
        ({"temperature": -1.0}, "Sac.temperature: expected at least 1e-06, got -1.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        Sac(**settings)


@pytest.mark.parametrize("space", [Discrete(3), Box((1,)), Box((1,), -1.0)])
def test_spaces_without_bounds_are_refused(space):
    with pytest.raises(
        InputError, match=r"Sac: expected a box of actions with finite bounds, got .*; use SoftQ or Dqn"
    ):
        Sac().make(SEEN, space)
