"""Scores of texts: what reaches the network, once, and how it comes back, against scoring by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import irl.rewards.rows
from irl.domains.countdown.countdown import Countdown
from irl.domains.modchain import ModChain
from irl.rewards.scoring import TextScorer
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.text.windows import WHOLE_TRACE, encode_windows
from reward_models.aggregation import AGGREGATES, aggregate_steps, sum_by_step
from reward_models.networks.base import Network
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import Scores, ScoreSpec

COUNTDOWN, MODCHAIN = Countdown(), ModChain()
ENCODER = Encoder(number_tokenizer(), 96, 8)
DECODER = DecoderConfig(
    vocab_size=ENCODER.vocab_size,
    num_layers=1,
    dim=16,
    num_heads=2,
    num_kv_heads=1,
    head_dim=8,
    hidden_dim=16,
)
PROMPT = "4 5 6 10"
TEXT = "10 - 4 = 6 (left: 5 6 6)\n6 * 5 = 30 (left: 6 30)\n30 - 6 = 24 (left: 24)\nAnswer: (10 - 4) * 5 - 6 = 24"
SHORT = "5 + 6 = 11 (left: 4 10 11)\nAnswer: 10 + 4"
OTHER = "6 * 5 = 30 (left: 6 30)\n30 - 6 = 24 (left: 24)\nAnswer: 6 * 5 - 6 = 24"  # of the prompt 5 6 6


class Counting:
    """A network that remembers the rows it is given. A token scores by its prefix: -|sin| of a running sum."""

    def __init__(self, how="sum"):
        self.rows = []
        self.network = Network(lambda key: jnp.float32(1.0), self.apply, ScoreSpec("reward", how))

    def apply(self, scale, traces):
        jax.debug.callback(self.record, traces.tokens, traces.segment)
        seen = jnp.cumsum(jnp.where(traces.segment > 0, jnp.cos(1.0 + traces.tokens), 0.0), axis=1)
        token = jnp.where(traces.response, -scale * jnp.abs(jnp.sin(seen)), 0.0)
        step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
        return Scores(aggregate_steps(step, traces.step_mask, self.network.spec.aggregate), step, token)

    def record(self, tokens, segment):
        self.rows += [tuple(t[s > 0].tolist()) for t, s in zip(tokens, segment, strict=True) if (s > 0).any()]

    def seen(self):
        jax.effects_barrier()
        rows, self.rows = self.rows, []
        return rows


def by_hand(row):
    """Step scores of an encoded trace by the formula of `Counting`."""
    running = np.abs(np.sin(np.cumsum(np.cos(1.0 + np.array(row.tokens)))))
    step_id = np.array(row.step_id)
    return [-running[step_id == s].sum() for s in range(step_id.max() + 1)]


def windows_by_hand(windows, prompt, text, score):
    """Step scores: the sum over the windows of each step, every window scored for itself."""
    steps = windows.read(prompt, text.split("\n"))
    return [sum(score(row) for row in encode_windows(ENCODER, step)) for step in steps]


def scorer_of(network, params=None, **options):
    params = jnp.float32(1.0) if params is None else params
    return TextScorer(network, params, ENCODER, COUNTDOWN.split_steps, tokens_per_batch=768, **options)


@pytest.fixture(scope="module")
def counting():
    """(the network, a scorer by windows, a scorer of whole traces)."""
    model = Counting()
    return model, scorer_of(model.network, windows=COUNTDOWN.windows), scorer_of(model.network)


@pytest.fixture(scope="module")
def advantage():
    network, rng = SoftAdvantageConfig(decoder=DECODER).make(), np.random.default_rng(0)
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    params = jax.tree.map(lambda leaf: 0.5 * rng.standard_normal(leaf.shape).astype(np.float32), shapes)
    one = jax.jit(network.apply)
    return network, params, lambda row: one(params, Encoder(ENCODER.tokenizer, 96, 8).batch([row], [0]))


def test_with_states_every_window_is_scored_and_the_aggregate_taken(advantage):
    network, params, one = advantage
    scores = scorer_of(network, params, windows=COUNTDOWN.windows)([PROMPT, "5 6 6"], [TEXT, OTHER])
    for i, (prompt, text) in enumerate([(PROMPT, TEXT), ("5 6 6", OTHER)]):
        expected = windows_by_hand(COUNTDOWN.windows, prompt, text, lambda row: float(one(row).trace[0]))
        np.testing.assert_allclose(scores.steps[i], expected, atol=1e-5, rtol=1e-6)
        assert scores.trace[i] == pytest.approx(sum(expected), abs=1e-4)
        assert scores.step_texts[i] == tuple(text.split("\n"))
    assert scores.steps[0][1] == scores.steps[1][0], "the same window"


def test_without_states_whole_traces_are_scored(advantage):
    network, params, one = advantage
    scores = scorer_of(network, params)([PROMPT, PROMPT], [TEXT, SHORT])
    for i, text in enumerate([TEXT, SHORT]):
        steps = text.split("\n")
        expected = one(ENCODER.many([PROMPT], [steps])[0])
        np.testing.assert_allclose(scores.steps[i], expected.step[0, : len(steps)], atol=1e-5, rtol=1e-6)
        assert scores.trace[i] == pytest.approx(float(expected.trace[0]), abs=1e-4)


@pytest.mark.parametrize("how, windows", [*((how, COUNTDOWN.windows) for how in AGGREGATES), ("min", WHOLE_TRACE)])
def test_the_declared_aggregate_of_the_steps_is_the_trace_score(how, windows):
    prompts, texts = [PROMPT] * 3, ["4 + 5 = 9\n6 + 9 = 15\n15 + 10 = 25", "6 + 4 = 10\nAnswer: 6 + 4", "Answer: 4"]
    scores = scorer_of(Counting(how).network, windows=windows)(prompts, texts)
    aggregate = {"last": lambda s: s[-1], "min": min, "prod": np.prod, "mean": np.mean, "sum": sum}[how]
    for i, text in enumerate(texts):
        steps = text.split("\n")
        if windows is WHOLE_TRACE:
            expected = by_hand(ENCODER.many([PROMPT], [steps])[0])
        else:
            expected = windows_by_hand(windows, PROMPT, text, lambda row: by_hand(row)[0])
        np.testing.assert_allclose(scores.steps[i], expected, atol=1e-4)
        assert scores.trace[i] == pytest.approx(aggregate(expected), rel=1e-4)


def test_equal_windows_and_equal_traces_reach_the_network_once(counting):
    model, windows, whole = counting
    prompts, texts = [PROMPT, "5 6 6", PROMPT, PROMPT, "4 5 6 7"], [TEXT, OTHER, TEXT, SHORT, TEXT]
    model.seen()
    scores = windows(prompts, texts)
    rows = model.seen()
    # TEXT: three steps, the answer and its goal. OTHER: a new answer. SHORT: a step, an answer, a claim. TEXT after
    # another prompt: a new first step and a new answer.
    assert len(rows) == len(set(rows)) == 5 + 1 + 3 + 2
    assert scores.trace[0] == scores.trace[2] and scores.steps[0] == scores.steps[2]
    assert scores.trace[0] != scores.trace[4] and scores.steps[0][1] == scores.steps[4][1]
    whole(prompts, texts)
    rows = model.seen()
    assert len(rows) == len(set(rows)) == 4


@pytest.mark.parametrize("windows", [COUNTDOWN.windows, WHOLE_TRACE])
def test_every_text_pays_once_for_ending_where_it_ends(windows, advantage):
    """log p(end token) in the place of log p(newline), in the last step alone; an unfinished text pays for neither."""
    network, params, one = advantage
    scorer, cut = scorer_of(network, params, windows=windows), "\n".join(TEXT.split("\n")[:2])
    ended, growing, whole = (scorer([PROMPT], [text], [end]) for text, end in ((cut, True), (cut, False), (TEXT, True)))
    assert growing.steps[0] == pytest.approx(whole.steps[0][:2], abs=1e-5)
    assert ended.steps[0][0] == pytest.approx(growing.steps[0][0], abs=1e-5)
    context = PROMPT if windows is WHOLE_TRACE else "5 6 6"
    before = cut.split("\n")[:1] if windows is WHOLE_TRACE else []
    rows = ENCODER.many([context] * 2, [[*before, cut.split("\n")[1]]] * 2, [True, False])
    last = [float(one(row).step[0, len(before)]) for row in rows]
    assert [ended.steps[0][1], growing.steps[0][1]] == pytest.approx(last, abs=1e-5)
    assert abs(last[0] - last[1]) > 0.1, "the two ends differ"
    both = scorer([PROMPT, PROMPT], [cut, cut], [True, False])
    np.testing.assert_allclose(both.trace, [ended.trace[0], growing.trace[0]], atol=1e-5)
    assert scorer([PROMPT], [cut]).trace[0] == ended.trace[0], "a text ends where it stops by default"


@pytest.mark.parametrize("kind", ["windows", "whole"])
def test_a_text_without_steps_scores_minus_infinity_and_reaches_no_network(kind, counting):
    model, windows, whole = counting
    scorer = windows if kind == "windows" else whole
    scores = scorer([PROMPT] * 4, ["", SHORT, " \n\n", "Steps:"])
    assert scores.trace[[0, 2, 3]].tolist() == [-np.inf] * 3 and np.isfinite(scores.trace[1])
    assert [len(steps) for steps in scores.steps] == [0, 2, 0, 0]
    assert scores.step_texts[0] == () and scores.step_texts[1] == tuple(SHORT.split("\n"))
    model.seen()
    alone = scorer([PROMPT, PROMPT], ["", "\n"])
    assert alone.trace.tolist() == [-np.inf] * 2 and alone.steps == [[], []] and model.seen() == []
    nothing = scorer([], [])
    assert nothing.trace.shape == (0,) and nothing.steps == [] and nothing.step_texts == []


@pytest.mark.parametrize("kind", ["windows", "whole"])
def test_order_and_company_do_not_matter(kind, counting):
    _, windows, whole = counting
    scorer = windows if kind == "windows" else whole
    rng, prompts, texts = np.random.default_rng(0), [], []
    for problem in COUNTDOWN.problems("train")[:8]:
        for _ in range(2):
            prompts.append(problem.prompt)
            texts.append(COUNTDOWN.expert(problem, rng).text)
    texts[7] = ""
    together, order = scorer(prompts, texts), rng.permutation(len(texts))
    shuffled = scorer([prompts[i] for i in order], [texts[i] for i in order])
    np.testing.assert_allclose(shuffled.trace, together.trace[order], atol=1e-5)
    for place, i in enumerate(order):
        np.testing.assert_allclose(shuffled.steps[place], together.steps[i], atol=1e-5)
        assert shuffled.step_texts[place] == together.step_texts[i] == COUNTDOWN.split_steps(texts[i])
    assert len(set(np.round(together.trace, 3))) > 10, "scores tell traces apart"
    for i in (0, 7, 12):
        alone = scorer([prompts[i]], [texts[i]])
        np.testing.assert_allclose(alone.trace, together.trace[i : i + 1], atol=1e-5)
    with pytest.raises(ValueError, match="zip"):
        scorer(prompts, texts[:-1])


def test_long_traces_of_many_steps_are_not_cut(counting):
    """The encoder's limits are for training; a score stands for the whole text."""
    _, _, whole = counting
    steps = [f"{i} + 1 = {i + 1} (left: {i + 1})" for i in range(10, 30)]
    (row,) = ENCODER.many(["10 1"], [steps])
    assert len(row.tokens) > ENCODER.max_length and len(steps) > ENCODER.max_steps
    np.testing.assert_allclose(whole(["10 1"], ["\n".join(steps)]).steps[0], by_hand(row), atol=1e-3)


def test_chunks_put_together_are_the_whole(counting, monkeypatch):
    model, _, whole = counting
    steps = COUNTDOWN.windows.read(PROMPT, TEXT.split("\n"))
    rows = encode_windows(ENCODER, [window for windows in steps for window in windows])
    model.seen()
    monkeypatch.setattr(irl.rewards.rows, "CHUNK", 3)
    scores = whole.score_rows(rows)
    assert sorted(model.seen()) == sorted(tuple(row.tokens) for row in rows)
    np.testing.assert_allclose(scores[:, 0], [by_hand(row)[0] for row in rows], atol=1e-4)
    assert whole.score_rows([]).shape[0] == 0


def test_other_environments_have_their_own_windows():
    prompt, text = "7 * 3 + 5 mod 13", "7 * 3 = 8\n8 + 5 = 0\nAnswer: 0"
    network, split = Counting().network, MODCHAIN.split_steps
    scorer = TextScorer(network, jnp.float32(1), ENCODER, split, windows=MODCHAIN.windows, tokens_per_batch=768)
    scores = scorer([prompt], [text])
    expected = windows_by_hand(MODCHAIN.windows, prompt, text, lambda row: by_hand(row)[0])
    np.testing.assert_allclose(scores.steps[0], expected, atol=1e-4)
