"""Maximum likelihood: the loss by hand, eight traces learned by heart, one compilation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.optimiser import AdamW
from irl.algorithms.sft import Sft, next_token_loss
from irl.domains.countdown.countdown import Countdown
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from reward_models.networks.decoder import Decoder, DecoderConfig
from reward_models.types import TraceBatch

ENCODER = Encoder(number_tokenizer(), 64, 6)
CONFIG = DecoderConfig(
    vocab_size=ENCODER.vocab_size, num_layers=2, dim=32, num_heads=2, num_kv_heads=1, head_dim=16, hidden_dim=64
)


def encoded(count, seed):
    environment, rng = Countdown(), np.random.default_rng(seed)
    traces = [environment.free_play(rng, size=3) for _ in range(count)]
    return ENCODER.many([t.prompt for t in traces], [[step.text for step in t.steps] for t in traces])


def batch_of(count, seed):
    return ENCODER.batch(encoded(count, seed), range(count))


@pytest.fixture(scope="module")
def learner():
    """(jitted step, first state, list that grows by one with every tracing of the step)."""
    optimiser = AdamW(learning_rate=1e-2, warmup_steps=3, total_steps=150, weight_decay=0.0)
    algorithm, traced = Sft(optimiser=optimiser).make(CONFIG), []

    def step(state, batch, key):
        traced.append(batch.tokens.shape)
        return algorithm.step(state, batch, key)

    return jax.jit(step), algorithm.init(jax.random.key(0)), traced


# --- the loss ---------------------------------------------------------------------------------------------


def traces_by_hand(step_id):
    tokens = jnp.array([[1, 0, 2, 1, 0], [2, 2, 0, 0, 0]])
    return TraceBatch(
        tokens=tokens,
        segment=jnp.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]]),
        position=jnp.array([[0, 1, 2, 3, 4], [0, 1, 2, 0, 0]]),
        step_id=jnp.array(step_id),
        step_mask=jnp.ones((2, 2), bool),
        prompt_id=jnp.arange(2),
    )


LOGITS = np.zeros((2, 5, 3), np.float32)
LOGITS[0, 1] = np.log([0.1, 0.2, 0.7])  # next token 2, the likeliest
LOGITS[0, 2] = np.log([0.5, 0.3, 0.2])  # next token 1, not the likeliest
LOGITS[0, 3] = np.log([0.8, 0.1, 0.1])  # next token 0, the likeliest
LOGITS[1, 1] = np.log([0.05, 0.9, 0.05])  # next token 0, not the likeliest
LOGITS[0, 4], LOGITS[1, 2:] = 50.0, 9.0  # after the last token: not used


class Table(Decoder):
    """A decoder with the logits of the table."""

    def __init__(self):
        self.config = DecoderConfig(vocab_size=3)

    def hidden(self, traces):
        return jnp.asarray(LOGITS)

    def logits(self, hidden):
        return hidden


def test_loss_and_accuracy_by_hand():
    """The mean counts response tokens over the whole batch, not rows."""
    traces = traces_by_hand([[-1, -1, 0, 0, 1], [-1, -1, 0, -1, -1]])
    loss, accuracy = next_token_loss(Table(), traces)
    np.testing.assert_allclose(loss, -np.log([0.7, 0.3, 0.8, 0.05]).mean(), rtol=1e-6)
    assert accuracy == 0.5


def test_prompts_and_padding_weigh_nothing_and_no_response_costs_0():
    traces = traces_by_hand([[-1, -1, -1, 0, -1], [-1] * 5])
    loss, accuracy = next_token_loss(Table(), traces)
    np.testing.assert_allclose(loss, -np.log(0.3), rtol=1e-6)
    assert accuracy == 0
    nothing = next_token_loss(Table(), traces_by_hand([[-1] * 5] * 2))
    assert [float(value) for value in nothing] == [0, 0]


def test_packed_and_padded_batches_cost_the_same(learner):
    rows, start = encoded(6, seed=1), learner[1].params

    @jax.jit
    def loss(params, batch):
        return next_token_loss(CONFIG.make().bind(params), batch)[0]

    packed = ENCODER.pack(rows, 128)
    assert len(packed.tokens) < 6
    # float32 means over about 200 tokens of size 4, summed in another order
    np.testing.assert_allclose(loss(start, packed), loss(start, ENCODER.batch(rows, range(6))), atol=1e-5)


def test_layers_are_stacked_and_each_draws_its_own_start(learner):
    blocks = learner[1].params["blocks"]
    assert {leaf.shape[0] for leaf in jax.tree.leaves(blocks)} == {CONFIG.num_layers}
    first, second = np.asarray(blocks["query"]["kernel"])
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.14  # 1024 draws: 4.5 standard deviations


# --- training ---------------------------------------------------------------------------------------------


def test_a_tiny_model_learns_eight_traces_by_heart_and_compiles_once(learner):
    step, state, traced = learner
    traced.clear()
    batch, key = batch_of(8, seed=2), jax.random.key(1)
    assert len({tuple(row[step < 0]) for row, step in zip(batch.tokens, batch.step_id, strict=True)}) == 8
    losses = []
    for number in range(150):
        rows = np.random.default_rng(number).permutation(8)
        state, info = step(state, jax.tree.map(lambda x: x[rows], batch), key)  # noqa: B023
        losses.append(float(info["loss"]))
    assert abs(losses[0] - np.log(ENCODER.vocab_size)) < 1, "at first every token is about as likely"
    assert losses[-1] < 0.02 and info["token_accuracy"] == 1
    assert traced == [batch.tokens.shape]
