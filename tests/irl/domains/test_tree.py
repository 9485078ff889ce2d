"""The exact world against brute force, and its texts against its arrays."""

import itertools

import numpy as np
import pytest

from irl.domains.tree import sample_leaves
from irl.types import InputError, Problem
from tests.irl.exact_tree import END, FIRST_SYMBOL, ExactTree, rank_correlation, soft_values, step_log_prob

SMALL = ExactTree(depth=3, branching=2, num_prompts=4, leaf_scale=0.5)


def test_leaves_are_all_paths_in_order():
    assert SMALL.choices.tolist() == [list(path) for path in itertools.product(range(2), repeat=3)]


def test_partition_and_values_are_brute_force_sums():
    values = soft_values(SMALL.reward, 2)
    for x in range(4):
        weights = [np.exp(r) for r in SMALL.reward[x]]
        assert np.isclose(np.exp(SMALL.log_partition[x]), sum(weights), rtol=1e-12)
        assert np.isclose(values[1][x, 1], np.log(sum(weights[4:])), rtol=1e-12)
        assert np.isclose(values[2][x, 1], np.log(sum(weights[2:4])), rtol=1e-12)
    np.testing.assert_allclose(values[0][:, 0], SMALL.log_partition, atol=1e-12)
    np.testing.assert_allclose(values[3], SMALL.reward, atol=1e-12)


def test_posterior_and_its_steps_are_distributions():
    log_prob = step_log_prob(SMALL.reward, 2)
    np.testing.assert_allclose(np.exp(SMALL.log_posterior).sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(log_prob.sum(axis=-1), SMALL.log_posterior, atol=1e-12)
    np.testing.assert_allclose(np.exp(log_prob[:, [0, 4], 0]).sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(step_log_prob(np.zeros_like(SMALL.reward), 2), np.log(0.5), atol=1e-12)


def test_reward_is_linear_unless_leaves_are_random():
    linear = ExactTree(depth=3, branching=2, num_prompts=1)
    reward = dict(zip(map(tuple, linear.choices), linear.reward[0], strict=True))
    # Positions and neighbours interact, but position 0 and position 2 do not: the second difference vanishes.
    assert np.isclose(reward[0, 1, 0] - reward[1, 1, 0], reward[0, 1, 1] - reward[1, 1, 1], atol=1e-12)
    assert not np.isclose(reward[0, 0, 0] - reward[1, 0, 0], reward[0, 1, 0] - reward[1, 1, 0], atol=1e-3)
    spread = ExactTree(position_scale=0.0, bigram_scale=0.0, leaf_scale=2.0).reward
    assert np.isclose(spread.std(), 2.0, rtol=0.02)
    assert abs(np.corrcoef(spread)[0, 1]) < 0.1


def test_samples_follow_the_posterior():
    prompts, leaves = sample_leaves(SMALL.reward, 40_000, np.random.default_rng(0))
    counts = np.zeros(SMALL.reward.shape)
    np.add.at(counts, (prompts, leaves), 1)
    expected = 10_000 * np.exp(SMALL.log_posterior)
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 57  # 28 degrees of freedom: the 99.9% quantile


def test_rank_correlation():
    table = np.array([[1.0, 2.0, 3.0, 4.0]])
    assert np.isclose(rank_correlation(table, np.exp(table)), 1)
    assert np.isclose(rank_correlation(table, -table), -1)
    assert np.isclose(rank_correlation(table, np.array([[1.0, 1.0, 2.0, 2.0]])), np.sqrt(0.8))


def test_encoding():
    batch = SMALL.enumerate(3)
    assert batch.tokens[5].tolist() == [FIRST_SYMBOL + 2 + 3, 3, 2, 3, END]
    assert batch.step_id[5].tolist() == [-1, 0, 1, 2, 2]
    assert batch.response[5].tolist() == [False, True, True, True, True]
    assert batch.position[5].tolist() == [0, 1, 2, 3, 4]
    assert batch.step_mask.shape == (8, 3) and bool(batch.step_mask.all())
    assert set(batch.prompt_id.tolist()) == {3} and int(batch.tokens.max()) < SMALL.vocab
    demonstrations = SMALL.expert_batch(6, np.random.default_rng(0))
    assert demonstrations.prompt_id.tolist() == [0, 1, 2, 3, 0, 1]


def test_problems_split_without_overlap():
    train, test = ({problem.id for problem in SMALL.problems(split)} for split in ("train", "test"))
    assert len(train) == 3 and len(test) == 1 and not train & test
    with pytest.raises(InputError, match="train or test"):
        SMALL.problems("dev")


def test_verify_agrees_with_the_definition():
    problem, x = SMALL.problems("train")[1], 1
    posterior, reward = np.exp(SMALL.log_posterior[x]), SMALL.reward[x]
    # Correct means: leaves with a strictly lower reward carry less than 90% of the expert's mass beyond it.
    correct = np.array([posterior[reward <= r].sum() >= 0.9 for r in reward])
    for leaf, path in enumerate(SMALL.choices):
        verdict = SMALL.verify(problem, "\n".join(f"{'abc'[t]}{k}" for t, k in enumerate(path)))
        assert verdict.correct == correct[leaf]
        assert all(step.right for step in verdict.steps)
        below = [correct[leaf // width * width : leaf // width * width + width].any() for width in (4, 2, 1)]
        assert [step.solvable for step in verdict.steps] == below
    assert correct[reward.argmax()] and not correct.all()


def test_expert_texts_are_well_formed():
    rng = np.random.default_rng(0)
    for problem in SMALL.problems("train"):
        trace = SMALL.expert(problem, rng)
        assert SMALL.verify(problem, trace.text).outcome != "malformed"
        assert SMALL.split_steps(trace.text) == tuple(step.text for step in trace.steps)
        assert SMALL.answer_key(problem, trace.text) == " ".join(step.text[1] for step in trace.steps)


@pytest.mark.parametrize("text", ["", "a1", "a1\nb2\nc0", "a1\na1\nc0", "a1\nb0\nc0\nd0", "a1 b1 c1", "a²\nb0\nc0"])
def test_malformed_texts(text):
    problem = SMALL.problems("train")[0]
    verdict = SMALL.verify(problem, text)
    assert verdict.outcome == "malformed" and verdict.reason
    assert len(verdict.steps) == len(SMALL.split_steps(text))
    assert SMALL.answer_key(problem, text) is None


def test_bad_settings_and_prompts_are_named():
    with pytest.raises(InputError, match="branching: expected at least 2"):
        ExactTree(branching=1)
    with pytest.raises(InputError, match="'tree 9'"):
        SMALL.verify(Problem(id="x", prompt="tree 9"), "a1")
