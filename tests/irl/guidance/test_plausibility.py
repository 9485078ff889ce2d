"""Plausibility against its definition, and what a p-value promises."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from irl.guidance.plausibility import plausibility

SCORES = st.lists(st.floats(-50, 5), min_size=1, max_size=20)


@given(SCORES, SCORES, st.floats(0.01, 1.0))
def test_is_the_share_of_demonstrations_that_score_no_better(scores, demonstrated, level):
    known = [s for s in scores if s >= min(demonstrated)]
    wanted = [min((1 + sum(d <= s for d in demonstrated)) / (len(demonstrated) + 1) / level, 1) for s in known]
    np.testing.assert_allclose(plausibility(np.array(known), np.array(demonstrated), level=level), wanted)


@given(SCORES, SCORES)
def test_never_falls_with_the_score(scores, demonstrated):
    values = plausibility(np.sort(scores), np.array(demonstrated))
    assert (np.diff(values) >= 0).all() and (values >= 0).all() and (values <= 1).all()


def test_samples_below_all_demonstrations_differ():
    """With few demonstrations most samples of a weak policy are there; a standard deviation divides by e."""
    found = plausibility(np.array([-4.0, -5.0, -6.0]), np.array([-4.0, -2.0]))
    np.testing.assert_allclose(found, [2 / 3, np.exp(-1) / 3, np.exp(-2) / 3])


def test_an_experts_trace_is_seldom_implausible():
    """P(p <= u) <= u for traces exchangeable with the demonstrations, whatever the scores' distribution."""
    rng = np.random.default_rng(0)
    demonstrated, fresh = rng.standard_cauchy(4000), rng.standard_cauchy(4000)
    p = plausibility(fresh, demonstrated)
    for u in (0.01, 0.05, 0.2, 0.5):
        assert np.mean(p <= u) == pytest.approx(u, abs=0.03)
    assert plausibility(np.array([-np.inf, np.inf]), demonstrated) == pytest.approx([0.0, 1.0])


def test_all_above_the_level_are_alike():
    demonstrated = np.arange(99.0)
    np.testing.assert_allclose(plausibility(np.array([3.5, 9.5, 50.0, 1e9]), demonstrated, level=0.1), [0.5, 1, 1, 1])


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="expected finite scores of demonstrations, got 0"):
        plausibility(np.zeros(2), np.zeros(0))
    with pytest.raises(ValueError, match="NaN"):
        plausibility(np.zeros(2), np.array([1.0, np.nan]))
    with pytest.raises(ValueError, match="level: expected a share above 0 and at most 1, got 0"):
        plausibility(np.zeros(2), np.zeros(3), level=0)
