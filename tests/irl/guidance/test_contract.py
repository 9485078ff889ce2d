"""The contract of every registered guide, with a decoder of random weights and a score that reads the tokens."""

import doctest

import jax
import numpy as np
import pytest

import irl.guidance
from irl.domains.countdown.countdown import Countdown, problem_of
from irl.guidance import BestOfN, Guide, Task, WeightedVote
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.policies.truncation import Truncation
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer
from irl.types import InputError
from reward_models.networks.decoder import DecoderConfig
from reward_models.registry import classes, import_all

pytestmark = pytest.mark.usefixtures("shared_programs")

ENCODER = Encoder(number_tokenizer(), 24, 4)
NETWORK = DecoderConfig(
    vocab_size=ENCODER.vocab_size, num_layers=1, dim=8, num_heads=1, num_kv_heads=1, head_dim=8, hidden_dim=8
)
TASK = Task([problem_of((3, 8)), problem_of((4, 6)), problem_of((1, 23))], ENCODER, Countdown())


@pytest.fixture(scope="module")
def policy():
    """It ends one trace or step in four tokens, so that some samples end and some do not."""
    params = NETWORK.make().init(jax.random.key(0))
    params["embedding"] = params["embedding"].at[np.array(ENCODER.stops)].multiply(6.0)
    return FittedPolicy(LanguageModel(network=NETWORK), params)


class Score:
    """A score of the response alone, which counts what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, prompts, rows):
        self.asked += zip(prompts, rows, strict=True)
        return np.array([self.of(row) for row in rows])

    def of(self, row):
        return -float(sum(token % 7 for token in row.response))


def guides():
    import_all("irl.guidance")
    return [kind for kind in classes() if issubclass(kind, Guide) and kind.__module__.startswith("irl.")]


@pytest.mark.parametrize("kind", guides(), ids=lambda kind: kind.__name__)
def test_guides(kind, policy):
    guide, score = kind(), Score()
    pool = guide(policy, score, TASK, jax.random.key(1))
    assert len(pool.candidates) == len(TASK.problems) and any(pool.candidates) and guide.name
    for problem, group in zip(TASK.problems, pool.candidates, strict=True):
        head = ENCODER.prompt(problem.prompt)
        weights = [candidate.weight for candidate in group]
        assert weights == sorted(weights, reverse=True)
        for candidate in group:
            row = candidate.row
            assert row.tokens[: len(head)] == head and len(row.tokens) <= ENCODER.max_length
            assert row.response == row.tokens[len(head) :] and np.diff(row.step_id).max() <= 1
            assert candidate.finished == (row.tokens[-1] == ENCODER.end)
            assert candidate.score == (score.of(row) if guide.uses_score else 0)
    assert pool.cost.scored_traces == len(score.asked)
    assert pool.cost.sampled_tokens >= sum(len(each.row.response) for group in pool.candidates for each in group) / 5
    compiled = LanguageModel.sample._cache_size()
    assert pool == guide(policy, score, TASK, jax.random.key(1))
    assert pool != guide(policy, score, TASK, jax.random.key(2))
    assert LanguageModel.sample._cache_size() == compiled, "another key compiles nothing"


@pytest.mark.parametrize("options", [{"temperature": 0.0}, {"truncation": Truncation(top_k=1)}], ids=["greedy", "top"])
def test_options_of_sampling_reach_the_sampler(options, policy):
    """Equal samples of each problem."""
    pool = BestOfN(samples=4, **options)(policy, Score(), TASK, jax.random.key(1))
    assert [len({tuple(each.row.tokens) for each in group}) for group in pool.candidates] == [1, 1, 1]


def test_every_guide_is_exported():
    assert all(getattr(irl.guidance, kind.__name__) is kind for kind in guides())


def test_a_vote_needs_a_domain_that_reads_answers(policy):
    with pytest.raises(InputError, match="reward-weighted majority of 16: votes count answers; give a domain"):
        WeightedVote()(policy, Score(), TASK._replace(domain=None), jax.random.key(0))


def test_the_example_of_the_documentation():
    assert doctest.testmod(irl.guidance) == (0, 21)
