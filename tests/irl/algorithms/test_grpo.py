"""GRPO on a policy small enough for brute force: advantages, REINFORCE, the exact KL, the fading likelihood."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from irl.algorithms.grpo import Grpo, GrpoBatch, group_centred, in_parts
from irl.algorithms.optimiser import AdamW
from irl.policies.language_model import LanguageModel
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch

VOCAB, WIDTH, ROWS, PER_PROMPT, MLE_STEPS = 6, 5, 8, 4, 4
POLICY = DecoderConfig(vocab_size=VOCAB, num_layers=1, dim=8, num_heads=1, num_kv_heads=1, head_dim=8, hidden_dim=8)
BEGIN, ASK, END = 0, 1, 2
KEY = jax.random.key(0)


@dataclass(frozen=True, kw_only=True)
class Descent(AdamW):
    """Plain gradient descent of rate 1: the update is the gradient."""

    def make(self):
        return optax.sgd(1.0)


CONFIG = Grpo(optimiser=Descent(), samples_per_prompt=PER_PROMPT, kl=0.5, mle=0.25, mle_steps=MLE_STEPS)


def rows(*answers):
    """Prompt tokens 0 and 1, then the answer."""
    tokens, step_id = np.zeros((len(answers), WIDTH), int), np.full((len(answers), WIDTH), -1)
    for i, answer in enumerate(answers):
        tokens[i, : 2 + len(answer)] = [BEGIN, ASK, *answer]
        step_id[i, 2 : 2 + len(answer)] = 0
    segment = (np.arange(WIDTH) < 2 + (step_id >= 0).sum(axis=1, keepdims=True)).astype(int)
    return TraceBatch(
        tokens,
        segment,
        np.arange(WIDTH) * segment,
        step_id,
        (step_id >= 0).any(1)[:, None],
        np.zeros(len(answers), int),
    )


TRACES = rows([3, END], [4, END], [5, 3, END], [3, 3, END], [END], [4, 5, END], [5, END], [3, 4, 5])
REWARD = np.array([1.0, -2.0, 0.5, 0.5, 3.0, 3.0, -1.0, 0.0], np.float32)
DEMONSTRATIONS = rows([5, 5, END], [4, END])
BATCH = GrpoBatch(TRACES, REWARD, DEMONSTRATIONS)


def parameters(seed):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(POLICY.make().init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.array(0.5 * rng.standard_normal(leaf.shape), jnp.float32), shapes)


MODEL = LanguageModel(network=POLICY)
START, OTHER = parameters(0), parameters(1)
ALGORITHM = CONFIG.make(MODEL, START)


@jax.jit
def step(state, batch, key):
    return ALGORITHM.step(state, batch, key)


@jax.jit
def logits_of(params, traces):
    decoder = POLICY.make().bind(params)
    return decoder.logits(decoder.hidden(traces))


def log_prob_table(params, traces=TRACES):
    """Float64[rows, time, vocab] of the next token, by a program for nine rows."""
    count = len(traces.tokens)
    nine = jax.tree.map(lambda leaf: np.resize(leaf, (9, *leaf.shape[1:])), traces)
    logits = np.asarray(logits_of(params, nine), np.float64)[:count]
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def taken(params, traces):
    """log pi of every response token, 0 elsewhere."""
    table, out = log_prob_table(params, traces), np.zeros(traces.tokens.shape)
    for i, t in zip(*np.nonzero(traces.step_id >= 0), strict=True):
        out[i, t] = table[i, t - 1, traces.tokens[i, t]]
    return out


def state_at(number, params=START):
    return ALGORITHM.init(KEY)._replace(params=params, step=jnp.array(number, jnp.int32))


def ascent(state, batch=BATCH):
    """(minus the gradient of the loss, info): what one step adds to the parameters."""
    new, info = step(state, batch, KEY)
    return jax.tree.map(lambda a, b: np.asarray(a, np.float64) - np.asarray(b), new.params, state.params), info


def assert_gradient(found, value, params):
    """`found` is the gradient of `value`, by central differences: along itself and along two random directions."""
    rng = np.random.default_rng(0)
    random = [jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape), params) for _ in range(2)]
    leaves = jax.tree.leaves
    assert np.sqrt(sum((leaf**2).sum() for leaf in leaves(found))) > 0.1, "there is a gradient to compare with"
    for direction in (found, *random):
        norm = np.sqrt(sum((leaf**2).sum() for leaf in leaves(direction)))
        unit = jax.tree.map(lambda leaf, norm=norm: leaf / norm, direction)
        moved = [jax.tree.map(lambda p, u, e=e: jnp.float32(p + e * u), params, unit) for e in (0.01, -0.01)]
        slope = (value(moved[0]) - value(moved[1])) / 0.02
        expected = sum((a * b).sum() for a, b in zip(leaves(found), leaves(unit), strict=True))
        assert slope == pytest.approx(expected, abs=2e-3)


def test_group_centred_by_hand():
    values = jnp.array([1.0, 3.0, 2.0, 2.0, 5.0, -1.0])
    found = group_centred(values, 3, epsilon=1e-4)
    np.testing.assert_allclose(found, [-1, 1, 0, 0, 1, -1], atol=2e-4)
    np.testing.assert_allclose(group_centred(jnp.array([1.0, 3.0]), 1, epsilon=1.0), [-0.5, 0.5], atol=1e-6)
    whole = group_centred(values, 1)  # mean 2, variance (1 + 1 + 0 + 0 + 9 + 9) / 6
    np.testing.assert_allclose(whole, (np.array(values) - 2) / np.sqrt(20 / 6), atol=1e-3)
    np.testing.assert_allclose(group_centred(10 * values + 7, 3), found, atol=2e-3)


def test_equal_rewards_in_every_group_move_nothing():
    moved, info = ascent(state_at(MLE_STEPS), BATCH._replace(reward=np.repeat(np.float32([2.0, -7.0]), PER_PROMPT)))
    assert info["reward"] == pytest.approx(-2.5)
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(moved)) < 1e-6


def test_gain_is_reinforce_with_centred_rewards():
    """At the reference, where the KL is flat, and when the likelihood term is gone."""
    moved, info = ascent(state_at(MLE_STEPS))
    advantage = np.concatenate([(r - r.mean()) / (r.std() + 1e-4) for r in REWARD.astype(float).reshape(2, -1)])
    count = (TRACES.step_id >= 0).sum()

    def gain(params):
        return (taken(params, TRACES).sum(axis=1) * advantage).sum() / count

    assert_gradient(moved, gain, START)
    assert info["loss"] == pytest.approx(-gain(START), abs=1e-5)
    norm = np.sqrt(sum((leaf**2).sum() for leaf in jax.tree.leaves(moved)))
    assert info["grad_norm"] == pytest.approx(norm, rel=1e-4)


def test_exact_kl_is_0_at_the_reference_and_brute_force_elsewhere():
    equal = BATCH._replace(reward=np.ones(ROWS, np.float32))
    reference = log_prob_table(START)

    def kl(params):
        """Summed over the states in which a response token was written."""
        table = log_prob_table(params)
        states = [(i, t - 1) for i, t in zip(*np.nonzero(TRACES.step_id >= 0), strict=True)]
        return sum((np.exp(table[s]) * (table[s] - reference[s])).sum() for s in states)

    assert ascent(state_at(MLE_STEPS), equal)[1]["kl"] == pytest.approx(0, abs=1e-6)
    moved, info = ascent(state_at(MLE_STEPS, OTHER), equal)
    assert kl(OTHER) > 1
    assert info["kl"] == pytest.approx(kl(OTHER) / ROWS, rel=1e-4), "nats per trace"
    count = (TRACES.step_id >= 0).sum()
    assert info["loss"] == pytest.approx(CONFIG.kl * kl(OTHER) / count, rel=1e-4)
    assert_gradient(moved, lambda params: -CONFIG.kl * kl(params) / count, OTHER)


def test_likelihood_of_demonstrations_fades_to_nothing():
    equal = BATCH._replace(reward=np.ones(ROWS, np.float32))
    found = [ascent(state_at(number), equal) for number in range(MLE_STEPS + 2)]
    nll = -taken(START, DEMONSTRATIONS).sum() / (DEMONSTRATIONS.step_id >= 0).sum()
    for number, (moved, info) in enumerate(found):
        weight = CONFIG.mle * max(1 - number / MLE_STEPS, 0)
        assert info["nll"] == pytest.approx(nll, abs=1e-5)
        assert info["loss"] == pytest.approx(weight * nll, abs=1e-5)
        share = weight / CONFIG.mle
        for leaf, first in zip(jax.tree.leaves(moved), jax.tree.leaves(found[0][0]), strict=True):
            np.testing.assert_allclose(leaf, share * first, atol=1e-6)
    count = (DEMONSTRATIONS.step_id >= 0).sum()
    assert_gradient(found[0][0], lambda p: CONFIG.mle * taken(p, DEMONSTRATIONS).sum() / count, START)


def test_the_rewarded_answer_of_two_tokens_becomes_likely_while_the_reference_stays():
    """With the optimiser of real runs, no likelihood term at all (mle_steps = 0), compiled once."""
    optimiser = AdamW(learning_rate=0.05, warmup_steps=0, total_steps=40, weight_decay=0.0)
    algorithm = Grpo(optimiser=optimiser, samples_per_prompt=PER_PROMPT, mle_steps=0).make(MODEL, START)
    answers = [[a, b, END] for a in range(3, 6) for b in range(3, 6)]
    goal, every = answers.index([4, 5, END]), rows(*answers)
    rng, state, chances, compiled = np.random.default_rng(0), algorithm.init(KEY), [], []

    @jax.jit
    def improve(state, batch, key):
        compiled.append(1)
        return algorithm.step(state, batch, key)

    for _ in range(40):
        # Exact draws among the nine answers; an answer earns 1 for each right token.
        log_prob = taken(state.params, every)[:, 2:4].sum(axis=1)
        chance = np.exp(log_prob) / np.exp(log_prob).sum()
        chances.append(chance[goal])
        drawn = rng.choice(9, size=ROWS, p=chance)
        reward = np.float32([(answers[i][0] == 4) + (answers[i][1] == 5) for i in drawn])
        batch = GrpoBatch(jax.tree.map(lambda leaf, drawn=drawn: leaf[drawn], every), reward, DEMONSTRATIONS)
        state, info = improve(state, batch, KEY)
        assert np.isfinite(info["loss"])
    assert len(compiled) == 1
    assert chances[0] < 0.3 and chances[-1] > 0.8
    assert info["kl"] > 0.1 and state.step == 40
    assert all(jax.tree.leaves(jax.tree.map(np.array_equal, state.reference, START)))


def test_init_copies_the_start_so_that_donating_the_state_is_safe():
    state = ALGORITHM.init(KEY)
    for mine, theirs, start in zip(*map(jax.tree.leaves, (state.params, state.reference, START)), strict=True):
        pointers = {leaf.unsafe_buffer_pointer() for leaf in (mine, theirs, start)}
        assert len(pointers) == 3 and np.array_equal(mine, start) and np.array_equal(theirs, start)


def test_parts_of_a_batch_give_the_update_of_the_whole():
    parted = replace(CONFIG, rows_at_once=3).make(MODEL, START)
    state = state_at(1, OTHER)
    new, info = jax.jit(parted.step)(state, BATCH, KEY)
    whole, expected = step(state, BATCH, KEY)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(np.asarray(a), np.asarray(b), atol=1e-5), new.params, whole.params
    )
    for name, value in expected.items():
        assert info[name] == pytest.approx(float(value), abs=1e-5), name
    sizes = {size: in_parts(jnp.arange(12), size).shape for size in (12, 5, 7, 1)}
    assert sizes == {12: (1, 12), 5: (3, 4), 7: (2, 6), 1: (12, 1)}
    assert sorted(in_parts(jnp.arange(12), 5).ravel().tolist()) == list(range(12))
