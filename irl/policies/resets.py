"""Expert-prefix resets: let a policy finish a step that an expert began.

Text is a deterministic world, so any prefix of a demonstration is a legal start. What the policy writes there
instead of the expert is a minimal pair: same prompt, same steps before, same beginning of the step. These are
the negatives that teach a critic what a policy gets wrong, without anybody saying what is right.
"""

from collections.abc import Sequence

import jax
import numpy as np

from irl.policies.base import FittedPolicy
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
    model, params = policy
    finished: list[EncodedTrace] = []
    for number, start in enumerate(range(0, len(rows), rows_per_batch)):
        part = rows[start : start + rows_per_batch]
        prompts = np.zeros((rows_per_batch, encoder.max_length), np.int32)
        lengths = np.ones(rows_per_batch, np.int32)
        for i, row in enumerate(part):
            lengths[i] = cuts[start + i]
            prompts[i, : lengths[i]] = row.tokens[: lengths[i]]
        drawn = jax.device_get(
            model.sample(
                params,
                jax.random.fold_in(key, number),
                prompts,
                lengths,
                n=1,
                slots=1,
                max_new=max_new,
                stop=encoder.stops,
                vocabulary=encoder.vocab_size,
                temperature=temperature,
            )
        )
        for i, row in enumerate(part):
            new = drawn.tokens[i, 0, : drawn.length[i, 0]].tolist()
            step = row.step_id[lengths[i]]
            head = row.step_id[: lengths[i]]
            finished.append(EncodedTrace(row.tokens[: lengths[i]] + new, head + [step] * len(new)))
    return finished
