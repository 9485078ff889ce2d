"""Packing: every unit once, no two in one place, little padding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.text.packing import EncodedTrace, Room, check_fits, fill_rows, measure, plan_batches
from irl.types import InputError

PART = st.tuples(st.integers(1, 20), st.integers(1, 2))


def trace(tokens, steps):
    """A prompt token, then `steps` steps that share the rest."""
    step_id = np.minimum(np.arange(tokens), steps) - 1 if tokens > steps else np.arange(tokens)
    return EncodedTrace(list(range(1, tokens + 1)), step_id.tolist())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(PART, PART), min_size=1, max_size=40), st.randoms(use_true_random=False))
def test_every_unit_has_its_places_once(pairs, random):
    traces = [[trace(tokens, min(steps, tokens)) for tokens, steps in side] for side in zip(*pairs, strict=True)]
    sizes, steps = measure(traces)
    room = Room(2, 40, 4)
    order = random.sample(range(len(pairs)), len(pairs))
    batches = plan_batches(order, sizes, steps, room)
    assert [unit.number for batch in batches for unit in batch] == order
    for batch in batches:
        placed = [(traces[part][unit.number], place) for unit in batch for part, place in enumerate(unit.places)]
        rows = fill_rows(placed, room)
        assert (rows.segment > 0).sum() == sum(len(sequence.tokens) for sequence, _ in placed)
        assert rows.step_mask.sum() == sum(max(sequence.step_id) + 1 for sequence, _ in placed)
        for sequence, place in placed:
            span = slice(place.start, place.start + len(sequence.tokens))
            assert rows.tokens[place.row, span].tolist() == sequence.tokens
            assert rows.position[place.row, span].tolist() == list(range(len(sequence.tokens)))
            assert set(rows.segment[place.row, span]) == {place.slot + 1}
            own = [step + place.slot if step >= 0 else -1 for step in sequence.step_id]
            assert rows.step_id[place.row, span].tolist() == own


def test_little_is_padding():
    sizes = np.random.default_rng(0).integers(10, 200, size=(2, 600))
    plan = plan_batches(range(600), sizes, np.ones_like(sizes), Room(8, 512, 32))
    useful = [sum(int(sizes[:, unit.number].sum()) for unit in batch) for batch in plan]
    assert np.mean(useful[:-1]) / (8 * 512) > 0.93


def test_what_does_not_fit_is_named():
    with pytest.raises(InputError, match=r"trace 3: 60 tokens do not fit into 50; leave it out"):
        check_fits("trace 3", trace(60, 1), Room(2, 50, 4))
    with pytest.raises(InputError, match=r"trace 3: 5 steps do not fit into 4; raise the slots"):
        check_fits("trace 3", trace(20, 5), Room(2, 50, 4))
