"""From token scores to step scores to a trace score."""

from collections.abc import Sequence
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from reward_models.types import Aggregate, Array

AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)


ONE_HOT = 1 << 23
"""Entries of the largest [time, steps] array that a row may need; up to there a product with it is the fastest sum."""


def sum_by_step(
    token: Float[Array, "batch time"], step_id: Int[Array, "batch time"], num_steps: int
) -> Float[Array, "batch steps"]:
    """Sum the token scores of each step; tokens with `step_id == -1` count nowhere."""
    if step_id.shape[1] * num_steps > ONE_HOT:
        return jax.vmap(lambda t, s: jax.ops.segment_sum(t, s, num_segments=num_steps))(
            jnp.where(step_id >= 0, token, 0), jnp.maximum(step_id, 0)
        )
    one_hot = jax.nn.one_hot(step_id, num_steps, dtype=token.dtype)
    return jnp.einsum("bt,bts->bs", token, one_hot)


def aggregate_steps(
    step: Float[Array, "batch steps"], mask: Bool[Array, "batch steps"], how: str
) -> Float[Array, " batch"]:
    """Trace score of step scores.

    `prod` multiplies; feed it probabilities (a sum of log-probabilities ranks the same and does not underflow).
    A trace without steps scores 0 (`prod`: 1).
    """
    match how:
        case "sum":
            return jnp.sum(step, axis=-1, where=mask)
        case "mean":
            return jnp.sum(step, axis=-1, where=mask) / jnp.maximum(mask.sum(-1), 1)
        case "min":
            lowest = jnp.min(jnp.where(mask, step, jnp.inf), axis=-1)
            return jnp.where(mask.any(-1), lowest, 0.0)
        case "prod":
            return jnp.prod(jnp.where(mask, step, 1.0), axis=-1)
        case "last":
            last = jnp.maximum(mask.shape[-1] - 1 - jnp.argmax(mask[:, ::-1], axis=-1), 0)
            picked = jnp.take_along_axis(step, last[:, None], axis=-1)[:, 0]
            return jnp.where(mask.any(-1), picked, 0.0)
        case _:
            raise ValueError(f"unknown aggregate {how!r}; expected one of {', '.join(AGGREGATES)}")


def aggregate_rows(rows: Sequence[Sequence[float] | np.ndarray], how: str) -> np.ndarray:
    """Trace scores of the step scores of traces of any length, -inf where there is no step."""
    step = np.zeros((len(rows), max(map(len, rows), default=0) or 1), np.float32)
    mask = np.zeros(step.shape, bool)
    for i, row in enumerate(rows):
        step[i, : len(row)] = row
        mask[i, : len(row)] = True
    return np.where(mask.any(1), np.asarray(aggregate_steps(step, mask, how), np.float64), -np.inf)
