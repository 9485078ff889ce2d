"""Step beam search with an oracle: what it keeps, how it orders it, what it says it cost."""

import dataclasses

import jax
import numpy as np
import pytest

from irl.domains.countdown.countdown import Countdown, problem_of
from irl.guidance.base import Task
from irl.guidance.beam import StepBeamSearch
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.text.encode import Encoder
from irl.text.packing import EncodedTrace
from irl.text.tokenize import END, number_tokenizer
from reward_models.networks.decoder import DecoderConfig

ENVIRONMENT = Countdown()
ENCODER = Encoder(number_tokenizer(), 64, 6)
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
PROMPTS = ["3 8", "4 6"]
TASK = Task([problem_of((3, 8)), problem_of((4, 6))], ENCODER)
SETTINGS = StepBeamSearch(width=4, expansions=200, max_steps=3, max_step_tokens=18)


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


def rough_policy():
    """Bigrams of expert traces of the first problem: what it writes looks like steps, and is right now and then."""
    rng = np.random.default_rng(0)
    counts = np.full((VOCAB, VOCAB), 1e-4)
    for _ in range(40):
        trace = ENVIRONMENT.expert(problem_of((3, 8)), rng)
        row = ENCODER.many([trace.prompt], [[step.text for step in trace.steps]])[0]
        np.add.at(counts, (row.tokens[:-1], row.tokens[1:]), 1)
    return bigram_policy(np.log(counts))


class Oracle:
    """Minus the number of steps that are wrong or lead nowhere, and minus 1 for an end without a right answer."""

    def __init__(self):
        self.calls, self.scored = 0, []

    def judge(self, row):
        split = row.step_id.index(0)
        prompt = ENCODER.tokenizer.decode(row.tokens[1:split], skip_special_tokens=False).strip()
        problem = problem_of(tuple(int(n) for n in prompt.split()))
        return ENVIRONMENT.verify(problem, ENCODER.decode(row.tokens[split:]))

    def __call__(self, prompts, rows):
        assert [ENCODER.prompt(prompt) for prompt in prompts] == [row.tokens[: row.step_id.index(0)] for row in rows]
        self.calls += 1
        self.scored += rows
        return np.array([self.score(row) for row in rows])

    def score(self, row) -> float:
        verdict = self.judge(row)
        wrong = sum(not (step.right and step.solvable) for step in verdict.steps)
        return -float(wrong + (row.tokens[-1] == ENCODER.special(END) and not verdict.correct))


class Spy:
    """A policy that remembers its samples."""

    def __init__(self, model):
        self.drawn, self.given, self.model = [], [], model

    def sample(self, params, key, prompts, lengths, *options):
        self.drawn.append(jax.device_get(self.model.sample(params, key, prompts, lengths, *options)))
        self.given.append(int((lengths > 1).sum()))
        return self.drawn[-1]


@pytest.fixture
def search():
    """One search of the two problems: beams, cost, the oracle and the spy on the policy."""

    def run(seed=0, policy=None, settings=SETTINGS, oracle=None):
        model, params = policy or rough_policy()
        spy, oracle = Spy(model), oracle or Oracle()
        policy = FittedPolicy(spy, params)
        beams, cost = settings(policy, oracle, TASK, jax.random.key(seed))
        return beams, cost, oracle, spy

    return run


def test_beams_are_distinct_sorted_few_and_well_formed(search):
    beams, _, oracle, _ = search()
    assert len(beams) == len(PROMPTS)
    for prompt, group in zip(PROMPTS, beams, strict=True):
        assert 1 <= len(group) <= SETTINGS.width
        assert len({tuple(beam.row.tokens) for beam in group}) == len(group)
        scores = [beam.score for beam in group]
        assert scores == sorted(scores, reverse=True)
        for beam in group:
            head = ENCODER.prompt(prompt)
            assert beam.row.tokens[: len(head)] == head
            assert beam.score == oracle([prompt], [beam.row])[0], "a beam carries its own score"
            assert beam.finished == (beam.row.tokens[-1] == ENCODER.special(END))
            assert beam.row.tokens.count(ENCODER.special(END)) == beam.finished
            assert len(beam.row.tokens) < ENCODER.max_length
            stops, step = ENCODER.stops, 0
            for token, step_id in zip(beam.row.tokens[len(head) :], beam.row.step_id[len(head) :], strict=True):
                assert step_id == step
                step += token in stops
            assert beam.row.tokens[-1] in stops and step <= SETTINGS.max_steps


def test_the_oracle_leads_a_rough_policy_to_a_right_answer(search):
    beams, _, oracle, spy = search()
    best = beams[0][0]
    assert best.score == 0 and best.finished and oracle.judge(best.row).correct
    start, right_by_chance = ENCODER.prompt(PROMPTS[0]), 0
    for tokens, length in zip(spy.drawn[0].tokens[0], spy.drawn[0].length[0], strict=True):
        new = tokens[:length].tolist()
        right_by_chance += oracle.score(EncodedTrace(start + new, [-1] * len(start) + [0] * len(new))) == 0
    assert 0 < right_by_chance < SETTINGS.expansions / 10, "most first steps are wrong: the oracle had to choose"


def test_the_best_of_all_scored_traces_are_kept(search):
    beams, _, oracle, _ = search(settings=dataclasses.replace(SETTINGS, max_steps=1))
    for prompt, group in zip(PROMPTS, beams, strict=True):
        head = ENCODER.prompt(prompt)
        mine = [row for row in oracle.scored if row.tokens[: len(head)] == head]
        best = sorted((oracle.score(row) for row in mine), reverse=True)[: SETTINGS.width]
        assert len(mine) > SETTINGS.width and [beam.score for beam in group] == best


def test_cost_counts_every_token_drawn_and_every_trace_scored(search):
    _, cost, oracle, spy = search()
    assert 2 <= len(spy.drawn) == oracle.calls <= SETTINGS.max_steps
    assert spy.given[0] == len(PROMPTS), "at first one beam of each problem is open"
    drawn = 0
    for samples, open_beams in zip(spy.drawn, spy.given, strict=True):
        assert samples.tokens.shape[1] == SETTINGS.expansions
        drawn += samples.length[:open_beams].sum()
    assert cost.sampled_tokens == drawn
    assert cost.scored_traces == len(oracle.scored)
    assert len({tuple(row.tokens) for row in oracle.scored}) == len(oracle.scored), "equal ones are scored once"


def test_a_certain_policy_gives_its_greedy_trace_whatever_the_score(search):
    """Each token has one successor 200 nats ahead of the others; Gumbel noise stays below 30."""
    steps = ["7 + 5 = 6 (left: 1)", "Answer: 4"]
    row = ENCODER.many([PROMPTS[0]], [steps])[0]
    assert len(set(row.tokens)) == len(row.tokens)
    table = np.zeros((VOCAB, VOCAB))
    table[row.tokens[:-1], row.tokens[1:]] = 200

    def score(prompts, rows):
        return np.zeros(len(rows))

    beams, cost, _, _ = search(policy=bigram_policy(table), oracle=score)
    for prompt, group in zip(PROMPTS, beams, strict=True):
        greedy = ENCODER.many([prompt], [steps])[0]
        assert [(beam.row, beam.finished) for beam in group] == [(greedy, True)]
    response = sum(step_id >= 0 for step_id in row.step_id)
    assert cost == (len(PROMPTS) * SETTINGS.expansions * response, len(PROMPTS) * len(steps))


def test_steps_that_never_end_are_dropped(search):
    """A policy that writes 1 for ever has no step to offer; the search ends with empty hands."""
    table = np.zeros((VOCAB, VOCAB))
    table[:, ENCODER.tokenizer.token_to_id("1")] = 200
    beams, cost, oracle, spy = search(policy=bigram_policy(table))
    assert beams == [[], []] and oracle.scored == [] and len(spy.drawn) == 1
    assert cost == (len(PROMPTS) * SETTINGS.expansions * SETTINGS.max_step_tokens, 0)


def test_step_stops_are_the_end_token_and_all_tokens_with_a_newline():
    stops = ENCODER.stops
    assert stops[0] == ENCODER.special(END)
    assert [ENCODER.tokenizer.id_to_token(i) for i in stops[1:]] == [")\n", "\n"]
