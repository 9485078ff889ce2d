"""The stream of batches: every row, reshuffled, the same after a resume and over any number of processes."""

import json
import statistics
import time
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.text.pipeline import ArraySource, Together, epoch_order
from irl.types import InputError
from reward_models.types import PairBatch, TraceBatch


def trace_batch(rows: int, time_steps: int = 72, steps: int = 6) -> TraceBatch:
    """Rows that can be told apart: token [i, t] is i * time_steps + t, prompt_id is i."""
    tokens = np.arange(rows * time_steps, dtype=np.int32).reshape(rows, time_steps)
    return TraceBatch(
        tokens=tokens,
        segment=np.ones_like(tokens),
        position=tokens % time_steps,
        step_id=tokens % steps,
        step_mask=np.ones((rows, steps), bool),
        prompt_id=np.arange(rows, dtype=np.int32),
    )


def drawn(source: ArraySource, batches: int) -> np.ndarray:
    """Int[batches, batch]: what the next batches of a source over `np.arange` hold."""
    return np.stack([source.next() for _ in range(batches)])


settings_of_a_stream = st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**40)).filter(
    lambda drawn: drawn[1] <= drawn[0]
)


@settings(max_examples=30, deadline=None)
@given(settings_of_a_stream)
def test_an_epoch_holds_no_row_twice_and_only_whole_batches(stream):
    rows, batch_size, seed = stream
    source = ArraySource(np.arange(rows), batch_size, seed)
    for _ in range(3):
        epoch = drawn(source, source.steps_per_epoch)
        assert epoch.shape == (rows // batch_size, batch_size)
        assert len(np.unique(epoch)) == epoch.size
        assert np.isin(epoch, np.arange(rows)).all()


@settings(max_examples=30, deadline=None)
@given(settings_of_a_stream, st.integers(0, 30))
def test_restored_state_gives_exactly_the_following_batches(stream, consumed):
    rows, batch_size, seed = stream
    source = ArraySource(np.arange(rows), batch_size, seed)
    for _ in range(consumed):
        source.next()
    state = json.loads(json.dumps(source.get_state()))
    expected = drawn(source, 10)
    resumed = ArraySource(np.arange(rows), batch_size, seed)
    resumed.set_state(state)
    np.testing.assert_array_equal(drawn(resumed, 10), expected)
    source.set_state(state)  # and back in the same object
    np.testing.assert_array_equal(drawn(source, 10), expected)
    assert resumed.get_state() == source.get_state()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 10), st.integers(0, 99))
def test_shards_put_together_are_the_batch_of_one_process(count, share, spare, seed):
    rows, batch_size = 3 * count * share + spare, count * share
    whole = ArraySource(np.arange(rows), batch_size, seed)
    shards = [ArraySource(np.arange(rows), batch_size, seed, shard=(i, count)) for i in range(count)]
    for _ in range(8):
        np.testing.assert_array_equal(np.concatenate([shard.next() for shard in shards]), whole.next())
    assert all(shard.get_state() == whole.get_state() for shard in shards)


def test_epochs_and_seeds_are_shuffled_independently():
    orders = {tuple(epoch_order(20, seed, epoch)) for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_every_row_comes_first_equally_often():
    firsts = np.bincount([epoch_order(5, 0, epoch)[0] for epoch in range(2000)], minlength=5)
    assert ((firsts - 400) ** 2 / 400).sum() < 18.5  # chi-squared with 4 degrees of freedom, p = 0.001


def test_rows_left_over_change_from_epoch_to_epoch():
    source = ArraySource(np.arange(10), 8, seed=0)
    seen = np.unique(drawn(source, 20))
    np.testing.assert_array_equal(seen, np.arange(10))


def test_rows_of_a_trace_batch_stay_together():
    data = trace_batch(50)
    batch = ArraySource(data, 8, seed=3).next("any learner's state")
    assert isinstance(batch, TraceBatch)
    for name, array, column in zip(TraceBatch._fields, batch, data, strict=True):
        if name in ("prefix", "after"):
            assert array is None and column is None
            continue
        assert isinstance(array, np.ndarray) and array.dtype == column.dtype, name
        np.testing.assert_array_equal(array, column[batch.prompt_id])


def test_nested_trees_none_and_jax_arrays():
    pairs = PairBatch(trace_batch(9), trace_batch(9), jnp.ones(9))
    batch = ArraySource({"pairs": pairs, "absent": None}, 4, seed=0).next()
    assert batch["absent"] is None
    assert isinstance(batch["pairs"].weight, np.ndarray) and batch["pairs"].weight.shape == (4,)
    np.testing.assert_array_equal(batch["pairs"].chosen.tokens, batch["pairs"].rejected.tokens)


def test_changing_a_batch_leaves_the_data_alone():
    data = np.arange(6)
    ArraySource(data, 6, seed=0).next()[:] = -1
    np.testing.assert_array_equal(data, np.arange(6))


def test_the_data_is_not_copied():
    data = np.arange(6)
    source = ArraySource(data, 6, seed=0)
    data += 10
    assert sorted(source.next()) == list(range(10, 16))


class Uneven(NamedTuple):
    tokens: np.ndarray
    weight: np.ndarray


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            Uneven(np.zeros((4, 2)), np.zeros(3)),
            "field weight: 3 rows, but tokens has 4; give every array one row",
        ),
        ({"a": {"b": [np.zeros(2), np.zeros(1)]}}, "field a.b.1: 1 rows, but a.b.0 has 2"),
        (Uneven(np.zeros(4), np.float32(1)), "field weight: expected an array with one row per example"),
        (1.0, "field array: expected an array with one row per example"),
        ({}, "expected arrays with one row per example, got no array"),
    ],
)
def test_arrays_without_common_rows(arrays, message):
    with pytest.raises(InputError) as caught:
        ArraySource(arrays, 1, seed=0)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"batch_size": 11}, "batch_size: 11 exceeds the 10 rows; lower it or give more data"),
        ({"batch_size": 0}, "batch_size: expected a positive multiple of 1 processes, got 0"),
        (
            {"batch_size": 5, "shard": (0, 2)},
            "batch_size: expected a positive multiple of 2 processes, got 5",
        ),
        ({"shard": (2, 2)}, "shard: expected (index, count) with 0 <= index < count, got (2, 2)"),
        ({"shard": (0, 0)}, "shard: expected (index, count) with 0 <= index < count, got (0, 0)"),
        ({"seed": -1}, "seed: expected 0 or more, got -1"),
    ],
)
def test_wrong_settings(settings, message):
    with pytest.raises(InputError) as caught:
        ArraySource(np.arange(10), **({"batch_size": 2, "seed": 0} | settings))
    assert str(caught.value) == message


@pytest.mark.parametrize("change", [{"rows": 11}, {"batch_size": 4}, {"seed": 1}])
def test_a_state_of_another_stream_is_refused(change):
    stream = {"rows": 10, "batch_size": 2, "seed": 0}
    sources = [
        ArraySource(np.arange(each["rows"]), each["batch_size"], each["seed"]) for each in (stream, stream | change)
    ]
    with pytest.raises(InputError, match=r"data position was saved for .* resume with the same settings"):
        sources[1].set_state(sources[0].get_state())


@pytest.mark.parametrize("rows", [128, 5000])
def test_a_batch_costs_less_than_a_millisecond(rows):
    source = ArraySource(trace_batch(rows), 128, seed=0)

    def seconds() -> float:
        start = time.perf_counter()
        source.next()
        return time.perf_counter() - start

    assert statistics.median(seconds() for _ in range(200)) < 1e-3


def pair_of_streams() -> Together:
    """Rows 0 to 9 by three and a trace batch of 7 rows by two: the streams have epochs of different lengths."""
    return Together(ArraySource(np.arange(10), 3, seed=0), ArraySource(trace_batch(7), 2, seed=1))


def test_together_draws_a_tuple_of_the_batches_of_each():
    together = pair_of_streams()
    first, second = ArraySource(np.arange(10), 3, seed=0), ArraySource(trace_batch(7), 2, seed=1)
    for _ in range(9):
        batch = together.next("any learner's state")
        assert isinstance(batch, tuple) and len(batch) == 2 and isinstance(batch[1], TraceBatch)
        np.testing.assert_array_equal(batch[0], first.next())
        np.testing.assert_array_equal(batch[1].tokens, second.next().tokens)


def test_together_goes_on_from_its_saved_state():
    source = pair_of_streams()
    for _ in range(5):
        source.next()
    state = json.loads(json.dumps(source.get_state()))
    expected = [source.next() for _ in range(10)]
    for resumed in (pair_of_streams(), source):  # a new one, and back in the same object
        resumed.set_state(state)
        for rows, traces in expected:
            again = resumed.next()
            np.testing.assert_array_equal(again[0], rows)
            np.testing.assert_array_equal(again[1].prompt_id, traces.prompt_id)
    assert resumed.get_state() == source.get_state() != state


def test_together_refuses_the_state_of_other_streams():
    source = pair_of_streams()
    turned = Together(ArraySource(trace_batch(7), 2, seed=1), ArraySource(np.arange(10), 3, seed=0))
    with pytest.raises(InputError, match="data position was saved for"):
        source.set_state(turned.get_state())
    with pytest.raises(ValueError, match="zip"):
        source.set_state(Together(ArraySource(np.arange(10), 3, seed=0)).get_state())


class Learner:
    """A source that gives the learner's state back, as rollouts sample with it."""

    def next(self, state=None):
        return state

    def get_state(self):
        return {}

    def set_state(self, state):
        assert state == {}


def test_together_hands_the_learner_on_to_every_source():
    together = Together(Learner(), Learner())
    assert together.next("learner") == ("learner", "learner")
