"""Packed labelled traces: the loss and gradients of one trace a row; fresh data every epoch; resumed bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.algorithms.process import Process, cross_entropy
from irl.domains.modchain import ModChain
from irl.text.encode import Encoder
from irl.text.packed_steps import LabelledRows, PackedSteps
from irl.text.packing import EncodedTrace
from irl.text.tokenize import number_tokenizer
from irl.types import InputError
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig

ENCODER = Encoder(number_tokenizer(), 128, 16)
NETWORK = CriticConfig(
    decoder=DecoderConfig(vocab_size=ENCODER.vocab_size, num_layers=2, dim=16, num_heads=2, num_kv_heads=1, head_dim=8)
).make()


def labelled(count, seed):
    environment, rng = ModChain(), np.random.default_rng(seed)
    problems = environment.problems("train")[:count]
    traces = [environment.expert(problem, rng) for problem in problems]
    rows = ENCODER.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])
    labels = [rng.choice([0.0, 1.0, np.nan], size=max(row.step_id) + 1).tolist() for row in rows]
    return LabelledRows(rows, labels)


def loss(params, batch):
    log_prob = NETWORK.apply(params, batch.traces).step
    known = batch.traces.step_mask & ~jnp.isnan(batch.step_label)
    return jnp.where(known, cross_entropy(log_prob, jnp.where(known, batch.step_label, 0)), 0).sum()


def test_loss_and_gradient_are_those_of_one_trace_a_row():
    data = labelled(9, 0)
    packed = PackedSteps(lambda epoch: data, rows=4, length=256, seed=0).next()
    params = NETWORK.init(jax.random.key(0))
    grad = jax.jit(jax.value_and_grad(loss))
    parts = []
    for trace, labels in zip(*data, strict=True):
        alone = LabelledRows([trace], [labels])
        parts.append(grad(params, PackedSteps(lambda epoch, a=alone: a, rows=1, length=128, seed=0).next()))
    total = jax.tree.map(lambda *leaves: sum(leaves), *parts)
    # Sums in another order: up to 1.5e-5 apart in float32, depending on the processor; gradients are of size .01 to 1.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=5e-5), grad(params, packed), total)


def test_epochs_are_drawn_anew_and_resume_bit_for_bit():
    source = PackedSteps(lambda epoch: labelled(12, epoch), rows=2, length=128, seed=1)
    per_epoch = source.batches_per_epoch()
    assert per_epoch > 1
    algorithm = Process().make(NETWORK)
    step = jax.jit(algorithm.step)

    def run(source, state, count):
        seen = []
        for _ in range(count):
            batch = source.next()
            state, _ = step(state, batch, jax.random.key(0))
            seen.append(batch.step_label)
        return state, seen

    state, first = run(source, algorithm.init(jax.random.key(1)), per_epoch)
    saved = source.get_state()
    end, second = run(source, state, per_epoch)
    assert any(not np.array_equal(a, b, equal_nan=True) for a, b in zip(first, second, strict=True))
    resumed = PackedSteps(lambda epoch: labelled(12, epoch), rows=2, length=128, seed=1)
    resumed.set_state(saved)
    again, _ = run(resumed, state, per_epoch)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), end.params, again.params))
    assert step._cache_size() == 1


def test_bad_data_is_named():
    def next_of(traces, labels):
        return PackedSteps(lambda epoch: LabelledRows(traces, labels), rows=2, length=50, seed=0).next()

    with pytest.raises(InputError, match=r"one or more traces, got 0 traces and 0 rows"):
        next_of([], [])
    with pytest.raises(InputError, match=r"trace 0: 60 tokens do not fit into 50"):
        next_of([EncodedTrace([1] * 60, [0] * 60)], [[1.0]])
    with pytest.raises(InputError, match=r"trace 0: expected 2 labels, one per step, got 1"):
        next_of([EncodedTrace([1, 1], [0, 1])], [[1.0]])
    source = PackedSteps(lambda epoch: LabelledRows([], []), rows=2, length=50, seed=0, name="b.jsonl")
    with pytest.raises(InputError, match=r"was saved for .*'a.jsonl'"):
        source.set_state({"epoch": 0, "index": 0, "data": {"name": "a.jsonl"}})
