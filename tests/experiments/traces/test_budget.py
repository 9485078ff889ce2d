"""What fits in a time, and the limits that fit the traces."""

import pytest

from experiments.traces.budget import EPOCHS, Task, scaled
from experiments.traces.calibrate import Speed
from experiments.traces.sizes import CONTEXT, Lengths, Limits, Sizes, decoder, limits

LENGTHS = Lengths(
    tokens=1_400_000,
    prompt=198,
    response=272,
    steps=9,
    step=62,
    mean_trace=191.0,
    mean_response=105.0,
    mean_steps=4.6,
)
LIMITS = Limits(max_length=512, max_response=304, max_steps=12, max_step_tokens=72)
TASK = Task(lengths=LENGTHS, limits=LIMITS, batch_tokens=4608, problems=1319, members=1, pairs=0)
SPEED = Speed(train=1 / 20_000, column=0.02, rows=512, compile=4.0)


@pytest.mark.parametrize("minutes", [5, 10, 60])
def test_the_estimate_is_about_the_time_there_is(minutes):
    counts, estimate = scaled(TASK, SPEED, 60.0 * minutes, Sizes())
    assert 0.6 * minutes < sum(estimate.values()) / 60 < 1.2 * minutes
    assert counts.problems == 100 and counts.label_steps == 0 and estimate["outcome model"] == 0
    assert estimate["policy"] == pytest.approx(counts.policy_steps * 4608 / 20_000)


def test_a_slower_machine_does_less():
    fast, slow = (scaled(TASK, speed, 600.0, Sizes())[0] for speed in (SPEED, SPEED._replace(train=1 / 2_000)))
    assert slow.policy_steps < fast.policy_steps / 5 and slow.samples < fast.samples


def test_a_small_file_is_not_read_too_often():
    task = TASK._replace(lengths=LENGTHS._replace(tokens=40_000), batch_tokens=2_000)
    counts, estimate = scaled(task, SPEED, 3600.0, Sizes())
    assert counts.policy_steps == EPOCHS * 20
    assert sum(estimate.values()) < 3600.0 / 2


def test_no_more_problems_are_searched_than_there_are():
    counts, _ = scaled(TASK._replace(problems=3), SPEED, 3600.0, Sizes())
    assert counts.problems == counts.search_problems == 3


def test_sizes_that_are_given_stay():
    sizes = Sizes(policy_steps=7, reward_steps=8, samples=9, problems=10, improvement_steps=0, search_problems=0)
    counts, estimate = scaled(TASK._replace(pairs=16), SPEED, 600.0, sizes)
    assert (counts.policy_steps, counts.reward_steps, counts.samples, counts.problems) == (7, 8, 9, 10)
    assert counts.improvement_steps == counts.search_problems == estimate["improvement"] == estimate["search"] == 0
    assert 50 <= counts.label_steps <= 400 and estimate["outcome model"] > 0


def test_limits_fit_the_traces():
    assert limits(LENGTHS, Sizes()) == LIMITS
    long = limits(LENGTHS._replace(prompt=600, response=2000), Sizes())
    assert long.max_length == CONTEXT and long.max_response == CONTEXT // 2
    given = limits(LENGTHS, Sizes(max_length=256, max_response=100, max_steps=5, max_step_tokens=9))
    assert given == (256, 100, 5, 9)


def test_more_traces_have_a_larger_decoder():
    sizes = [decoder(tokens, 500) for tokens in (10_000, 500_000, 5_000_000)]
    assert [(each.num_layers, each.dim) for each in sizes] == [(2, 64), (3, 96), (3, 128)]
    assert all(each.head_dim * each.num_heads == each.dim and each.vocab_size == 500 for each in sizes)
