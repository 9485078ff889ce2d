"""Arrays that reward models read and write.

Legend of dimension names, used in every signature of this project:

    batch   rows: one encoded trace each (prompt + response)
    time    token positions of a row
    steps   reasoning steps of a trace; step `s` owns the tokens with `step_id == s`
    vocab   token ids
    dim     width of the residual stream
    heads, kv_heads, head_dim    query heads, key/value heads, width of a head
    members members of an ensemble

Everything here is a NamedTuple of arrays, so it is a pytree: it can be jitted, vmapped, sharded and saved
without being registered. No label of correctness is ever part of a `TraceBatch`; an algorithm that is given
only trace batches cannot see a verifier. Labels travel in `LabelledBatch`.
"""

from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

if TYPE_CHECKING:
    from typing import Any as Array
else:  # batches are built on the host as numpy arrays and become JAX arrays on the way to a device
    Array = jax.Array | np.ndarray

Information = Literal[
    "demonstrations",
    "demonstrations + final answers",
    "outcome labels",
    "step labels",
    "preferences",
    "none",
]
"""What a score was allowed to learn from, weakest supervision first; printed beside every number it earns."""
INFORMATION_LEVELS: tuple[Information, ...] = get_args(Information)
Kind = Literal["reward", "advantage", "value"]
"""What the score of a step is."""
Aggregate = Literal["last", "min", "prod", "mean", "sum"]
"""How a trace score follows from step scores (see aggregation.py)."""


class TraceBatch(NamedTuple):
    """Encoded traces. Padding may stand on either side; it is whatever has `segment == 0`."""

    tokens: Int[Array, "batch time"]
    segment: Int[Array, "batch time"]
    """0 is padding; equal positive numbers may attend to each other (several per row when rows are packed)."""
    position: Int[Array, "batch time"]
    """Position inside the segment, from 0: what rotary embeddings see, so padding side does not matter."""
    step_id: Int[Array, "batch time"]
    """The step a response token belongs to, -1 for prompt and padding. The end token belongs to the last step."""
    step_mask: Bool[Array, "batch steps"]
    """Which of the statically shaped steps exist."""
    prompt_id: Int[Array, " batch"]
    """Rows with equal prompt_id answer the same prompt: scores are comparable only inside such a group."""
    prefix: Int[Array, " prefix"] | None = None
    """Tokens that stand before every row, at positions from 0, computed once for all rows; the `position` of the rows
    goes on from there. Ids below 0, in front only, are padding. None of it is scored."""
    after: Int[Array, "batch time"] | None = None
    """An earlier segment of the row that a token sees as well, 0 for none: what several responses have in common is
    computed once, and their `position` goes on from there. For networks that understand a prefix."""

    @property
    def response(self):
        """Bool[batch time]: the tokens that are scored (response and end token)."""
        return self.step_id >= 0


class PairBatch(NamedTuple):
    """Row i of `chosen` is preferred to row i of `rejected`, for the same prompt."""

    chosen: TraceBatch
    rejected: TraceBatch
    weight: Float[Array, " batch"]


class PackedPairBatch(NamedTuple):
    """Pairs whose sequences share rows: every sequence is one step of its row, and row * steps + step names it."""

    traces: TraceBatch
    chosen: Int[Array, " pairs"]
    rejected: Int[Array, " pairs"]
    weight: Float[Array, " pairs"]
    """0 where a batch has fewer pairs than it could hold."""
    margin: Float[Array, " pairs"]


class LabelledBatch(NamedTuple):
    """Traces with labels: given only to algorithms whose information level says so. NaN means unknown."""

    traces: TraceBatch
    outcome: Float[Array, " batch"]
    step_label: Float[Array, "batch steps"]


class Scores(NamedTuple):
    """What a network says of a batch. Only differences inside a prompt mean anything for `trace`."""

    trace: Float[Array, " batch"]
    step: Float[Array, "batch steps"]
    """0 where `step_mask` is False."""
    token: Float[Array, "batch time"]
    """0 outside the response; the tokens of a step sum to its step score."""
    prefix_value: Float[Array, "batch time_plus_one"] | None = None


class ScoreSpec(NamedTuple):
    """How the scores of a network are to be read: static, saved in the model folder."""

    kind: Kind = "reward"
    aggregate: Aggregate = "sum"
    information: Information = "demonstrations"
