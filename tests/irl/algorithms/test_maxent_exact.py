"""MaxEnt IRL where everything is known: gradients, partition functions, the planted ranking, shaping."""

from collections import Counter
from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from irl.algorithms.maxent import MaxEnt, MaxEntBatch, effective_sample_size, log_mean_exp, maxent_loss
from irl.domains.tree import sample_leaves
from reward_models.aggregation import aggregate_steps, sum_by_step
from tests.irl.exact_tree import ExactTree, rank_correlation
from tests.linear_reward import LinearConfig, linear_scores

SMALL = ExactTree(depth=3, branching=3, num_prompts=3)
NETWORK = LinearConfig(num_positions=4, vocab=SMALL.vocab, init_scale=0.5).make()
PARAMS = NETWORK.init(jax.random.key(1))
loss_and_gradient = jax.jit(jax.value_and_grad(partial(maxent_loss, NETWORK.apply), has_aux=True))
score = jax.jit(linear_scores)


def everything(tree):
    """Every trace of every prompt, prompt by prompt."""
    return tree.encode(
        np.repeat(np.arange(tree.num_prompts), tree.num_leaves),
        np.tile(np.arange(tree.num_leaves), tree.num_prompts),
    )


def exact_batch(tree, count, seed):
    demonstrations = tree.expert_batch(count, np.random.default_rng(seed))
    log_q = jnp.full((tree.num_prompts, tree.num_leaves), -np.log(tree.num_leaves))
    return MaxEntBatch(demonstrations, everything(tree), log_q)


def feature_counts(tokens):
    """phi of rows (prompt token, response): how often each (name, index, token) occurs."""
    rows = []
    for row in np.asarray(tokens).tolist():
        position = Counter(("position", i, token) for i, token in enumerate(row[1:]))
        rows.append(position + Counter(("bigram", a, b) for a, b in pairwise(row)))
    return rows


def test_gradient_is_the_difference_of_feature_expectations():
    batch = exact_batch(SMALL, 30, 0)
    uneven = SMALL.encode(np.arange(30) % 7 % 3, np.arange(30) % 27)
    batch = batch._replace(demonstrations=uneven)
    _, gradient = loss_and_gradient(PARAMS, batch)
    reward = np.asarray(score(PARAMS, batch.negatives).trace, np.float64).reshape(3, -1)
    posterior = np.exp(reward - np.logaddexp.reduce(reward, axis=1, keepdims=True))
    share = np.bincount(np.asarray(batch.demonstrations.prompt_id)) / 30
    expected = {name: np.zeros(leaf.shape) for name, leaf in PARAMS.items()}
    weighted = [
        (batch.demonstrations.tokens, np.full(30, -1 / 30)),
        (batch.negatives.tokens, (share[:, None] * posterior).ravel()),
    ]
    for tokens, weights in weighted:
        for counts, weight in zip(feature_counts(tokens), weights, strict=True):
            for (name, i, j), n in counts.items():
                expected[name][i, j] += weight * n
    for name in expected:
        np.testing.assert_allclose(gradient[name], expected[name], atol=1e-6)


def test_loss_is_the_exact_negative_log_likelihood():
    batch = exact_batch(SMALL, 30, 1)
    (loss, info), _ = loss_and_gradient(PARAMS, batch)
    reward = np.asarray(score(PARAMS, batch.negatives).trace, np.float64).reshape(3, -1)
    log_z = np.log(np.exp(reward).sum(axis=1))
    expert = np.asarray(score(PARAMS, batch.demonstrations).trace, np.float64)
    assert np.isclose(loss, np.mean(log_z[np.asarray(batch.demonstrations.prompt_id)] - expert), atol=1e-5)
    assert np.isclose(info["log_partition"], log_z.mean(), atol=1e-5)
    (unnormalised, _), _ = loss_and_gradient(PARAMS, batch._replace(log_q=jnp.zeros((3, 27))))
    assert np.isclose(loss - unnormalised, np.log(27), atol=1e-5)


def test_sampled_negatives_estimate_the_partition_function():
    rng, count = np.random.default_rng(0), 6000
    skewed = 0.5 * SMALL.reward
    prompts, leaves = sample_leaves(skewed, 3 * count, rng)
    order = np.argsort(prompts, kind="stable")
    log_q = skewed - np.logaddexp.reduce(skewed, axis=1, keepdims=True)
    batch = exact_batch(SMALL, 30, 1)
    sampled = batch._replace(
        negatives=SMALL.encode(prompts[order], leaves[order]),
        log_q=jnp.asarray(log_q[prompts, leaves][order].reshape(3, count), jnp.float32),
    )
    exact, estimate = (loss_and_gradient(PARAMS, b)[0][1]["log_partition"] for b in (batch, sampled))
    assert np.isclose(exact, estimate, atol=0.05)


def test_effective_sample_size_and_left_out_rows():
    log_weights = jnp.log(jnp.array([[1.0, 1.0, 1.0, 0.0], [3.0, 1.0, 0.0, 0.0]]))
    np.testing.assert_allclose(effective_sample_size(log_weights), [3, 1.6], rtol=1e-5)
    np.testing.assert_allclose(log_mean_exp(log_weights), [0, np.log(2)], atol=1e-6)
    batch = exact_batch(SMALL, 30, 0)
    half = batch._replace(log_q=batch.log_q.at[:, 13:].set(jnp.inf))
    _, gradient = loss_and_gradient(PARAMS, half)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradient))


def test_prompts_without_negatives_are_left_out_and_counted():
    batch = exact_batch(SMALL, 30, 0)
    stray = batch.negatives.prompt_id.at[54:].set(77)
    (loss, info), _ = loss_and_gradient(PARAMS, batch._replace(negatives=batch.negatives._replace(prompt_id=stray)))
    known = np.asarray(batch.demonstrations.prompt_id) < 2
    log_z = np.logaddexp.reduce(np.asarray(score(PARAMS, batch.negatives).trace).reshape(3, -1), axis=1)
    expert = np.asarray(score(PARAMS, batch.demonstrations).trace)[known]
    assert np.isclose(loss, log_z[:2].mean() - expert.mean(), atol=1e-5)
    assert np.isclose(info["matched"], 2 / 3)


def train(algorithm, batch, steps):
    step, state, key = jax.jit(algorithm.step), algorithm.init(jax.random.key(0)), jax.random.key(1)
    for _ in range(steps):
        state, info = step(state, batch, key)
    return state, info


def test_planted_ranking_is_recovered_from_a_thousand_demonstrations():
    tree = ExactTree(num_prompts=4, seed=1)
    batch = exact_batch(tree, 1000, 2)
    network = LinearConfig(num_positions=tree.depth + 1, vocab=tree.vocab).make()
    state, info = train(MaxEnt(learning_rate=0.1, l2=1e-3).make(network), batch, 80)
    learned = np.asarray(score(state.params, batch.negatives).trace).reshape(4, -1)
    assert rank_correlation(learned.astype(float), tree.reward) >= 0.98
    assert 1 < info["effective_sample_size"] < tree.num_leaves and info["matched"] == 1


def test_potential_shaping_leaves_rankings_alone():
    tree, rng = ExactTree(depth=4, branching=3, num_prompts=2), np.random.default_rng(0)
    network = LinearConfig(num_positions=5, vocab=tree.vocab, init_scale=1.0).make()
    traces = tree.enumerate(1)
    scores = score(network.init(jax.random.key(0)), traces)
    # Phi of the prefixes of length 0 .. 3 along every leaf; after the end token it is 0.
    along = [np.repeat(rng.normal(size=3**t), 3 ** (4 - t)) for t in range(4)] + [np.zeros(81)]
    potential = np.stack(along, axis=1).astype(np.float32)
    shaped = scores.step + potential[:, 1:] - potential[:, :-1]
    total = aggregate_steps(shaped, traces.step_mask, "sum")
    np.testing.assert_allclose(total - total.mean(), scores.trace - scores.trace.mean(), atol=1e-5)
    np.testing.assert_array_equal(np.argsort(total), np.argsort(scores.trace))
    assert np.abs(shaped - scores.step).max() > 1


def test_prefixes_are_scored_without_their_future():
    tree = ExactTree(depth=4, branching=3, num_prompts=2)
    network = LinearConfig(num_positions=5, vocab=tree.vocab, init_scale=1.0).make()
    traces = tree.enumerate(0)
    scores = score(network.init(jax.random.key(0)), traces)
    step = np.asarray(sum_by_step(scores.token, traces.step_id, 4))
    for length in range(1, 4):  # the last step holds the end token, which follows every symbol
        groups = step[:, :length].reshape(3**length, -1, length)
        np.testing.assert_array_equal(groups, np.broadcast_to(groups[:, :1], groups.shape))
