"""Score any number of traces with a handful of compiled programs.

Rows are sorted by length, cut to the smallest bucket that holds them and scored in batches of one size, so
nothing compiles twice and little is computed on padding. Where many rows have one long prompt, it is computed once
for all of them. A score does not depend on the company it is in.
"""

from collections.abc import Callable, Iterator, Sequence

import jax
import numpy as np

from reward_models.networks.base import Network, Params
from reward_models.types import Scores, TraceBatch

BUCKETS = (32, 48, 64, 80, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Lengths in tokens; longer rows are scored at the next multiple of the last."""


SHARED_ROWS, SHARED_TOKENS = 4, 32
"""A prompt of so many tokens, in front of so many rows, may be computed apart, where that saves half a batch: each
length of a prompt compiles programs of its own."""


def make_score_fn(
    network: Network, *, tokens_per_batch: int = 32_768, buckets: Sequence[int] = BUCKETS
) -> Callable[[Params, TraceBatch], Scores]:
    """(params, right-padded numpy traces of any number, one a row) -> numpy scores in the same order."""
    apply = jax.jit(network.apply)

    def score(params: Params, traces: TraceBatch) -> Scores:
        length = (np.asarray(traces.segment) > 0).sum(axis=1)
        count, width = traces.tokens.shape
        out = Scores(
            trace=np.zeros(count, np.float32),
            step=np.zeros(traces.step_mask.shape, np.float32),
            token=np.zeros((count, width), np.float32),
        )
        for members, skip in _groups(traces, network.sees_prefix & (length <= buckets[-1]), tokens_per_batch // 2):
            prefix = _prefix(traces.tokens[members[0], :skip], buckets) if skip else None
            for chosen, bucket, size in _batches(length[members] - skip, tokens_per_batch, buckets):
                rows, visible = members[chosen], min(bucket, width - skip)
                part = jax.device_get(apply(params, _cut(traces, rows, skip, bucket, size)._replace(prefix=prefix)))
                keep = len(rows)
                out.trace[rows] = part.trace[:keep]
                out.step[rows] = part.step[:keep]
                out.token[rows, skip : skip + visible] = part.token[:keep, :visible]
        return out

    return score


def _groups(traces: TraceBatch, share: np.ndarray, saving: int) -> Iterator[tuple[np.ndarray, int]]:
    """(row numbers, tokens in front that they share and that are computed apart): every row comes once.

    Only rows that `share` allows may share a prompt: a product with a prefix needs memory for every token of a row with
    every token of the prefix. The last token of a shared prompt stays with the rows, whose first response token is
    judged from there.
    """
    response = traces.step_id >= 0
    opening = np.where(response.any(1), response.argmax(1), 0)
    same: dict[bytes, list[int]] = {}
    for row in np.flatnonzero(share & (opening > SHARED_TOKENS)):
        same.setdefault(traces.tokens[row, : opening[row]].tobytes(), []).append(int(row))
    alone = np.ones(len(opening), bool)
    for rows in same.values():
        if len(rows) >= SHARED_ROWS and (len(rows) - 1) * int(opening[rows[0]]) >= saving:
            alone[rows] = False
            yield np.array(rows), int(opening[rows[0]]) - 1
    if alone.any():
        yield np.flatnonzero(alone), 0


def _prefix(tokens: np.ndarray, buckets: Sequence[int]) -> np.ndarray:
    """The tokens behind as much padding as fills their bucket."""
    bucket = int(_limits(np.array([len(tokens)]), buckets)[0])
    return np.concatenate([np.full(bucket - len(tokens), -1, np.int32), tokens])


def _limits(length: np.ndarray, buckets: Sequence[int]) -> np.ndarray:
    last = buckets[-1]
    return np.array([next((b for b in buckets if b >= n), -(-n // last) * last) for n in length], int)


def _batches(length: np.ndarray, tokens_per_batch: int, buckets: Sequence[int]):
    """(row numbers, bucket, rows of the batch): batches are full, or an eighth of that for the last few rows."""
    limits = _limits(length, buckets)
    for bucket in np.unique(limits):
        rows = np.flatnonzero(limits == bucket)
        full = max(tokens_per_batch // int(bucket), 1)
        small = max(full // 8, 1)
        start = 0
        while start < len(rows):
            size = full if len(rows) - start > 2 * small else small
            yield rows[start : start + size], int(bucket), size
            start += size


def _cut(traces: TraceBatch, rows: np.ndarray, skip: int, bucket: int, size: int) -> TraceBatch:
    """The rows after `skip` tokens at the bucket's width, filled up to `size` with rows of padding."""

    def fit(array, fill, resize):
        part = array[rows, skip : skip + bucket] if resize else array[rows]
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
