"""Critics whose eyes are known: the audit must say what each one looks at."""

import dataclasses
import re

import numpy as np
import pytest

from irl.evaluation.audit import (
    CriticAudit,
    Finding,
    audit,
    cut_after_each_step,
    truncation_finding,
    truncation_warnings,
)

PROMPTS, SAMPLES = 60, 8


def pool(critic, prompts=PROMPTS, seed=0):
    """Audit `critic(is_expert, correct, length, noise)`; experts are correct and as long as samples."""
    rng = np.random.default_rng(seed)
    expert, sample = np.arange(prompts), np.repeat(np.arange(prompts), SAMPLES)
    correct = rng.random(len(sample)) < 0.5
    length = rng.integers(5, 50, len(sample))
    expert_scores = critic(np.ones(prompts), np.ones(prompts), rng.integers(5, 50, prompts), rng.normal(size=prompts))
    sample_scores = critic(np.zeros(len(sample)), correct, length, rng.normal(size=len(sample)))
    cut = np.repeat(np.arange(prompts), 3)
    cut_scores = critic(np.ones(len(cut)), np.zeros(len(cut)), np.full(len(cut), 4), rng.normal(size=len(cut))) - 10
    offset = rng.normal(size=prompts) * 100
    return {
        "expert_scores": expert_scores + offset,
        "expert_prompt": expert,
        "sample_scores": sample_scores + offset[sample],
        "sample_prompt": sample,
        "sample_correct": correct,
        "sample_length": length,
        "cut_scores": cut_scores + offset[cut],
        "cut_prompt": cut,
    }


def test_an_artefact_critic_is_called_one():
    found = audit(**pool(lambda is_expert, correct, length, noise: 10 * is_expert + noise))
    assert found.source_auc.mean > 0.999 and found.expert_vs_correct_auc.mean > 0.999
    assert found.correctness_auc.low < 0.5 < found.correctness_auc.high
    text = " ".join(found.warnings())
    assert "looks like an artefact" in text and "not above chance" in text and "approach 0.5" in text


def test_a_good_critic_draws_no_warning():
    found = audit(**pool(lambda is_expert, correct, length, noise: 3 * correct + noise))
    assert found.correctness_auc.low > 0.95
    assert abs(found.expert_vs_correct_auc.mean - 0.5) < 0.1
    assert 0.6 < found.source_auc.mean < 0.9
    assert found.warnings() == []


def test_a_length_critic_is_called_one_in_both_directions():
    for sign, word in ((1, "long"), (-1, "short")):
        found = audit(**pool(lambda is_expert, correct, length, noise, sign=sign: sign * length + noise))
        assert found.length_correlation.mean * sign > 0.9
        assert any(f"favours {word} traces" in sentence for sentence in found.warnings())


def test_offsets_of_prompts_change_nothing():
    data = pool(lambda is_expert, correct, length, noise: correct + noise)
    shift = np.arange(PROMPTS) * 50.0
    moved = data | {
        "expert_scores": data["expert_scores"] + shift,
        "sample_scores": data["sample_scores"] + shift[data["sample_prompt"]],
        "cut_scores": data["cut_scores"] + shift[data["cut_prompt"]],
    }
    assert audit(**data) == audit(**moved)


def test_a_reward_that_prefers_early_ends_is_named_first_and_loudly():
    data = pool(lambda is_expert, correct, length, noise: correct + noise)
    fooled = audit(**data | {"cut_scores": data["cut_scores"] + 20})
    assert fooled.truncation_auc.mean < 0.01
    assert fooled.warnings()[0].startswith("TRUNCATION: this reward fails the truncation probe (AUC 0.0")
    assert audit(**data).truncation_auc.mean == 1.0


def test_the_truncation_probe_compares_within_prompts_and_counts_ties_half():
    scores = {("x", 3): 0.0, ("y", 2): 100.0, ("x", 1): -1.0, ("x", 2): 1.0, ("y", 1): 100.0}
    finding = truncation_finding(
        lambda traces: np.array([scores[prompt, len(steps)] for prompt, steps in traces]),
        [("x", ["a", "b", "c"]), ("y", ["a", "b"]), ("z", ["a"])],
    )
    assert finding.mean == 0.5 and finding.num_prompts == 2
    assert truncation_warnings(finding) and not truncation_warnings(finding._replace(mean=0.96))
    assert cut_after_each_step(("a", "b", "c")) == [("a",), ("a", "b")]
    assert cut_after_each_step(("a",)) == []


def test_demonstrations_of_one_step_leave_the_truncation_probe_undefined():
    nothing = {"cut_scores": np.zeros(0), "cut_prompt": np.zeros(0, int)}
    found = audit(**pool(lambda is_expert, correct, length, noise: correct + noise) | nothing)
    assert found.truncation_auc.num_prompts == 0 and np.isnan(found.truncation_auc.mean)
    assert any("truncation AUC is undefined" in sentence for sentence in found.warnings())


def test_each_finding_counts_its_prompts():
    data = pool(lambda is_expert, correct, length, noise: correct + noise)
    data["sample_correct"] = data["sample_correct"] & (data["sample_prompt"] >= 10)
    found = audit(**data)
    assert found.num_prompts == found.source_auc.num_prompts == PROMPTS
    assert found.correctness_auc.num_prompts <= PROMPTS - 10
    assert all(finding.low <= finding.mean <= finding.high for finding in found.findings().values())


def test_what_cannot_be_judged_is_said():
    data = pool(lambda is_expert, correct, length, noise: correct + noise, prompts=5)
    data["sample_correct"] = np.zeros_like(data["sample_correct"])
    found = audit(**data)
    assert np.isnan(found.correctness_auc.mean) and found.expert_vs_correct_auc.num_prompts == 0
    text = " ".join(found.warnings())
    assert "correctness AUC is undefined" in text and "source AUC rests on 5 prompts" in text
    assert "artefact" not in text


def test_the_report_is_frozen_and_prints():
    finding = Finding(0.75, 0.7, 0.8, 40)
    assert str(finding) == "0.750 [0.700, 0.800] over 40 prompts"
    report = CriticAudit(
        source_auc=finding,
        correctness_auc=finding,
        expert_vs_correct_auc=finding,
        length_correlation=finding,
        truncation_auc=finding,
        num_prompts=40,
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.num_prompts = 3


@pytest.mark.parametrize(
    ("field", "change", "message"),
    [
        ("sample_correct", lambda x: x * 2, "only 0 and 1"),
        ("sample_scores", lambda x: x * np.nan, "NaN"),
        ("sample_length", lambda x: x[:-1], "shape"),
        ("expert_prompt", lambda x: x[:-1], "shape"),
    ],
)
def test_wrong_input_is_refused(field, change, message):
    data = pool(lambda is_expert, correct, length, noise: noise)
    with pytest.raises((ValueError, TypeError)) as error:
        audit(**data | {field: change(data[field])})
    refused_by_signature = isinstance(error.value, TypeError)  # where jaxtyping checks shapes at run time
    assert refused_by_signature or re.search(message, str(error.value))
