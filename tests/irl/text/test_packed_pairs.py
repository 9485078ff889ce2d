"""Packed pairs: the loss and gradients of unpacked pairs, resumed bit for bit."""

import jax
import numpy as np
import pytest

from irl.algorithms.bradley_terry import BradleyTerry, pair_rewards
from irl.algorithms.optimiser import AdamW
from irl.domains.countdown.countdown import Countdown
from irl.text.encode import Encoder
from irl.text.packed_pairs import PackedPairs
from irl.text.packing import EncodedTrace
from irl.text.pipeline import epoch_order
from irl.text.tokenize import number_tokenizer
from irl.types import InputError
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import PairBatch

ENCODER = Encoder(number_tokenizer(), 128, 1)
NETWORK = CriticConfig(
    decoder=DecoderConfig(vocab_size=ENCODER.vocab_size, num_layers=2, dim=16, num_heads=2, num_kv_heads=1, head_dim=8)
).make()


def sequences(count, seed):
    environment, rng = Countdown(), np.random.default_rng(seed)
    traces = [environment.free_play(rng, size=int(size)) for size in rng.choice([3, 4], size=count)]
    return ENCODER.many([t.prompt for t in traces], [[t.text] for t in traces])


def with_prompts_of(others, sequences):
    """The same responses to other prompts."""
    prompts = [row.step_id.count(-1) for row in others], [row.step_id.count(-1) for row in sequences]
    return [
        EncodedTrace(a.tokens[:m] + b.tokens[n:], a.step_id[:m] + b.step_id[n:])
        for a, b, m, n in zip(others, sequences, *prompts, strict=True)
    ]


@pytest.mark.parametrize("share, same", [(False, False), (True, False), (True, True)])
def test_loss_and_gradient_are_those_of_unpacked_pairs(share, same):
    """One batch that holds all ten pairs, in both layouts, with the whole or the beginning of the prompts in common."""
    chosen, rejected = sequences(10, 0), sequences(10, 1)
    rejected = with_prompts_of(chosen, rejected) if same else rejected
    margin = np.linspace(0, 1, 10)
    settings = {"rows": 8, "length": 256, "seed": 0, "share_prompts": share}
    source = PackedPairs(chosen, rejected, **settings, weight=np.arange(1, 11), margin=margin)
    assert source.batches_per_epoch() == 1
    packed = source.next()
    plain = PairBatch(ENCODER.batch(chosen, [0] * 10), ENCODER.batch(rejected, [0] * 10), np.arange(1.0, 11))
    params = NETWORK.init(jax.random.key(0))
    order = epoch_order(10, 0, 0)

    def weighted_gap(params, batch, weight):
        first, second, _ = pair_rewards(NETWORK, params, batch)
        return (weight * jax.nn.log_sigmoid(first - second)).sum() / weight.sum()

    grad = jax.jit(jax.value_and_grad(weighted_gap))
    of_packed = grad(params, packed, packed.weight)
    of_plain = grad(params, plain, plain.weight)
    np.testing.assert_allclose(of_packed[0], of_plain[0], rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), of_packed[1], of_plain[1])
    np.testing.assert_array_equal(packed.weight[:10], np.arange(1, 11)[order])
    np.testing.assert_allclose(packed.margin[:10], margin[order])
    assert packed.weight[10:].sum() == 0


def test_a_shared_prompt_stands_once_and_long_pairs_stand_apart():
    prompt, brief, long = [1, 5, 6, 7], [8, 9], [8] * 6
    traces = [EncodedTrace(prompt + tail, [-1] * 4 + [0] * len(tail)) for tail in (brief, long, brief[:1])]
    source = PackedPairs(traces[:2], [traces[2], traces[1]], rows=3, length=11, seed=0, share_prompts=True)
    batch = source.next()
    tokens = [row[row > 0].tolist() for row in batch.traces.tokens]  # 0 is nobody's
    assert sorted(tokens) == sorted([[*prompt, 8, 9, 8], [*prompt, *long], [*prompt, *long]])
    row = tokens.index([*prompt, 8, 9, 8])
    assert batch.traces.position[row, :7].tolist() == [0, 1, 2, 3, 4, 5, 4]
    assert batch.traces.segment[row, :7].tolist() == [1, 1, 1, 1, 2, 2, 3]
    assert batch.traces.after[row].tolist() == [0] * 4 + [1] * 3 + [0] * 4
    assert not batch.traces.after[np.arange(3) != row].any()
    assert batch.traces.step_mask.sum() == 4


def test_packed_pairs_are_learned_and_resume_bit_for_bit():
    chosen, rejected = sequences(12, 2), sequences(12, 3)
    algorithm = BradleyTerry(optimiser=AdamW(learning_rate=1e-2, warmup_steps=1, total_steps=40)).make(NETWORK)
    step = jax.jit(algorithm.step)

    def run(source, state, count):
        for _ in range(count):
            state, info = step(state, source.next(), jax.random.key(0))
        return state, info

    def fresh():
        return PackedPairs(chosen, rejected, rows=4, length=128, seed=1)

    whole = fresh()
    assert whole.batches_per_epoch() > 1
    state, _ = run(whole, algorithm.init(jax.random.key(1)), 25)
    saved = whole.get_state()
    end, info = run(whole, state, 15)
    resumed = fresh()
    resumed.set_state(saved)
    again, _ = run(resumed, state, 15)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), end.params, again.params))
    assert info["accuracy"] == 1.0
    assert step._cache_size() == 1


def test_bad_pairs_are_named():
    good = sequences(2, 0)
    long, two = EncodedTrace([1] * 60, [0] * 60), EncodedTrace([1, 1], [0, 1])
    with pytest.raises(InputError, match=r"pair 1, rejected: 60 tokens do not fit into 50; leave it out"):
        PackedPairs(good, [good[0], long], rows=2, length=50, seed=0)
    with pytest.raises(InputError, match=r"pair 0, chosen: expected a single step, got 2"):
        PackedPairs([two], [good[0]], rows=2, length=100, seed=0)
    with pytest.raises(InputError, match=r"pair 0: its sides do not fit into one row of 60; take 2 rows or more"):
        PackedPairs(good[:1], good[1:], rows=1, length=60, seed=0)
    with pytest.raises(InputError, match=r"as many chosen as rejected, got 2 and 0"):
        PackedPairs(good, [], rows=2, length=100, seed=0)
    source = PackedPairs(good, good, rows=2, length=100, seed=0)
    with pytest.raises(InputError, match=r"was saved for .*'rows': 3"):
        source.set_state({"epoch": 0, "index": 0, "data": {"rows": 3}})
