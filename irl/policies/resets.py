"""Expert-prefix resets: let a policy finish a step that an expert began.

Text is a deterministic world, so any prefix of a demonstration is a legal start. What the policy writes there
instead of the expert is a minimal pair: same prompt, same steps before, same beginning of the step. These are
the negatives that teach a critic what a policy gets wrong, without anybody saying what is right.
"""

from collections.abc import Sequence

import jax
import numpy as np

from irl.policies.base import FittedPolicy
from irl.policies.rollouts import sample_steps
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace


def choose_cuts(rows: Sequence[EncodedTrace], rng: np.random.Generator, *, least: float = 0.5) -> np.ndarray:
    """Int[rows]: where to cut each row: inside a random step, after at least `least` of its tokens."""
    cuts = np.empty(len(rows), np.int32)
    for i, row in enumerate(rows):
        step_id = np.asarray(row.step_id)
        step = rng.integers(step_id.max() + 1)
        positions = np.flatnonzero(step_id == step)
        first = min(int(np.ceil(least * len(positions))), len(positions) - 1)
        cuts[i] = positions[rng.integers(first, len(positions))]
    return cuts


def finish_steps(
    policy: FittedPolicy,
    encoder: TextEncoder,
    rows: Sequence[EncodedTrace],
    cuts: np.ndarray,
    key: jax.Array,
    *,
    temperature: float = 1.0,
    rows_per_batch: int = 512,
    max_new: int = 40,
) -> list[EncodedTrace]:
    """Each row up to its cut, then the policy's tokens up to the end of the step.

    A row comes back unchanged (cut after its step) when the policy agrees with the expert; a continuation
    that never ends its step is left as it is.
    """
    finished: list[EncodedTrace] = []
    for number, start in enumerate(range(0, len(rows), rows_per_batch)):
        part, ends = rows[start : start + rows_per_batch], cuts[start : start + rows_per_batch].tolist()
        drawn = sample_steps(
            policy,
            encoder,
            [row.tokens[:cut] for row, cut in zip(part, ends, strict=True)],
            1,
            jax.random.fold_in(key, number),
            rows=rows_per_batch,
            max_new=max_new,
            temperature=temperature,
        )
        for row, cut, tokens, length in zip(part, ends, drawn.tokens[:, 0], drawn.length[:, 0], strict=True):
            new = tokens[:length].tolist()
            step_id = row.step_id[:cut] + [row.step_id[cut]] * len(new)
            finished.append(EncodedTrace(row.tokens[:cut] + new, step_id))
    return finished
