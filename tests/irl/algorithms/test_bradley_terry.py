"""Learning from preferences: the loss by hand, pairs learned by heart, one compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.domains.countdown.countdown import Countdown
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from reward_models.networks.base import Network
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import PairBatch, Scores, TraceBatch

ENCODER = Encoder(number_tokenizer(), 64, 6)
DECODER = DecoderConfig(
    vocab_size=ENCODER.vocab_size, num_layers=2, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=32
)


def plain_optimiser(learning_rate=1e-2, steps=100):
    return AdamW(learning_rate=learning_rate, warmup_steps=3, total_steps=steps, weight_decay=0.0)


# --- the loss, with a reward that is a table over the first token -------------------------------------------


def table_network(rewards):
    def apply(params, traces):
        trace = params["reward"][traces.tokens[:, 0]]
        return Scores(trace, jnp.zeros(traces.step_mask.shape), jnp.zeros(traces.tokens.shape))

    return Network(lambda key: {"reward": jnp.array(rewards)}, apply)


def table_traces(first_tokens):
    n = len(first_tokens)
    return TraceBatch(
        tokens=jnp.array(first_tokens)[:, None],
        segment=jnp.ones((n, 1), int),
        position=jnp.zeros((n, 1), int),
        step_id=jnp.zeros((n, 1), int),
        step_mask=jnp.ones((n, 1), bool),
        prompt_id=jnp.arange(n),
    )


def table_pairs(chosen, rejected, weight):
    return PairBatch(table_traces(chosen), table_traces(rejected), jnp.array(weight))


def softplus(x):
    return np.log1p(np.exp(x))


@pytest.mark.parametrize(
    "smoothing, centering, weight, expected",
    [
        (0.0, 0.0, [1.0, 1.0], (softplus(-3) + softplus(1.5)) / 2),
        (0.0, 0.0, [1.0, 3.0], (softplus(-3) + 3 * softplus(1.5)) / 4),
        (0.0, 0.0, [1.0, 0.0], softplus(-3)),
        (0.1, 0.0, [1.0, 0.0], 0.9 * softplus(-3) + 0.1 * softplus(3)),
        (0.0, 0.2, [1.0, 1.0], (softplus(-3) + softplus(1.5)) / 2 + 0.2 * ((2 - 1) ** 2 + (-1 + 0.5) ** 2) / 2),
        (0.0, 0.0, [0.0, 0.0], 0.0),
    ],
)
def test_loss_and_its_company_by_hand(smoothing, centering, weight, expected):
    """Rewards 2 > -1 in the right order (gap 3), -1 < 0.5 in the wrong one (gap -1.5)."""
    algorithm = BradleyTerry(optimiser=plain_optimiser(), label_smoothing=smoothing, centering=centering).make(
        table_network([2.0, -1.0, 0.5])
    )
    state = algorithm.init(jax.random.key(0))
    _, info = algorithm.step(state, table_pairs([0, 1], [1, 2], weight), jax.random.key(1))
    np.testing.assert_allclose(info["loss"], expected, atol=1e-6)
    total = max(sum(weight), 1)
    np.testing.assert_allclose(info["accuracy"], weight[0] / total, atol=1e-6)
    np.testing.assert_allclose(info["margin"], (3 * weight[0] - 1.5 * weight[1]) / total, atol=1e-6)


def test_gradient_by_hand():
    """d/dr of -log sigmoid(r_c - r_r) is -sigmoid(-gap) for the chosen and + for the rejected."""
    algorithm = BradleyTerry(optimiser=plain_optimiser()).make(table_network([2.0, -1.0, 0.5]))
    state = algorithm.init(jax.random.key(0))
    _, info = algorithm.step(state, table_pairs([0], [1], [1.0]), jax.random.key(1))
    np.testing.assert_allclose(info["grad_norm"], np.sqrt(2) / (1 + np.exp(3)), rtol=1e-5)


def test_rewards_of_a_cycle_free_tournament_are_recovered():
    """Preferences drawn from known rewards, as shares: the fit finds the rewards up to a constant."""
    truth = np.array([1.0, 0.0, -0.5])
    pairs = [(a, b) for a in range(3) for b in range(3) if a != b]
    share = [1 / (1 + np.exp(truth[b] - truth[a])) for a, b in pairs]
    batch = table_pairs([a for a, _ in pairs], [b for _, b in pairs], np.array(share, np.float32))
    algorithm = BradleyTerry(optimiser=plain_optimiser(5e-2, 300)).make(table_network([0.0, 0.0, 0.0]))
    step, state = jax.jit(algorithm.step), algorithm.init(jax.random.key(0))
    for _ in range(300):
        state, _ = step(state, batch, jax.random.key(1))
    fitted = np.asarray(state.params["reward"])
    np.testing.assert_allclose(fitted - fitted.mean(), truth - truth.mean(), atol=5e-3)  # Adam's last steps: 2.5e-3


# --- with a critic ----------------------------------------------------------------------------------------


def pairs_of(count, seed):
    """An expert trace is chosen over the same trace with another last number."""
    environment, rng = Countdown(), np.random.default_rng(seed)
    traces = [environment.free_play(rng, size=3) for _ in range(count)]
    steps = [[step.text for step in trace.steps] for trace in traces]
    worse = [[*good[:-2], good[-2] + " 1", good[-1][:-1] + "7"] for good in steps]
    prompts = [trace.prompt for trace in traces]
    chosen, rejected = (ENCODER.batch(ENCODER.many(prompts, texts), range(count)) for texts in (steps, worse))
    return PairBatch(chosen, rejected, np.ones(count, np.float32))


@pytest.fixture(scope="module")
def learner():
    """(jitted step, first state, what the step was traced with) of a tiny critic."""
    rng, traced = np.random.default_rng(0), []
    network = CriticConfig(decoder=DECODER).make()

    def init(key):
        """Drawn by numpy, which takes no seconds to compile."""
        return jax.tree.map(
            lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32),
            jax.eval_shape(network.init, key),
        )

    algorithm = BradleyTerry(optimiser=plain_optimiser()).make(network._replace(init=init))

    def step(state, batch, key):
        traced.append(batch.chosen.tokens.shape)
        return algorithm.step(state, batch, key)

    return jax.jit(step), algorithm.init(jax.random.key(0)), traced


def test_a_tiny_critic_learns_eight_pairs_by_heart_and_compiles_once(learner):
    step, state, traced = learner
    traced.clear()
    batch, losses = pairs_of(8, seed=1), []
    assert (batch.chosen.tokens != batch.rejected.tokens).any(axis=1).all()
    for number in range(100):
        rows = np.random.default_rng(number).permutation(8)
        state, info = step(state, jax.tree.map(lambda x: x[rows], batch), jax.random.key(1))  # noqa: B023
        losses.append(float(info["loss"]))
    assert losses[0] > 0.3 and losses[-1] < 0.02
    assert info["accuracy"] == 1 and info["margin"] > 3
    assert traced == [batch.chosen.tokens.shape]
