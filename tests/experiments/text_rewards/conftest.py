"""Fixtures of runs on pairs."""

from functools import partial

import pytest

import experiments.text_rewards.pair_evaluation


@pytest.fixture(scope="module")
def few_resamples():
    """Intervals are tested elsewhere."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("preference_findings", "findings", "tie_findings"):
            whole = getattr(experiments.text_rewards.pair_evaluation, name)
            patch.setattr(experiments.text_rewards.pair_evaluation, name, partial(whole, resamples=10))
        yield
