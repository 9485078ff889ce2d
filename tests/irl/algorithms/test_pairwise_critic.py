"""Expert against policy in pairs: hand numbers, directions, planted mistakes, and the exact tree world."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairwise_critic import CriticBatch, PairwiseCritic
from irl.domains.modchain import ModChain
from irl.domains.tree import sample_leaves
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.text.windows import encode_windows
from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.base import Network
from reward_models.types import Scores, TraceBatch
from tests.irl.exact_tree import ExactTree, rank_correlation
from tests.linear_reward import LinearConfig

KEY = jax.random.key(0)


def scores_of_tokens(token, traces):
    step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
    return Scores(aggregate_steps(step, traces.step_mask, "sum"), step, token)


# A network that can be read: every response token scores what stands in a table for it.
TABLE = Network(
    lambda key: jnp.zeros(10),
    lambda table, traces: scores_of_tokens(jnp.where(traces.response, table[traces.tokens], 0.0), traces),
)
# Token 1: 0.5 nats, token 2: 2, token 3: -1, token 4: 4, and so on.
VALUES = jnp.array([0.0, 0.5, 2.0, -1.0, 4.0, -2.0, 3.0, 0.0, 0.0, 0.0])


def rows(*rows, width=5, steps=3):
    """Rows of steps; each step is a list of tokens. Token 9 is the prompt of all."""
    tokens, step_id = np.zeros((len(rows), width), int), np.full((len(rows), width), -1)
    mask = np.zeros((len(rows), steps), bool)
    for i, row in enumerate(rows):
        flat = [token for step in row for token in step]
        tokens[i, : len(flat) + 1] = [9, *flat]
        step_id[i, 1 : len(flat) + 1] = [s for s, step in enumerate(row) for _ in step]
        mask[i, : len(row)] = True
    time = np.arange(width) <= (step_id >= 0).sum(axis=1, keepdims=True)
    traces = TraceBatch(tokens, time.astype(int), np.arange(width) * time, step_id, mask, np.zeros(len(rows), int))
    return jax.tree.map(jnp.asarray, traces)


def batch(expert, negative, expert_weight, negative_weight, **sizes):
    weights = (jnp.array(w, jnp.float32) for w in (expert_weight, negative_weight))
    expert_weight, negative_weight = weights
    return CriticBatch(rows(*expert, **sizes), expert_weight, rows(*negative, **sizes), negative_weight)


# Judged: steps worth 2 and 3.5 = 0.5 - 1 + 4 nats (experts) and -1 and 4 (policy). The third pair has no weight.
PAIRS = batch(
    [[[1], [2]], [[1, 3, 4]], [[7]]],
    [[[1], [3]], [[4]], [[7]]],
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
    [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
)
EXPERT, NEGATIVE, TOKENS = np.array([2.0, 3.5]), np.array([-1.0, 4.0]), 4


def loss_of(config, batch=PAIRS, values=VALUES):
    loss, info = config.loss(TABLE, values, batch)
    return float(loss), {name: float(value) for name, value in info.items()}


def gradient_of(config, batch):
    return jax.jit(jax.grad(lambda values: config.loss(TABLE, values, batch)[0]))(VALUES)


def soft_plus(x):
    return np.log1p(np.exp(x))


def test_pair_by_hand():
    three = jnp.zeros(10).at[2].set(np.log(3.0))
    only = [[1, 0, 0], [0, 0, 0], [0, 0, 0]]
    single = batch([[[2]], [[7]], [[7]]], [[[1]], [[7]], [[7]]], only, only)
    assert loss_of(PairwiseCritic(mle=0.0), single, three)[0] == pytest.approx(np.log(4 / 3), abs=1e-6)
    loss, info = loss_of(PairwiseCritic(mle=0.0))
    assert loss == info["pair_loss"] == pytest.approx((soft_plus(-3) + soft_plus(0.5)) / 2, abs=1e-6)
    assert info["pair_accuracy"] == 0.5 and info["margin"] == pytest.approx((3 - 0.5) / 2)


def test_likelihood_is_per_judged_token_and_centre_per_pair():
    pair = loss_of(PairwiseCritic(mle=0.0))[0]
    loss, info = loss_of(PairwiseCritic(mle=0.3))
    assert info["nll"] == pytest.approx(-EXPERT.sum() / TOKENS)
    assert loss == pytest.approx(pair + 0.3 * info["nll"], abs=1e-6)
    centred = loss_of(PairwiseCritic(mle=0.0, centre=0.1))[0]
    assert centred == pytest.approx(pair + 0.1 * np.mean(((EXPERT + NEGATIVE) / 2) ** 2), abs=1e-6)


def test_label_smoothing_and_temperature():
    smooth = loss_of(PairwiseCritic(mle=0.0, label_smoothing=0.1))[0]
    gap = EXPERT - NEGATIVE
    assert smooth == pytest.approx(np.mean(0.9 * soft_plus(-gap) + 0.1 * soft_plus(gap)), abs=1e-6)
    warm, info = loss_of(PairwiseCritic(mle=0.0, temperature=4.0, centre=0.0))
    assert warm == pytest.approx(np.mean(soft_plus(-gap / 4)), abs=1e-6)
    assert info["margin"] == pytest.approx(gap.mean()), "margins are told in nats, whatever the temperature"
    # Only the pairwise term is tempered.
    everything = loss_of(PairwiseCritic(mle=1.0, centre=1.0, temperature=4.0))[0]
    expected = warm - EXPERT.sum() / TOKENS + np.mean((EXPERT + NEGATIVE) ** 2) / 4
    assert everything == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("config", [PairwiseCritic(), PairwiseCritic(mle=0.5, centre=0.2, label_smoothing=0.1)])
def test_a_pair_without_weight_changes_nothing(config):
    rest = [[[6], [6, 5, 2]]], [[[5], [2]]]
    other = batch([[[1], [2]], [[1, 3, 4]], *rest[0]], [[[1], [3]], [[4]], *rest[1]], np.ones((3, 3)), np.ones((3, 3)))
    padded = other._replace(expert_weight=PAIRS.expert_weight, negative_weight=PAIRS.negative_weight)
    (loss, info), (expected, known) = loss_of(config, padded), loss_of(config)
    assert loss == pytest.approx(expected, abs=1e-6) and info == pytest.approx(known, abs=1e-6)
    gradient = gradient_of(config, padded)
    assert not gradient[5:7].any() and gradient[2] != 0
    nothing = loss_of(config, jax.tree.map(lambda a: a * 0 if a.dtype == jnp.float32 else a, padded))
    assert nothing[0] == 0


def test_an_expert_without_an_opponent_counts_for_likelihood_alone():
    alone = PAIRS._replace(negative_weight=jnp.array([[0.0, 1, 0], [0, 0, 0], [0, 0, 0]]))
    loss, info = loss_of(PairwiseCritic(mle=1.0), alone)
    assert info["pair_loss"] == pytest.approx(soft_plus(-3), abs=1e-6)
    assert loss == pytest.approx(soft_plus(-3) - EXPERT.sum() / TOKENS, abs=1e-6)


def test_gradient_pushes_the_expert_up_and_the_negative_down_and_leaves_the_rest():
    config = PairwiseCritic(mle=0.0)
    descent = -gradient_of(config, PAIRS)
    first, second = (1 / (1 + np.exp(gap)) / 2 for gap in (3.0, -0.5))  # half of sigmoid(-gap)
    # Token 3 is in the negative of the first pair and in the expert of the second, token 4 on both sides there.
    np.testing.assert_allclose(descent[:5], [0, second, first, second - first, 0], atol=1e-6)
    assert not descent[5:].any()
    likely = -gradient_of(PairwiseCritic(mle=1.0), PAIRS)
    np.testing.assert_allclose((likely - descent)[:5], np.array([0, 1, 1, 1, 1]) / TOKENS, atol=1e-6)


WIDE = batch([[[6]], [[2]], [[1, 2]]], [[[2]], [[5]], [[3]]], [[1]] * 3, [[1]] * 3, width=3, steps=1)


def test_groups_of_different_widths_are_averaged_and_compiled_once():
    config, traced = PairwiseCritic(mle=0.5), []
    algorithm = config.make(TABLE)

    @jax.jit
    def step(state, batch, key):
        traced.append(1)
        return algorithm.step(state, batch, key)

    turned = CriticBatch(PAIRS.negative, PAIRS.negative_weight, PAIRS.expert, PAIRS.expert_weight)
    state = algorithm.init(KEY)._replace(params=VALUES)
    for pairs in (PAIRS, turned, PAIRS):
        (first, one), (second, two) = loss_of(config, pairs, state.params), loss_of(config, WIDE, state.params)
        assert first != pytest.approx(second, abs=0.1)
        before, (state, info) = state.params, step(state, (pairs, WIDE), KEY)
        assert float(info["loss"]) == pytest.approx((first + second) / 2, abs=1e-6)
        for name in one:
            assert float(info[f"{name}/0"]) == pytest.approx(one[name], abs=1e-6)
            assert float(info[f"{name}/1"]) == pytest.approx(two[name], abs=1e-6)
        assert info["grad_norm"] > 0
    assert len(traced) == 1
    assert np.abs(state.params - before).max() > 0


# Planted mistakes


WIDTH = 26
ENCODER = Encoder(number_tokenizer(), WIDTH, 1)
SEEN, DIM, HIDDEN = 4, 12, 48


def fivegram():
    """Bengio et al. 2003, small: the advantage of a token after an MLP over the four tokens before it."""
    shapes = {
        "embedding": (ENCODER.vocab_size, DIM),
        "inner": (SEEN * DIM, HIDDEN),
        "out": (HIDDEN, ENCODER.vocab_size),
    }

    def init(key):
        rng = np.random.default_rng(0)  # numpy compiles nothing
        scale = {name: 1 if name == "embedding" else shape[0] ** -0.5 for name, shape in shapes.items()}
        return {name: jnp.array(rng.normal(0, scale[name], s), jnp.float32) for name, s in shapes.items()}

    def apply(params, traces):
        before = jnp.pad(traces.tokens, ((0, 0), (SEEN, 0)))[:, :-1]
        width = traces.tokens.shape[1]
        seen = [params["embedding"][before[:, i : i + width]] for i in range(SEEN)]
        hidden = jax.nn.relu(jnp.concatenate(seen, axis=-1) @ params["inner"])
        log_prob = jax.nn.log_softmax(hidden @ params["out"])
        taken = jnp.take_along_axis(log_prob, traces.tokens[..., None], axis=-1)[..., 0]
        return scores_of_tokens(jnp.where(traces.response, taken, 0.0), traces)

    return Network(init, apply)


def planted(split, count, rng):
    """The experts' calculations modulo 3 in their windows, each against one with another result."""
    environment = ModChain(num_ops=3, modulus=3, train_size=count, test_size=count)
    experts = [(problem.prompt, environment.expert(problem, rng)) for problem in environment.problems(split)]
    windows = [
        window
        for prompt, trace in experts
        for (window, *_) in environment.windows.read(prompt, [step.text for step in trace.steps])
        if not window.closes
    ]
    wrong = []
    for window in windows:
        head, value = window.step.rsplit(" ", 1)
        wrong.append(window._replace(step=f"{head} {(int(value) + rng.integers(1, 3)) % 3}"))
    sides = [ENCODER.batch(encode_windows(ENCODER, w), [0] * len(w), WIDTH) for w in (windows, wrong)]
    one = np.ones((len(windows), 1), np.float32)
    return CriticBatch(sides[0], one, sides[1], one)


def test_planted_mistakes_are_told_from_experts_on_problems_not_seen():
    rng, network, steps = np.random.default_rng(0), fivegram(), 50
    train, test = planted("train", 100, rng), planted("test", 40, rng)
    algorithm = PairwiseCritic(optimiser=AdamW(learning_rate=0.05, warmup_steps=5, total_steps=steps)).make(network)
    step, apply, state = jax.jit(algorithm.step), jax.jit(network.apply), algorithm.init(KEY)

    def accuracy(params):
        return float((apply(params, test.expert).trace > apply(params, test.negative).trace).mean())

    assert accuracy(state.params) < 0.7
    for _ in range(steps):
        chosen = rng.choice(len(train.expert.tokens), 64, replace=False)
        state, info = step(state, (jax.tree.map(lambda a, chosen=chosen: a[chosen], train),), KEY)
    assert accuracy(state.params) > 0.95
    assert info["margin/0"] > 2 and info["pair_accuracy/0"] > 0.95
    assert info["nll/0"] < 1, "the experts' tokens became likely"


# The exact world


def test_planted_ranking_is_recovered_from_a_thousand_demonstrations_against_a_uniform_policy():
    """Of a pair from pi_E = exp(R)/Z and the uniform policy, the first is the expert's with sigmoid(R - R')."""
    tree, rng, count, steps = ExactTree(num_prompts=4), np.random.default_rng(0), 1000, 60
    network = LinearConfig(num_positions=tree.depth + 1, vocab=tree.vocab).make()
    optimiser = AdamW(learning_rate=0.08, warmup_steps=0, total_steps=steps, weight_decay=0.0)
    algorithm = PairwiseCritic(optimiser=optimiser, mle=0.0).make(network)
    step, state = jax.jit(algorithm.step), algorithm.init(KEY)
    prompts, leaves = sample_leaves(tree.reward, count, rng)
    every = np.ones((count, tree.depth), np.float32)
    expert = tree.encode(prompts, leaves)
    for _ in range(steps):
        uniform = tree.encode(prompts, rng.integers(tree.num_leaves, size=count))
        state, _ = step(state, (CriticBatch(expert, every, uniform, every),), KEY)
    traces = tree.encode(np.repeat(np.arange(4), tree.num_leaves), np.tile(np.arange(tree.num_leaves), 4))
    learned = np.asarray(jax.jit(network.apply)(state.params, traces).trace, np.float64).reshape(4, -1)
    spearman = rank_correlation(learned, tree.reward)
    assert spearman >= 0.97, spearman  # 0.982 when this was written; 0.978 to 0.989 with other trees, draws and rates
    # Not only the order: rewards come out in nats, a little too large as logistic regression has it on few data.
    centred = [table - table.mean(axis=1, keepdims=True) for table in (tree.reward, learned)]
    slope = (centred[0] * centred[1]).sum() / (centred[0] ** 2).sum()
    assert 0.8 < slope < 1.25, slope
