"""Areas and rank correlations against pair counting and closed forms."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.evaluation.metrics import (
    auc,
    length_correlation,
    midranks,
    spearman,
    within_prompt_auc,
    within_prompt_spearman,
)

quick = settings(deadline=None, max_examples=80, derandomize=True)
values = st.sampled_from([-np.inf, -1.0, 0.0, 0.5, 2.0])


@st.composite
def rows(draw):
    """(scores, labels) with ties."""
    pairs = draw(st.lists(st.tuples(values, st.booleans()), min_size=1, max_size=12))
    scores, labels = zip(*pairs, strict=True)
    return np.array(scores), np.array(labels)


def pair_count(scores, labels):
    above = np.greater.outer(scores[labels], scores[~labels]).sum()
    tied = np.equal.outer(scores[labels], scores[~labels]).sum()
    pairs = labels.sum() * (~labels).sum()
    return (above + tied / 2) / pairs if pairs else math.nan


@quick
@given(rows())
def test_auc_counts_pairs(data):
    scores, labels = data
    np.testing.assert_allclose(auc(scores, labels), pair_count(scores, labels), atol=1e-12)
    np.testing.assert_allclose(auc(np.exp(scores) + 5, labels), auc(scores, labels), atol=1e-12)
    np.testing.assert_allclose(auc(scores, ~labels), 1 - auc(scores, labels), atol=1e-12)


def test_auc_of_two_normals_is_phi_of_their_distance():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 20_000)
    truth = (1 + math.erf(1 / 2)) / 2  # Phi(d / sqrt 2) for unit variances and d = 1
    assert auc(rng.normal(size=40_000) + labels, labels) == pytest.approx(truth, abs=0.01)


def test_auc_by_hand():
    assert auc(np.array([1, 2, 3, 4]), np.array([0, 0, 1, 1])) == 1
    assert auc(np.array([7, 7, 7]), np.array([0, 1, 1])) == 0.5
    assert auc(np.array([1, 2, 2, 3]), np.array([0, 0, 1, 1])) == 0.875


def test_midranks_and_spearman_by_hand():
    np.testing.assert_array_equal(midranks(np.array([10.0, -1.0, 10.0, 3.0])), [3.5, 1, 3.5, 2])
    assert spearman(np.array([1, 2, 3]), np.array([1, 8, 9])) == pytest.approx(1)
    assert spearman(np.array([1, 2, 3]), np.array([3, 2, -5])) == pytest.approx(-1)
    assert spearman(np.array([1, 2, 3, 4]), np.array([1, 1, 2, 2])) == pytest.approx(2 / math.sqrt(5))
    assert math.isnan(spearman(np.array([1, 2, 3]), np.array([4, 4, 4])))


@quick
@given(st.permutations(range(8)))
def test_spearman_without_ties_is_the_textbook_formula(order):
    first, second = np.arange(8.0), np.array(order, float)
    distance = ((first - second) ** 2).sum()
    assert spearman(first, second) == pytest.approx(1 - 6 * distance / (8 * 63))


def test_within_prompt_means_over_prompts_that_define_it():
    prompt = np.array([2, 1, 1, 2, 3, 3, 2])
    labels = np.array([1, 1, 0, 0, 1, 1, 0])
    scores = np.array([5.0, 0.0, 1.0, 5.0, 9.0, 8.0, 4.0])
    result = within_prompt_auc(scores, labels, prompt)
    assert (result.mean, result.num_prompts) == (0.375, 2)
    np.testing.assert_array_equal(result.per_prompt, [0.0, 0.75])


@quick
@given(rows(), st.randoms(use_true_random=False))
def test_within_prompt_ignores_offsets_of_prompts_and_order_of_rows(data, random):
    scores, labels = data
    prompt = np.arange(len(scores)) % 3
    order = list(range(len(scores)))
    random.shuffle(order)
    here = within_prompt_auc(scores, labels, prompt)
    there = within_prompt_auc((scores + 100.0 * prompt)[order], labels[order], prompt[order])
    np.testing.assert_allclose(here.mean, there.mean, atol=1e-12)
    assert here.num_prompts == there.num_prompts


def test_pooling_prompts_would_deceive():
    prompt = np.repeat(np.arange(50), 4)
    easy = prompt >= 25
    labels = np.where(easy, np.tile([1, 1, 1, 0], 50), np.tile([1, 0, 0, 0], 50))
    scores = np.where(easy, 10.0, 0.0)
    assert auc(scores, labels) == 0.75
    assert within_prompt_auc(scores, labels, prompt).mean == 0.5


def test_length_correlation_is_spearman_within_each_prompt():
    prompt = np.array(["a", "a", "a", "b", "b", "b", "c", "c"])
    lengths = np.array([1, 2, 3, 1, 2, 3, 4, 4])
    scores = np.array([1.0, 4.0, 9.0, 5.0, 4.0, -np.inf, 0.0, 1.0])
    result = length_correlation(scores, lengths, prompt)
    np.testing.assert_allclose(result.per_prompt, [1, -1], atol=1e-12)
    assert result.mean == pytest.approx(within_prompt_spearman(lengths, scores, prompt).mean)


def test_nothing_to_compare_is_nan_and_counted():
    result = within_prompt_auc(np.array([1.0, 2.0]), np.array([1, 1]), np.array([0, 1]))
    assert math.isnan(result.mean) and result.num_prompts == 0 and result.per_prompt.shape == (0,)
    assert within_prompt_auc(np.zeros(0), np.zeros(0), np.zeros(0)).num_prompts == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: auc(x * np.nan, x), "NaN"),
        (lambda x: auc(x, x * 2), "only 0 and 1"),
        (lambda x: auc(x, x[:1]), "shape"),
        (lambda x: within_prompt_auc(x, x, x[:1]), "shape"),
        (lambda x: within_prompt_spearman(x * np.nan, x, x), "NaN"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises((ValueError, TypeError)) as error:
        call(np.ones(4))
    refused_by_signature = isinstance(error.value, TypeError)  # where jaxtyping checks shapes at run time
    assert refused_by_signature or re.search(message, str(error.value))
