"""IQ-Learn: its objective by hand, what it becomes at its edges, and the reward that it recovers where all is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from irl.control.agent import ImitationBatch
from irl.control.algorithms.iq_learn import IqLearn, iq_objective
from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.replay import Experience
from irl.control.learners.sac import Sac
from irl.control.learners.soft_q import SoftQ
from irl.control.rollout.in_graph import in_graph, returns
from irl.control.spaces import Discrete
from irl.control.types import Rollout, Transitions
from irl.types import InputError
from tests.irl.control.learners.off_policy_worlds import DISCOUNT, END, NEXT, REWARD, aim, compiled, values

STATES, ACTIONS = Discrete(3), Discrete(2)
SOFT = 0.5
"""Temperature of the experts."""


def two_steps(*, ends=(False, False)):
    """One demonstrated, one own."""
    zero = jnp.zeros(2)
    return Experience(zero[:, None], zero.astype(jnp.int32), zero[:, None], jnp.array(ends), jnp.array([1.0, 0.0]))


def objective(config, ends=(False, False), absorbed=0.0, discount=0.5):
    """Q = 3 and 1, V = 2 and 1, V' = 4 and 2: r = 1 and 0, V - discount V' = 0 and 0."""
    of = lambda *numbers: jnp.array([numbers])  # noqa: E731
    return iq_objective(
        config,
        two_steps(ends=ends),
        of(3.0, 1.0),
        of(2.0, 1.0),
        of(4.0, 2.0),
        jnp.float32(absorbed),
        discount=discount,
    )[0]


def test_objective():
    """r_E - (first) - mean r^2 / (4 alpha), with (V - V'/2) = 0 for both and r = 1, 0."""
    assert objective(IqLearn(alpha=0.5)) == pytest.approx(1 - 0 - 0.5 / 2)
    assert objective(IqLearn(alpha=0.5, penalty_share=0.0)) == pytest.approx(1 - 0 - 1 / 2)
    assert objective(IqLearn(alpha=0.5, penalty_share=1.0)) == pytest.approx(1)


def test_objective_at_the_end_of_a_task():
    """The own step ends, with V' = v: r = 1 - v/2, the first value V - v/2 + v/2 = 1, the tail's square v^2/4."""
    ends = (False, True)
    assert objective(IqLearn(alpha=0.5), ends, absorbed=-2.0) == pytest.approx(1 - 0.5 * 1 - (1 + 4 + 1) / 4)
    value_of_expert = IqLearn(alpha=0.5, value_share=0.0, penalty_share=0.0)
    assert objective(value_of_expert, ends, absorbed=-2.0) == pytest.approx(1 - 0 - 0.5)
    assert objective(IqLearn(alpha=0.5), ends, absorbed=0.0) == pytest.approx(1 - 0.5 * 1 - (1 + 1) / 4)


def test_absorbing_state_is_one_more_state_for_ever():
    """The closed form of the tail against steps of the absorbing state, written out with their discounts."""
    config, discount, v, many = IqLearn(alpha=0.7, value_share=0.3, penalty_share=0.6), 0.8, 1.7, 400
    q, value = np.array([0.5, -0.3]), np.array([0.2, 0.9])
    closed = iq_objective(
        config, two_steps(ends=(True, True)), jnp.asarray(q[None]), jnp.asarray(value[None]), jnp.zeros((1, 2)),
        jnp.float32(v), discount=discount,
    )[0]  # fmt: skip
    weight = discount ** np.arange(1, many)
    linear = q - discount * v + weight.sum() * (v - discount * v)
    square = (q - discount * v) ** 2 + weight.sum() * (v - discount * v) ** 2
    first = value - discount * v + weight.sum() * (v - discount * v)
    expected = linear[0] - np.dot([0.7, 0.3], first) - np.dot([0.4, 0.6], square) / (4 * 0.7)
    assert closed == pytest.approx(expected, rel=1e-5)


def test_on_experts_alone_it_is_behavioural_cloning_and_a_penalty():
    """E_E[r] - E_E[V - discount V'] = E_E[Q - V] = T E_E[log pi(a|s)]."""
    config = IqLearn(learner=SoftQ(temperature=SOFT), alpha=1e6, value_share=0.0)
    learner = config.build(STATES, ACTIONS)
    params, seen = compiled(learner.init)(jax.random.key(0)), jnp.eye(3)[jnp.array([0, 1, 2, 0])]
    actions, expert = jnp.array([1, 0, 1, 1]), jnp.array([1.0, 1.0, 0.0, 0.0])
    batch = Experience(seen, actions, seen[::-1], jnp.zeros(4, bool), expert)
    loss, _ = jax.jit(learner.loss)(params, params["critic"], batch, jax.random.key(1))
    cloning = -SOFT * learner.log_prob(params, seen, jnp.int32(0), actions)[:2].mean()
    assert loss == pytest.approx(float(cloning), rel=1e-4)


def expert_policy():
    """Of the table's rewards, by soft value iteration; its task goes on for ever (the end is a time limit)."""
    q = values(lambda q: SOFT * logsumexp(q / SOFT, axis=1), ends=np.zeros_like(END))
    return softmax(q / SOFT, axis=1)


def occupancy(policy, start=(1.0, 0.0, 0.0)):
    """Discounted visits of states and actions, by solving the flow equations."""
    moves = np.zeros((3, 3))
    for state, action in np.ndindex(3, 2):
        moves[state, NEXT[state, action]] += policy[state, action]
    visits = np.linalg.solve(np.eye(3) - DISCOUNT * moves.T, (1 - DISCOUNT) * np.array(start))
    return visits[:, None] * policy


def drawn(visits, count, rng):
    """Transitions in the proportions of the visits."""
    pairs = rng.choice(6, size=count, p=visits.ravel() / visits.sum())
    states, actions = pairs // 2, pairs % 2
    of = lambda values: jnp.asarray(values, jnp.int32)  # noqa: E731
    return Transitions(of(states), of(actions), of(NEXT[states, actions]), jnp.zeros(count, bool))


def as_rollout(steps):
    wide = jax.tree.map(lambda leaf: leaf[:, None], steps)
    no = jnp.zeros_like(wide.terminated)
    return Rollout(*wide[:3], no, no, jnp.zeros(no.shape), jnp.zeros(no.shape))


def learned(config, own, count=20_000):
    rng, expert = np.random.default_rng(0), expert_policy()
    agent = config.make(STATES, ACTIONS)
    batch = ImitationBatch(as_rollout(drawn(occupancy(own), count, rng)), drawn(occupancy(expert), count, rng))
    step, state = jax.jit(agent.step), compiled(agent.init)(jax.random.key(0))
    for number in range(2):
        state, _ = step(state, batch, jax.random.key(number))
    assert step._cache_size() == 1
    return agent, state


def settings(**changes):
    training = OffPolicy(learning_rate=0.01, batch=512, updates=400, capacity=20_000)
    return IqLearn(learner=SoftQ(discount=DISCOUNT, temperature=SOFT, hidden=(), training=training), **changes)


@pytest.mark.parametrize("value_share", [0.0, 0.5])
def test_recovered_reward_makes_the_expert_again(value_share):
    """Soft value iteration on r(s, a) gives back the policy of Q, and that is the expert's."""
    config, expert = settings(alpha=20.0, value_share=value_share), expert_policy()
    agent, state = learned(config, own=np.full((3, 2), 0.5))
    states, actions = (jnp.asarray(grid.ravel(), jnp.int32) for grid in np.indices((3, 2)))
    every = Transitions(states, actions, jnp.asarray(NEXT.ravel(), jnp.int32), jnp.zeros(6, bool))
    reward = np.asarray(config.reward(STATES, ACTIONS)(state, every)).reshape(3, 2)
    q = np.zeros((3, 2))
    for _ in range(300):
        q = reward + DISCOUNT * SOFT * logsumexp(q / SOFT, axis=1)[NEXT]
    again = softmax(q / SOFT, axis=1)
    np.testing.assert_allclose(np.exp(agent.log_prob(state, states, actions)).reshape(3, 2), again, atol=1e-3)
    np.testing.assert_allclose(again, expert, atol=0.04)


def test_recovered_reward_is_the_chi2_of_visits():
    """With mu the own steps' and the penalty on both sides, dJ/dQ = 0 says:

    rho_E - r (rho_E + rho) / 2 / (2 alpha) are the discounted visits of the policy of Q.
    """
    config, own = settings(alpha=0.5, value_share=1.0), np.full((3, 2), 0.5)
    agent, state = learned(config, own)
    states, actions = (jnp.asarray(grid.ravel(), jnp.int32) for grid in np.indices((3, 2)))
    every = Transitions(states, actions, jnp.asarray(NEXT.ravel(), jnp.int32), jnp.zeros(6, bool))
    reward = np.asarray(config.reward(STATES, ACTIONS)(state, every)).reshape(3, 2)
    policy = np.exp(agent.log_prob(state, states, actions)).reshape(3, 2)
    visits = occupancy(expert_policy()) - (occupancy(expert_policy()) + occupancy(own)) / 2 * reward
    np.testing.assert_allclose(visits, occupancy(policy), atol=0.02)


def test_reward_after_the_end_of_a_task():
    """Q(s, a) alone where it ends; Q(s, a) - discount V(s') elsewhere."""
    config = IqLearn(learner=SoftQ(discount=DISCOUNT, temperature=SOFT, hidden=()))
    agent = config.make(STATES, ACTIONS)
    table = jnp.asarray(REWARD, jnp.float32)
    state = compiled(agent.init)(jax.random.key(0))
    state = state._replace(params=state.params | {"critic": [{"w": table, "b": jnp.zeros(2)}]})
    steps = Transitions(jnp.array([1, 2]), jnp.array([1, 1]), jnp.array([2, 2]), jnp.array([False, True]))
    v = SOFT * logsumexp(REWARD[2] / SOFT)
    np.testing.assert_allclose(config.reward(STATES, ACTIONS)(state, steps), [0.5 - DISCOUNT * v, 1.0], rtol=1e-5)


def test_gradient_penalty():
    """Of a linear Q(s, 0) = 3 s_0 + 4 s_1 the gradient is 5 everywhere: (5 - 1)^2."""
    weights = jnp.array([[3.0, 0.0], [4.0, 0.0], [0.0, 0.0]])
    losses = []
    for penalty in (0.0, 0.5):
        learner = IqLearn(learner=SoftQ(hidden=()), gradient_penalty=penalty).build(STATES, ACTIONS)
        params = compiled(learner.init)(jax.random.key(0)) | {"critic": [{"w": weights, "b": jnp.zeros(2)}]}
        seen, expert = jnp.eye(3)[jnp.array([0, 1])], jnp.array([1.0, 0.0])
        batch = Experience(seen, jnp.zeros(2, jnp.int32), seen, jnp.zeros(2, bool), expert)
        losses.append(jax.jit(learner.loss)(params, params["critic"], batch, jax.random.key(1))[0])
    assert losses[1] - losses[0] == pytest.approx(0.5 * 16, rel=1e-4)


def test_imitates_with_boxes():
    """By chance a step costs 1.7, by staying in the middle 0.33."""
    world = aim()
    training = OffPolicy(learning_rate=3e-3, updates=16, batch=64)
    learner = Sac(discount=0.9, temperature=0.05, learn_temperature=False, hidden=(32,), training=training)
    config = IqLearn(learner=learner, gradient_penalty=0.1)
    agent = config.make(world.observation, world.action)
    seen, after = jax.random.uniform(jax.random.key(5), (2, 400, 1), minval=-1.0)
    demonstrations = Transitions(seen, seen, after, jnp.zeros(400, bool))
    algorithm = in_graph(world, agent, envs=8, time=4)

    def train(key):
        steps = jax.random.split(key, 60)
        state, _ = jax.lax.scan(lambda s, k: algorithm.step(s, demonstrations, k), algorithm.init(key), steps)
        reward = config.reward(world.observation, world.action)
        off = demonstrations._replace(action=demonstrations.action + 1.0)
        gain = reward(state.agent, demonstrations).mean() - reward(state.agent, off).mean()
        return returns(world, agent, state.agent, key, 20).mean(), gain

    earned, gain = compiled(jax.vmap(train))(jax.random.split(jax.random.key(0), 2))
    assert (earned / world.horizon > -0.1).all()
    assert (gain > 0).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "IqLearn.alpha: expected at least 1e-06, got 0.0"),
        ({"value_share": 1.5}, r"IqLearn.value_share: expected at most 1.0, got 1.5"),
        ({"penalty_share": -0.5}, r"IqLearn.penalty_share: expected at least 0.0, got -0.5"),
        ({"gradient_penalty": -1.0}, "IqLearn.gradient_penalty: expected at least 0.0, got -1.0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InputError, match=message):
        IqLearn(**settings)
