"""The process reward model: its loss by hand, unknown labels, and steps learned by heart."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.optimiser import AdamW
from irl.algorithms.process import Process, cross_entropy
from irl.domains.countdown.countdown import Countdown
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from reward_models.networks.base import Network
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import LabelledBatch, Scores, TraceBatch

ENCODER = Encoder(number_tokenizer(), 96, 6)


def table(log_prob):
    """A network whose step scores are its parameters."""
    rows, steps = np.shape(log_prob)

    def apply(params, traces):
        return Scores(params["s"].sum(1), params["s"], jnp.zeros(traces.tokens.shape))

    zeros = np.zeros((rows, 1), int)
    traces = TraceBatch(zeros, zeros, zeros, zeros, np.ones((rows, steps), bool), zeros[:, 0])
    return Network(lambda key: {"s": jnp.array(log_prob)}, apply), traces


@pytest.mark.parametrize(
    "per_trace, expected",
    [
        (False, -(np.log(0.9) + np.log(0.6) + 0.25 * np.log(0.2) + 0.75 * np.log(0.8)) / 3),
        (True, -((np.log(0.9) + np.log(0.6)) / 2 + 0.25 * np.log(0.2) + 0.75 * np.log(0.8)) / 2),
    ],
)
def test_loss_by_hand(per_trace, expected):
    """Right .9, wrong .4, and a quarter right .2; one step is unknown. The unknown has no gradient."""
    network, traces = table(np.log([[0.9, 0.4], [0.2, 0.5]]))
    label = np.array([[1.0, 0.0], [0.25, np.nan]], np.float32)
    algorithm = Process(optimiser=AdamW(weight_decay=0.0), per_trace=per_trace).make(network)
    state = algorithm.init(jax.random.key(0))
    before = np.asarray(state.params["s"])
    state, info = jax.jit(algorithm.step)(state, LabelledBatch(traces, np.zeros(2), label), jax.random.key(0))
    assert info["loss"] == pytest.approx(expected, abs=1e-6)
    assert info["accuracy"] == pytest.approx(1.0)
    assert state.params["s"][1, 1] == before[1, 1]


def test_certainty_keeps_a_finite_gradient():
    value, slope = jax.value_and_grad(lambda s: cross_entropy(s, jnp.zeros((1, 1)))[0, 0])(jnp.full((1, 1), -1e-9))
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_wrong_steps_are_found():
    """A wrong result in a step: learned from twelve traces, packed."""
    environment, rng = Countdown(), np.random.default_rng(0)
    traces = [environment.free_play(rng) for _ in range(12)]
    steps = [[step.text for step in trace.steps] for trace in traces]
    label = np.ones((12, 6), np.float32)
    for row in range(0, 12, 2):
        left, _, rest = steps[row][1].partition(" = ")
        steps[row][1] = f"{left} = 199 {rest.partition(' ')[2]}"
        label[row, 1] = 0
    rows = ENCODER.many([trace.prompt for trace in traces], steps)
    batch = LabelledBatch(ENCODER.batch(rows, [0] * 12), np.zeros(12), label)
    decoder = DecoderConfig(vocab_size=ENCODER.vocab_size, num_layers=1, dim=32, num_heads=2, num_kv_heads=1)
    network = CriticConfig(decoder=decoder, information="step labels").make()
    algorithm = Process(optimiser=AdamW(learning_rate=1e-2, warmup_steps=2, total_steps=60)).make(network)
    state, step = algorithm.init(jax.random.key(0)), jax.jit(algorithm.step)
    for _ in range(60):
        state, info = step(state, batch, jax.random.key(0))
    assert info["accuracy"] == 1.0 and step._cache_size() == 1
