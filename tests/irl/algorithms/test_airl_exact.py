"""AIRL where everything is known: it agrees with MaxEnt, and its f outlives the discriminator."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irl.algorithms.airl import Airl, AirlBatch, airl_loss, policy_reward, step_logits, trace_logits
from irl.algorithms.maxent import MaxEnt, MaxEntBatch
from irl.domains.tree import sample_leaves
from irl.types import InputError
from reward_models.losses import discriminator_loss
from reward_models.types import Scores
from tests.irl.exact_tree import ExactTree, rank_correlation, step_log_prob
from tests.linear_reward import LinearConfig

TREE = ExactTree(num_prompts=4)
NETWORK = LinearConfig(num_positions=TREE.depth + 1, vocab=TREE.vocab).make()
EVERY = TREE.encode(np.repeat(np.arange(4), TREE.num_leaves), np.tile(np.arange(TREE.num_leaves), 4))
UNIFORM = np.zeros_like(TREE.reward)
apply = jax.jit(NETWORK.apply)


def learned_reward(params):
    return np.asarray(apply(params, EVERY).trace, np.float64).reshape(4, -1)


def rollout(tree, reward, count, rng):
    """Traces of the policy exp(reward)/Z with its log-probabilities."""
    pairs = sample_leaves(reward, count, rng)
    return tree.encode(*pairs), log_prob(tree, reward, pairs)


def log_prob(tree, reward, pairs):
    return jnp.asarray(step_log_prob(reward, tree.branching)[pairs], jnp.float32)


def batch_against(reward, pairs, rng, count=16_000):
    samples = rollout(TREE, reward, count, rng)
    return AirlBatch(TREE.encode(*pairs), log_prob(TREE, reward, pairs), *samples)


def train_airl(pairs, rng, *, warm_up=60, rounds=12):
    """Learn against the uniform policy first, then against the exact optimal policy of its own reward."""
    algorithm = Airl(learning_rate=0.05, l2=5e-4).make(NETWORK)
    step, state, key = jax.jit(algorithm.step), algorithm.init(jax.random.key(0)), jax.random.key(1)
    batch = batch_against(UNIFORM, pairs, rng)
    for _ in range(warm_up):
        state, _ = step(state, batch, key)
    for _ in range(rounds):
        batch = batch_against(learned_reward(state.params), pairs, rng)
        for _ in range(5):
            state, info = step(state, batch, key)
    return state, info


def train_maxent(pairs):
    algorithm = MaxEnt(learning_rate=0.1, l2=1e-3).make(NETWORK)
    step, state, key = jax.jit(algorithm.step), algorithm.init(jax.random.key(0)), jax.random.key(1)
    batch = MaxEntBatch(TREE.encode(*pairs), EVERY, jnp.zeros(TREE.reward.shape))
    for _ in range(80):
        state, _ = step(state, batch, key)
    return state


def test_planted_ranking_is_recovered_as_well_as_by_maxent():
    rng = np.random.default_rng(1)
    pairs = sample_leaves(TREE.reward, 1000, rng)
    state, info = train_airl(pairs, rng)
    airl = rank_correlation(learned_reward(state.params), TREE.reward)
    maxent = rank_correlation(learned_reward(train_maxent(pairs).params), TREE.reward)
    assert airl >= 0.98 and abs(airl - maxent) <= 0.02
    # The game is over: the logit says nothing any more, while f ranks.
    assert abs(info["expert_logit"] - info["policy_logit"]) < 0.1


def best_logits(expert, policy, offset, steps=400):
    """Minimise the exact discriminator loss over a free table f with logits f - offset."""
    weights = {"expert_weights": jnp.asarray(expert), "policy_weights": jnp.asarray(policy)}
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, steps))

    @jax.jit
    def fit(table):
        def update(carry, _):
            table, state = carry
            grads = jax.grad(lambda f: discriminator_loss(f - offset, f - offset, **weights))(table)
            updates, state = optimizer.update(grads, state)
            return (optax.apply_updates(table, updates), state), None

        return jax.lax.scan(update, (table, optimizer.init(table)), length=steps)[0][0]

    return np.asarray(fit(jax.random.normal(jax.random.key(0), offset.shape)), np.float64)


def test_discriminator_vanishes_at_the_expert_and_f_does_not():
    tree = ExactTree(depth=3, branching=3, num_prompts=1)
    log_expert, expert = tree.log_posterior, np.exp(tree.log_posterior)
    gail = best_logits(expert, expert, jnp.zeros(expert.shape))
    f = best_logits(expert, expert, jnp.asarray(log_expert, jnp.float32))
    np.testing.assert_allclose(gail, 0, atol=1e-2)
    np.testing.assert_allclose(f, log_expert, atol=1e-2)
    assert rank_correlation(f, tree.reward) > 0.999 and f.std() > 0.5


def test_f_does_not_depend_on_the_policy_but_the_logit_does():
    tree = ExactTree(depth=3, branching=3, num_prompts=1)
    log_expert, expert = tree.log_posterior, np.exp(tree.log_posterior)
    other = 0.5 * tree.reward - np.logaddexp.reduce(0.5 * tree.reward, axis=1, keepdims=True)
    f = best_logits(expert, np.exp(other), jnp.asarray(other, jnp.float32))
    np.testing.assert_allclose(f, log_expert, atol=1e-2)
    assert np.abs(f - other).max() > 0.5


def test_step_level_optimum_counts_early_choices_again():
    """Difference 2 of the module: against a policy far from the expert the step-level f ranks worse."""
    expert, policy = (step_log_prob(reward, TREE.branching) for reward in (TREE.reward, UNIFORM))
    visits = np.cumsum(expert - policy, axis=-1)  # log rho_E(s')/rho_pi(s') after each step
    f = (visits + policy).sum(axis=-1)
    assert rank_correlation(f, TREE.reward) < 0.95
    np.testing.assert_allclose(policy.sum(axis=-1) + visits[..., -1], TREE.log_posterior, atol=1e-9)


SCORES = Scores(trace=jnp.array([3.0, 5.0]), step=jnp.array([[1.0, 2.0], [5.0, 0.0]]), token=jnp.zeros((2, 3)))
LOG_PROB = jnp.array([[-1.0, -0.5], [-2.0, 0.0]])
MASK = jnp.array([[True, True], [True, False]])


def test_logits_by_hand():
    np.testing.assert_allclose(policy_reward(SCORES, LOG_PROB), [[2, 2.5], [7, 0]])
    np.testing.assert_allclose(step_logits(SCORES, LOG_PROB, MASK)[0], [[2, 2.5], [7, 0]])
    logits, mask = trace_logits(SCORES, LOG_PROB, MASK)
    np.testing.assert_allclose(logits, [4.5, 7])
    assert mask.all()


@pytest.mark.parametrize("level, expert, policy", [("trace", [4.5, 7], [4.5, 7]), ("step", [2, 2.5, 7], [2, 2.5, 7])])
def test_loss_by_hand(level, expert, policy):
    traces = TREE.encode(np.zeros(2, int), np.zeros(2, int))._replace(step_mask=MASK)
    batch = AirlBatch(traces, LOG_PROB, traces, LOG_PROB)
    loss, info = airl_loss(Airl(level=level), lambda params, traces: SCORES, {}, batch)
    expected = np.mean(np.log1p(np.exp(-np.array(expert)))) + np.mean(np.log1p(np.exp(np.array(policy))))
    assert np.isclose(loss, expected, atol=1e-5)
    assert info["expert_accuracy"] == 1 and info["policy_accuracy"] == 0


def test_clip_stops_the_right_side_only():
    traces = TREE.encode(np.zeros(2, int), np.zeros(2, int))._replace(step_mask=MASK)
    batch = AirlBatch(traces, LOG_PROB, traces, LOG_PROB)

    def loss(shift, config):
        scores = SCORES._replace(trace=SCORES.trace + shift["expert"])
        return airl_loss(config, lambda params, traces: scores, {}, batch)[0]

    # Expert logits 4.5 and 7 lie beyond a clip of 1 and push no more; policy logits there still do.
    gradient = jax.grad(loss)({"expert": jnp.array(0.0)}, Airl(logit_clip=1.0))["expert"]
    assert np.isclose(gradient, np.mean(1 / (1 + np.exp(-np.array([4.5, 7])))), atol=1e-5)


def test_unknown_level_is_named():
    with pytest.raises(InputError, match="expected 'trace' or 'step', got 'token'"):
        Airl(level="token")
