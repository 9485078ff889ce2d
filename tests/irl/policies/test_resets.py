"""Expert-prefix resets: where traces are cut, and what a policy writes behind the cut."""

import jax
import numpy as np
import pytest

from irl.domains.countdown.countdown import Countdown, demonstrations
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.policies.resets import choose_cuts, finish_steps
from irl.text.encode import Encoder
from irl.text.packing import EncodedTrace
from irl.text.tokenize import number_tokenizer
from reward_models.networks.decoder import DecoderConfig

ENCODER = Encoder(number_tokenizer(), 90, 8)
STOPS = ENCODER.stops
VOCAB = ENCODER.vocab_size
CONFIG = DecoderConfig(
    vocab_size=VOCAB,
    num_layers=1,
    dim=VOCAB,
    num_heads=1,
    num_kv_heads=1,
    head_dim=2,
    hidden_dim=2,
    tie_embeddings=False,
)
MAX_NEW, BATCH = 24, 16


def bigram_policy(logits):
    """A decoder that knows only the last token: its next-token logits are a row of the table [vocab, vocab].

    Blocks of zeros pass the one-hot embedding on, which the final norm multiplies by sqrt(vocab).
    """
    params = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, np.float32),
        jax.eval_shape(CONFIG.make().init, jax.random.key(0)),
    )
    params["embedding"] = np.eye(VOCAB, dtype=np.float32)
    params["final_norm"]["scale"] += 1
    params["head"]["kernel"] += (logits / np.sqrt(VOCAB)).astype(np.float32)
    return FittedPolicy(LanguageModel(network=CONFIG), params)


def expert_rows(count):
    environment = Countdown()
    traces = list(demonstrations(environment, environment.problems("train"), count, seed=3))
    return ENCODER.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])


ROWS = expert_rows(20)  # more than a batch of 16


def rough_policy():
    """Bigrams of the experts: it writes what looks like steps, and mostly is not."""
    counts = np.full((VOCAB, VOCAB), 0.01)
    for row in ROWS:
        np.add.at(counts, (row.tokens[:-1], row.tokens[1:]), 1)
    return bigram_policy(np.log(counts))


def finish(policy, cuts, seed=0, rows=ROWS, **options):
    key = jax.random.key(seed)
    return finish_steps(policy, ENCODER, rows, cuts, key, rows_per_batch=BATCH, max_new=MAX_NEW, **options)


@pytest.mark.parametrize("least", [0.0, 0.5, 0.9, 1.0])
def test_cuts_fall_inside_a_step_after_the_least_share_of_it(least):
    rng = np.random.default_rng(0)
    steps_seen, shares = set(), []
    for _ in range(30):
        cuts = choose_cuts(ROWS, rng, least=least)
        assert cuts.shape == (len(ROWS),)
        for row, cut in zip(ROWS, cuts, strict=True):
            step = row.step_id[cut]
            assert step >= 0, "the prompt is never cut"
            length, before = row.step_id.count(step), cut - row.step_id.index(step)
            assert 0 <= before < length, "at least one token of the step is left to the policy"
            assert before >= min(least * length, length - 1)
            steps_seen.add(step)
            shares.append(before / length)
    assert steps_seen == {0, 1, 2, 3}
    assert max(shares) > 0.9 and min(shares) < least + 0.2


def test_a_step_of_one_token_is_cut_before_it():
    row = EncodedTrace([1, 14, 10, 2], [-1, 0, 0, 1])
    cuts = {int(choose_cuts([row], np.random.default_rng(seed))[0]) for seed in range(30)}
    assert cuts == {2, 3}


@pytest.fixture(scope="module")
def finished():
    cuts = choose_cuts(ROWS, np.random.default_rng(1))
    return cuts, finish(rough_policy(), cuts)


def test_the_expert_prefix_is_kept_and_the_policy_ends_the_step(finished):
    cuts, results = finished
    assert len(results) == len(ROWS)
    changed = cut_off = 0
    for row, cut, new in zip(ROWS, cuts, results, strict=True):
        assert new.tokens[:cut] == row.tokens[:cut] and new.step_id[:cut] == row.step_id[:cut]
        assert len(new.tokens) == len(new.step_id)
        written = new.tokens[cut:]
        assert 1 <= len(written) <= MAX_NEW
        assert new.step_id[cut:] == [row.step_id[cut]] * len(written), "all of it belongs to the step begun"
        assert not set(written[:-1]) & set(STOPS)
        assert written[-1] in STOPS or len(written) == MAX_NEW
        cut_off += written[-1] not in STOPS
        changed += written != row.tokens[cut : cut + len(written)]
    assert changed > len(ROWS) / 2, "a rough policy mostly writes something else"
    assert cut_off < len(ROWS) / 2


def test_rows_past_the_first_batch_have_their_own_randomness_and_keys_decide(finished):
    cuts, results = finished
    assert finish(rough_policy(), cuts) == results
    assert finish(rough_policy(), cuts, seed=1) != results
    same_row, same_cut = [ROWS[0]] * (BATCH + 4), np.repeat(cuts[:1], BATCH + 4)
    repeated = finish(rough_policy(), same_cut, rows=same_row)
    assert repeated[:4] != repeated[BATCH:], "row i of the second batch does not repeat row i of the first"


def test_a_policy_that_agrees_gives_the_expert_back():
    """The certain successor of every token is the expert's: the row returns, cut behind its step."""
    row = ENCODER.many(["3 8"], [["7 + 5 = 6 (left: 1)", "Answer: 4"]])[0]
    assert len(set(row.tokens)) == len(row.tokens), "each token must have one successor"
    table = np.zeros((VOCAB, VOCAB))
    table[row.tokens[:-1], row.tokens[1:]] = 200  # nats: Gumbel noise stays below 30
    first = row.step_id.index(0)
    for step, end in ((0, row.step_id.index(1)), (1, len(row.tokens))):
        cut = row.step_id.index(step) + 1
        assert cut > first
        result = finish(bigram_policy(table), np.array([cut]), rows=[row])
        assert result == [EncodedTrace(row.tokens[:end], row.step_id[:end])]


def test_temperature_zero_in_the_limit_is_the_likeliest_continuation():
    cuts = choose_cuts(ROWS, np.random.default_rng(2))
    policy = rough_policy()
    for row, cut, new in zip(ROWS, cuts, finish(policy, cuts, temperature=1e-4), strict=True):
        token, greedy = row.tokens[cut - 1], []
        while len(greedy) < MAX_NEW and (not greedy or token not in STOPS):
            token = int(policy.params["head"]["kernel"][token].argmax())
            greedy.append(token)
        assert new.tokens[cut:] == greedy
