"""Scores of encoded rows: short rows in common batches, each long row in one of its own."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from irl.text.packing import EncodedTrace, one_per_row, slots_of
from irl.text.windows import Parts
from reward_models.networks.attention import LONG
from reward_models.networks.base import Network, Params
from reward_models.scoring import make_score_fn

CHUNK = 131_072
"""Rows that are held as arrays at a time."""


class RowScores(NamedTuple):
    trace: np.ndarray
    """Float[rows]"""
    step: np.ndarray
    """Float[rows, steps]"""


class RowScorer:
    """A network with its parameters, on the device."""

    def __init__(self, network: Network, params: Params, *, pad: int = 0, tokens_per_batch: int = 8_192):
        self._score = make_score_fn(network, tokens_per_batch=tokens_per_batch)
        self._params, self._pad = jax.device_put(params), pad

    def __call__(self, rows: Sequence[EncodedTrace]) -> RowScores:
        """Scores of rows, in their order."""
        out = RowScores(np.zeros(len(rows), np.float32), np.zeros((len(rows), slots_of(rows)), np.float32))
        for members in long_apart([len(row.tokens) for row in rows]):
            part = [rows[i] for i in members]
            length, slots = max(len(row.tokens) for row in part), slots_of(part)
            for start in range(0, len(part), CHUNK):
                batch = one_per_row(part[start : start + CHUNK], pad=self._pad, length=length, slots=slots)
                scores, own = self._score(self._params, batch), members[start : start + CHUNK]
                out.trace[own], out.step[own, :slots] = scores.trace, scores.step
        return out


def step_scores(
    traces: Sequence[Parts], counts: Sequence[int], score: Callable[[list[EncodedTrace]], np.ndarray], join: np.ufunc
) -> list[np.ndarray]:
    """Scores of the steps of traces; a sequence that several traces share is scored once.

    Args:
        traces: What the reward reads of each trace.
        counts: The number of steps of each trace.
        score: Step scores [rows, steps] of sequences.
        join: How the scores of a step's windows become its score, beginning with 0: `np.add` or `np.minimum`.

    Returns:
        Float[steps] of each trace.
    """
    rows = {id(row): row for trace in traces for row, _ in trace}
    number, scores = dict(zip(rows, range(len(rows)), strict=True)), score(list(rows.values()))
    ends = np.cumsum(counts, dtype=int)
    places = [
        (number[id(row)], end - count + first, end)
        for trace, count, end in zip(traces, counts, ends.tolist(), strict=True)
        for row, first in trace
    ]
    source, start, end = np.array(places, int).reshape(-1, 3).T
    steps = np.zeros(sum(counts), np.float32)
    for slot in range(scores.shape[1]):
        own = start + slot < end
        with np.errstate(invalid="ignore", over="ignore"):  # callers refuse scores that are not finite
            join.at(steps, start[own] + slot, scores[source[own], slot])
    return np.split(steps, ends[:-1]) if len(ends) else []


def long_apart(lengths: Sequence[int]) -> list[np.ndarray]:
    """Indices of rows that become one array: short rows together, each long row alone, so that none is padded to it."""
    long = np.asarray(lengths, int) > LONG
    together = np.flatnonzero(~long)
    return ([together] if together.size else []) + [np.array([i]) for i in np.flatnonzero(long)]
