"""Files of the stages of a run as typed records: what a resumed run reads back."""

from typing import Annotated

from annotated_types import MaxLen, MinLen

from experiments.reporting.report_records import (
    Audit,
    Count,
    GoldProxy,
    NonEmpty,
    Number,
    Panel,
    Result,
    ScoredProblem,
    TestTime,
)
from reward_models.records import record

Interval = Annotated[list[Number], MinLen(3), MaxLen(3)]
"""Mean, low, high."""


@record
class Evaluation:
    """evaluation.json: reranking on test problems."""

    test_time: TestTime | None = None
    gold_proxy: list[GoldProxy]
    audit: NonEmpty[Audit]
    problems: list[ScoredProblem]
    headline: NonEmpty[Result]


@record
class Search:
    """search.json: the rows of the report."""

    rows: NonEmpty[Result]


@record
class Improvement:
    """improvement.json: policy training on the learned reward."""

    train_time: NonEmpty[Panel]
    gold_proxy: list[GoldProxy]
    headline: NonEmpty[Result]


@record
class PolicyEvaluation:
    """samples/improvement-look-STEP.json: the policy in training on test problems."""

    step: Count
    gold: NonEmpty[Number] | None = None
    """Accuracy per problem; null where nothing verifies."""
    proxy: Number
    proxy_std: Number
    kl: Number | None
    length: Number | None = None
    """Mean length of the samples, in tokens."""


@record
class RewardEvaluation:
    """train_time/reward-STEP.json: the reward in training on test problems."""

    step: Count
    accuracy: dict[str, Interval]
