"""Score any number of traces with a handful of compiled programs.

Rows are sorted by length, cut to the smallest bucket that holds them and scored in batches of one size, so
nothing compiles twice and little is computed on padding. A score does not depend on the company it is in.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from reward_models.networks.base import Network, Params
from reward_models.types import Scores, TraceBatch

BUCKETS = (32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Lengths in tokens; longer rows are scored at the next multiple of the last."""


def make_score_fn(
    network: Network, *, tokens_per_batch: int = 32_768, buckets: Sequence[int] = BUCKETS
) -> Callable[[Params, TraceBatch], Scores]:
    """(params, right-padded numpy traces of any number) -> numpy scores in the same order."""
    apply = jax.jit(network.apply)

    def score(params: Params, traces: TraceBatch) -> Scores:
        length = (np.asarray(traces.segment) > 0).sum(axis=1)
        count, width = traces.tokens.shape
        out = Scores(
            trace=np.zeros(count, np.float32),
            step=np.zeros(traces.step_mask.shape, np.float32),
            token=np.zeros((count, width), np.float32),
        )
        for rows, bucket, size in _batches(length, tokens_per_batch, buckets):
            batch = _cut(traces, rows, bucket, size)
            part = jax.device_get(apply(params, batch))
            keep, visible = len(rows), min(bucket, width)
            out.trace[rows] = part.trace[:keep]
            out.step[rows] = part.step[:keep]
            out.token[rows, :visible] = part.token[:keep, :visible]
        return out

    return score


def _batches(length: np.ndarray, tokens_per_batch: int, buckets: Sequence[int]):
    """(row numbers, bucket, rows of the batch): batches are full, or an eighth of that for the last few rows."""
    last = buckets[-1]
    limits = np.array([next((b for b in buckets if b >= n), -(-n // last) * last) for n in length], int)
    for bucket in np.unique(limits):
        rows = np.flatnonzero(limits == bucket)
        full = max(tokens_per_batch // int(bucket), 1)
        small = max(full // 8, 1)
        start = 0
        while start < len(rows):
            size = full if len(rows) - start > 2 * small else small
            yield rows[start : start + size], int(bucket), size
            start += size


def _cut(traces: TraceBatch, rows: np.ndarray, bucket: int, size: int) -> TraceBatch:
    """The rows at the bucket's width, filled up to `size` with rows of padding."""

    def fit(array, fill, resize):
        part = array[rows, :bucket] if resize else array[rows]
        widths = [(0, size - len(rows))] + [(0, 0)] * (part.ndim - 1)
        if resize:
            widths[1] = (0, bucket - part.shape[1])
        return np.pad(part, widths, constant_values=fill)

    return TraceBatch(
        tokens=fit(traces.tokens, 0, True),
        segment=fit(traces.segment, 0, True),
        position=fit(traces.position, 0, True),
        step_id=fit(traces.step_id, -1, True),
        step_mask=fit(traces.step_mask, False, False),
        prompt_id=fit(traces.prompt_id, 0, False),
    )
