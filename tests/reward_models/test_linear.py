"""The linear reward against explicit features, and the contract of every network."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.linear import LinearConfig, response_index
from reward_models.types import TraceBatch

NETWORK = LinearConfig(num_positions=4, vocab=10, init_scale=1.0).make()
NETWORK = NETWORK._replace(apply=jax.jit(NETWORK.apply))
PARAMS = NETWORK.init(jax.random.key(0))
TIME = 12


def rows(*sequences, prompt=2, left=0):
    """A batch of token lists: `prompt` tokens, then response tokens two to a step, padded to TIME."""
    steps = 4

    def padded(values, fill):
        return [fill] * left + list(values) + [fill] * (TIME - left - len(values))

    def step_ids(tokens):
        return [-1] * prompt + [i // 2 for i in range(len(tokens) - prompt)]

    return TraceBatch(
        tokens=jnp.array([padded(tokens, 0) for tokens in sequences]),
        segment=jnp.array([padded([1] * len(tokens), 0) for tokens in sequences]),
        position=jnp.array([padded(range(len(tokens)), 0) for tokens in sequences]),
        step_id=jnp.array([padded(step_ids(tokens), -1) for tokens in sequences]),
        step_mask=jnp.array([[s <= max(step_ids(tokens)) for s in range(steps)] for tokens in sequences]),
        prompt_id=jnp.arange(len(sequences)),
    )


FIRST, SECOND = [3, 1, 4, 1, 5, 9, 2, 6], [2, 7, 1, 8, 2]
BATCH = rows(FIRST, SECOND)


def features(tokens, prompt=2):
    """Indicator features counted with dictionaries: the definition."""
    response = list(enumerate(tokens))[prompt:]
    position = Counter((min(t - prompt, 3), token) for t, token in response)
    bigram = Counter((tokens[t - 1], token) for t, token in response)
    return {"position": position, "bigram": bigram}


@pytest.mark.parametrize("row, tokens", [(0, FIRST), (1, SECOND)])
def test_trace_score_is_theta_phi(row, tokens):
    phi = features(tokens)
    expected = sum(float(PARAMS[name][key]) * n for name, counts in phi.items() for key, n in counts.items())
    assert np.isclose(NETWORK.apply(PARAMS, BATCH).trace[row], expected, atol=1e-5)
    gradient = jax.grad(lambda params: NETWORK.apply(params, BATCH).trace[row])(PARAMS)
    for name, counts in phi.items():
        dense = np.zeros(PARAMS[name].shape)
        for key, n in counts.items():
            dense[key] = n
        np.testing.assert_array_equal(gradient[name], dense)


def test_scores_add_up():
    scores = NETWORK.apply(PARAMS, BATCH)
    np.testing.assert_allclose(
        scores.trace, aggregate_steps(scores.step, BATCH.step_mask, NETWORK.spec.aggregate), atol=1e-6
    )
    np.testing.assert_allclose(scores.step, sum_by_step(scores.token, BATCH.step_id, 4), atol=1e-6)
    assert (np.asarray(scores.token)[~np.asarray(BATCH.response)] == 0).all()
    assert (np.asarray(scores.step)[~np.asarray(BATCH.step_mask)] == 0).all()


def test_padding_order_and_batch_size_do_not_matter():
    trace = NETWORK.apply(PARAMS, BATCH).trace
    for left in (1, 4):
        np.testing.assert_allclose(NETWORK.apply(PARAMS, rows(FIRST, SECOND, left=left)).trace, trace, atol=1e-6)
    np.testing.assert_allclose(NETWORK.apply(PARAMS, rows(SECOND, FIRST)).trace, trace[::-1], atol=1e-6)
    np.testing.assert_allclose(NETWORK.apply(PARAMS, rows(SECOND, left=2)).trace, trace[1:], atol=1e-6)


@pytest.mark.parametrize("prefix", range(2, len(FIRST)))
def test_prefixes_are_scored_without_their_future(prefix):
    whole = NETWORK.apply(PARAMS, rows(FIRST)).token[0]
    other = NETWORK.apply(PARAMS, rows(FIRST[:prefix] + [(t + 3) % 10 for t in FIRST[prefix:]])).token[0]
    short = NETWORK.apply(PARAMS, rows(FIRST[:prefix])).token[0]
    np.testing.assert_array_equal(whole[:prefix], other[:prefix])
    np.testing.assert_array_equal(whole[:prefix], short[:prefix])


def test_packed_segments_do_not_see_each_other():
    one, two = rows(FIRST), rows(SECOND)
    packed = TraceBatch(
        tokens=jnp.hstack([one.tokens, two.tokens]),
        segment=jnp.hstack([one.segment, 2 * two.segment]),
        position=jnp.hstack([one.position, two.position]),
        step_id=jnp.hstack([one.step_id, jnp.where(two.step_id < 0, -1, two.step_id + 3)]),
        step_mask=jnp.ones((1, 5), bool),
        prompt_id=jnp.zeros(1, int),
    )
    expected = jnp.hstack([NETWORK.apply(PARAMS, batch).token for batch in (one, two)])
    np.testing.assert_allclose(NETWORK.apply(PARAMS, packed).token, expected, atol=1e-6)
    assert response_index(packed)[0, TIME + 2 : TIME + 5].tolist() == [0, 1, 2]


def test_ids_beyond_the_table_are_hashed_and_rewards_start_out_uniform():
    shifted = BATCH._replace(tokens=BATCH.tokens + 10)
    np.testing.assert_array_equal(NETWORK.apply(PARAMS, shifted).trace, NETWORK.apply(PARAMS, BATCH).trace)
    start = LinearConfig(num_positions=4, vocab=10).make()
    assert (start.apply(start.init(jax.random.key(0)), BATCH).trace == 0).all()


def test_a_row_without_prompt_or_response_is_finite():
    empty = rows(FIRST, prompt=len(FIRST))
    assert NETWORK.apply(PARAMS, empty._replace(step_mask=jnp.zeros((1, 4), bool))).trace[0] == 0
    bare = NETWORK.apply(PARAMS, rows(FIRST, prompt=0))
    assert np.isclose(bare.token[0, 0], PARAMS["position"][0, FIRST[0]])
