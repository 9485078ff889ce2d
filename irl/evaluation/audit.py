"""What a critic really looks at: who wrote a trace, whether it is right, how long it is, or whether it is whole.

A critic trained to tell expert from policy traces may live on an artefact (an end token, a number format, the
length) and still reach a perfect loss. Four areas (AUC) within a prompt tell the cases apart:

    source             expert against policy trace           what it was trained for; near 1 is no virtue
    correctness        correct against wrong policy trace    what reranking and training need
    expert-vs-correct  expert against correct policy trace   should approach 1/2
    truncation         whole demonstration against the same  must be near 1: below it, a candidate wins by stopping
                       cut after one of its earlier steps    early

Correctness comes from a verifier and is REPORT ONLY here: an audit must never feed a loss, a weight, a
stopping rule or the choice of a checkpoint, or the critic no longer learns from demonstrations alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped

from irl.evaluation.estimators import bootstrap_interval
from irl.evaluation.metrics import PromptMean, length_correlation, within_prompt_auc
from irl.types import Written

ARTEFACT_SOURCE_AUC = 0.99
ARTEFACT_CORRECTNESS_AUC = 0.6
SUSPECT_EXPERT_VS_CORRECT_AUC = 0.9
SUSPECT_LENGTH_CORRELATION = 0.5
TRUNCATION_AUC = 0.95
"""A reward below this prefers too many traces that stop early to the whole ones."""
FEW_PROMPTS = 30
TRUNCATION = "truncation AUC"

Experts = Shaped[np.ndarray, " experts"]
Samples = Shaped[np.ndarray, " samples"]


class Finding(NamedTuple):
    """A within-prompt statistic with its bootstrap interval over the `num_prompts` prompts that define it."""

    mean: float
    low: float
    high: float
    num_prompts: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}] over {self.num_prompts} prompts"


@dataclass(frozen=True, kw_only=True)
class CriticAudit:
    """Findings on one critic and one pool. Report only: see the module's docstring."""

    source_auc: Finding
    correctness_auc: Finding
    expert_vs_correct_auc: Finding
    length_correlation: Finding
    """Spearman of score and length among policy samples."""
    truncation_auc: Finding
    """Whole demonstrations against the same demonstrations cut after each earlier step."""
    num_prompts: int
    """Prompts of the pool; each finding counts those that define it."""
    labelled: bool = True
    """Whether the correctness of the samples is known."""

    def findings(self) -> dict[str, Finding]:
        """Each finding by the name to print; without labels those of correctness are left out."""
        of_labels = {"correctness AUC": self.correctness_auc, "expert-vs-correct AUC": self.expert_vs_correct_auc}
        return {
            "source AUC": self.source_auc,
            **(of_labels if self.labelled else {}),
            "length correlation": self.length_correlation,
            TRUNCATION: self.truncation_auc,
        }

    def warnings(self) -> list[str]:
        """Sentences a person should read before believing the critic; empty when nothing stands out."""
        source, correct = self.source_auc.mean, self.correctness_auc
        expert, length = self.expert_vs_correct_auc.mean, self.length_correlation.mean
        artefact = source > ARTEFACT_SOURCE_AUC and correct.mean < ARTEFACT_CORRECTNESS_AUC
        checks = [
            (
                artefact,
                f"Source AUC {source:.3f} with correctness AUC {correct.mean:.3f} looks like an artefact: "
                "the critic tells who wrote a trace, not whether it is right.",
            ),
            (
                correct.low <= 0.5,
                f"Correctness AUC {correct} is not above chance: do not rerank with this critic.",
            ),
            (
                expert > SUSPECT_EXPERT_VS_CORRECT_AUC,
                f"Expert-vs-correct AUC {expert:.3f} should approach 0.5: the critic separates experts from "
                "policy traces that are just as correct.",
            ),
            (
                abs(length) > SUSPECT_LENGTH_CORRELATION,
                f"Length correlation {length:+.3f}: the critic favours {'long' if length > 0 else 'short'} "
                "traces; compare it with ranking by length alone.",
            ),
        ]
        sentences = [sentence for applies, sentence in checks if applies]
        return truncation_warnings(self.truncation_auc) + sentences + self._thin_evidence()

    def _thin_evidence(self) -> list[str]:
        none = "{} is undefined: no prompt has both kinds of trace (or scores and lengths that vary)."
        few = f"{{}} rests on {{}} prompts; below {FEW_PROMPTS} its interval is too narrow."
        return [
            few.format(name, finding.num_prompts) if finding.num_prompts else none.format(name)
            for name, finding in self.findings().items()
            if finding.num_prompts < FEW_PROMPTS
        ]


def audit(
    *,
    expert_scores: Experts,
    expert_prompt: Experts,
    sample_scores: Samples,
    sample_prompt: Samples,
    sample_correct: Samples | None,
    sample_length: Samples,
    cut_scores: Shaped[np.ndarray, " cuts"],
    cut_prompt: Shaped[np.ndarray, " cuts"],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> CriticAudit:
    """Audit a critic's trace scores on expert traces and on policy samples of the same prompts.

    `*_prompt` are prompt ids, `sample_correct` is 0/1 or boolean, `sample_length` counts response tokens. The cuts
    are the expert traces cut after each step but the last (see `cut_after_each_step`).
    Intervals are percentile bootstraps over prompts at `level`. A finding no prompt defines is NaN, with a
    warning. Where `sample_correct` is None there are no findings of correctness. Correctness is report only: never
    train on it, never choose a checkpoint by it.
    ValueError: NaN scores or lengths, correctness other than 0 and 1, arrays of unequal length.
    """
    correct = np.zeros(len(sample_scores)) if sample_correct is None else np.asarray(sample_correct)
    if not np.isin(correct, (0, 1)).all():
        raise ValueError("sample_correct: expected only 0 and 1 (or booleans)")
    right = correct == 1

    def finding(result: PromptMean) -> Finding:
        return _finding(result, level, resamples, seed)

    def expert_against(scores: np.ndarray, prompt: np.ndarray) -> Finding:
        return finding(_first_above_second(expert_scores, expert_prompt, scores, prompt))

    return CriticAudit(
        source_auc=expert_against(sample_scores, sample_prompt),
        correctness_auc=finding(within_prompt_auc(sample_scores, right, sample_prompt)),
        expert_vs_correct_auc=expert_against(sample_scores[right], sample_prompt[right]),
        length_correlation=finding(length_correlation(sample_scores, sample_length, sample_prompt)),
        truncation_auc=expert_against(cut_scores, cut_prompt),
        num_prompts=len(np.unique(sample_prompt)),
        labelled=sample_correct is not None,
    )


def truncation_finding(score: Callable[[Sequence[Written]], np.ndarray], traces: Sequence[Written]) -> Finding:
    """AUC of whole traces against the same traces cut after each earlier step: 1 where no cut wins, 1/2 for ties."""
    longer = [(prompt, steps) for prompt, steps in traces if len(steps) > 1]
    if not longer:
        return Finding(np.nan, np.nan, np.nan, 0)
    cuts = [
        (number, (prompt, cut)) for number, (prompt, steps) in enumerate(longer) for cut in cut_after_each_step(steps)
    ]
    numbers = np.array([number for number, _ in cuts])
    result = _first_above_second(score(longer), np.arange(len(longer)), score([cut for _, cut in cuts]), numbers)
    return _finding(result, level=0.95, resamples=2000, seed=0)


def cut_after_each_step(steps: Sequence[str]) -> list[tuple[str, ...]]:
    """The traces that stop after each step but the last: what the truncation probe compares with the whole."""
    return [tuple(steps[:count]) for count in range(1, len(steps))]


def truncation_warnings(finding: Finding) -> list[str]:
    """What to read before reranking with a reward that prefers traces that stop early; empty where it does not."""
    if not finding.mean < TRUNCATION_AUC:
        return []
    return [
        f"TRUNCATION: this reward fails the truncation probe (AUC {finding}; expected at least {TRUNCATION_AUC}). A "
        "candidate can win by stopping early: do not rerank, search or train a policy with it unless every candidate "
        "is known to be complete."
    ]


def _first_above_second(
    first: np.ndarray, first_prompt: np.ndarray, second: np.ndarray, second_prompt: np.ndarray
) -> PromptMean:
    is_first = np.repeat([True, False], [len(first), len(second)])
    prompts = np.concatenate([first_prompt, second_prompt])
    return within_prompt_auc(np.concatenate([first, second]), is_first, prompts)


def _finding(result: PromptMean, level: float, resamples: int, seed: int) -> Finding:
    if not result.num_prompts:
        return Finding(np.nan, np.nan, np.nan, 0)
    return Finding(*bootstrap_interval(result.per_prompt, level, resamples, seed), result.num_prompts)
