"""Choosing one of n: by score, by vote, by weighted vote."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.domains.countdown.countdown import problem_of
from irl.evaluation.estimators import weighted_majority_at_k
from irl.guidance.base import Task
from irl.guidance.best_of_n import choose
from irl.guidance.voting import MajorityVote, WeightedVote, deviation, majority, score_weights, weighted_majority
from irl.text.encode import Encoder
from irl.text.tokenize import number_tokenizer

quick = settings(deadline=None, max_examples=60, derandomize=True)


@quick
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9), st.randoms(use_true_random=False))
def test_choose_takes_the_first_best_and_ignores_order_and_scale(values, random):
    scores = np.array(values, float)
    assert choose(scores) == values.index(max(values)) == choose(np.exp(scores) - 3)
    order = list(range(len(values)))
    random.shuffle(order)
    assert scores[order][choose(scores[order])] == scores[choose(scores)]


def test_choose_accepts_minus_infinity_and_refuses_nan_and_nothing():
    assert choose(np.array([-np.inf, -np.inf])) == 0
    assert choose(np.array([-np.inf, -5.0])) == 1
    with pytest.raises(ValueError, match="1 of 2 are NaN"):
        choose(np.array([np.nan, 1.0]))
    with pytest.raises(ValueError, match="shape"):
        choose(np.array([]))


def test_majority_by_hand():
    assert majority(["12", "7", "12"]) == "12"
    assert majority(["7", "12"]) == "7"
    assert majority(np.array([3, -1, -1, -1, 4, 4])) == 4


def test_who_has_no_answer_abstains():
    assert majority([None, None, None, "-1"]) == "-1"
    assert majority([-1, -1, 0]) == 0
    assert majority([None, None]) is None
    assert majority([-1]) == -1
    assert weighted_majority([None, "a"], [9.0, 0.0]) == "a"


def test_weights_of_scores():
    """exp of differences in units of `scale`; no score has no weight, and equal scores have deviation 1."""
    scores = np.array([2.0, -np.inf, 0.0, 4.0])
    np.testing.assert_allclose(score_weights(scores), np.exp([-2, -np.inf, -4, 0]))
    np.testing.assert_allclose(score_weights(scores, 2.0), np.exp([-1, -np.inf, -2, 0]))
    assert deviation(scores) == pytest.approx(np.sqrt(8 / 3))
    assert not score_weights(np.full(2, -np.inf)).any() and deviation(np.full(2, -np.inf)) == deviation(np.ones(3)) == 1


def test_weights_decide():
    assert weighted_majority(["a", "a", "b"], [1.0, 1.0, 2.5]) == "b"
    assert weighted_majority(["a", "a", "b"], [1.0, 1.0, 2.0]) == "a"
    with pytest.raises(ValueError, match="not negative"):
        weighted_majority(["a"], [-0.1])
    with pytest.raises(ValueError, match="got 2 and 1"):
        weighted_majority(["a"], [1.0, 2.0])
    with pytest.raises(ValueError, match="at least 1"):
        majority([])


class LastToken:
    """A domain in which the last word of a text is its answer, and an encoder whose tokens are words."""

    def canonical(self, prompt):
        return prompt

    def split_steps(self, text):
        return (text,)

    def answer_key(self, problem, text):
        return text.split()[-1] if text else None


def test_candidates_are_ranked_by_the_votes_for_their_answers():
    encoder = Encoder(number_tokenizer(), 24, 4)
    rows = encoder.many(["1"] * 5, [["2"], ["3"], ["3"], ["4 2"], ["5"]])
    task, problem, scores = Task([], encoder, LastToken()), problem_of((3, 8)), [5.0, 3.0, 1.0, 4.0, -800.0]
    assert MajorityVote().weights(task, problem, rows, scores) == [2, 2, 2, 2, 1]
    weights = np.exp([0.0, -2.0, -4.0, -1.0, -805.0])
    expected = [weights[0] + weights[3], weights[1] + weights[2], weights[1] + weights[2], weights[0] + weights[3], 0]
    np.testing.assert_allclose(WeightedVote().weights(task, problem, rows, scores), expected, rtol=1e-12)


votes = st.lists(st.tuples(st.integers(-1, 3), st.integers(1, 40)), min_size=2, max_size=9)


@quick
@given(votes, st.randoms(use_true_random=False))
def test_the_vote_held_is_the_vote_estimated(ballots, random):
    keys, weights = (np.array(column) for column in zip(*ballots, strict=True))
    totals = np.bincount(keys[keys >= 0], weights[keys >= 0]) if (keys >= 0).any() else np.zeros(1)
    if (totals == totals.max()).sum() > 1:
        return  # ties: the estimator averages, the vote takes the first
    winner = weighted_majority(list(keys), list(weights / 7))
    assert weighted_majority_at_k(keys[None], weights[None] / 7, keys[None] == winner, len(keys)).value[0] == 1
    order = list(range(len(keys)))
    random.shuffle(order)
    assert weighted_majority(list(keys[order]), list(weights[order] / 7)) == winner
