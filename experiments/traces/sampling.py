"""Samples of a policy as texts, drawn once and kept in the run folder."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from experiments.core.workspace import Workspace
from irl.policies.base import FittedPolicy
from irl.policies.rollouts import draw_samples
from irl.text.encoder import TextEncoder
from irl.types import Problem


class TextSamples(NamedTuple):
    """`n` samples of each problem, as text up to the end token."""

    texts: list[list[str]]
    log_prob: np.ndarray
    """Float[problems, n]: log pi of the whole trace, in nats."""
    length: np.ndarray
    """Int[problems, n]: tokens."""
    ended: np.ndarray


def sample_texts(
    workspace: Workspace, policy: FittedPolicy, problems: Sequence[Problem], n: int, name: str
) -> TextSamples:
    """Draw or read back `n` samples per problem; they are kept as samples/NAME.npz."""
    file, size = f"samples/{name}.npz", (len(problems), n)
    wanted = {
        "tokens": jax.ShapeDtypeStruct((*size, -1), np.int64),
        "length": jax.ShapeDtypeStruct(size, np.int64),
        "log_prob": jax.ShapeDtypeStruct(size, np.float64),
        "ended": jax.ShapeDtypeStruct(size, np.bool_),
    }
    saved = workspace.read_arrays(file, wanted)
    if saved is None:
        saved = _draw(workspace, policy, problems, n, name, workspace.folder / file)
    texts = texts_of_samples(workspace.encoder, saved["tokens"], saved["length"])
    return TextSamples(texts, saved["log_prob"], saved["length"], saved["ended"])


def texts_of_samples(encoder: TextEncoder, tokens: np.ndarray, length: np.ndarray) -> list[list[str]]:
    """The texts of samples [problems, n, time], each cut at its end."""
    return [
        encoder.decode_many([row[:count] for row, count in zip(rows.tolist(), counts, strict=True)])
        for rows, counts in zip(tokens, length.tolist(), strict=True)
    ]


def _draw(
    workspace: Workspace, policy: FittedPolicy, problems: Sequence[Problem], n: int, name: str, path
) -> dict[str, np.ndarray]:
    key = workspace.key(f"samples {name}")
    parts = []
    begun, tokens = time.perf_counter(), 0
    with workspace.progress(f"{name}: {len(problems)} x {n} samples", len(problems)) as advance:
        for part in draw_samples(policy, workspace.encoder, problems, n, key):
            parts.append(part)
            tokens += int(part.length.sum())
            advance(len(part.length))
    joined = jax.tree.map(lambda *xs: np.concatenate(xs), *parts)
    note = "compilation included; bounded by reading the key/value cache and by small matrix products"
    workspace.measured(f"sampling, {name}", tokens, time.perf_counter() - begun, note)
    path.parent.mkdir(parents=True, exist_ok=True)
    small = np.uint16 if policy.model.network.vocab_size < 2**16 else np.uint32
    new = path.with_suffix(".new.npz")
    arrays = {
        "tokens": joined.tokens.astype(small),
        "length": joined.length,
        "ended": joined.ended,
        "log_prob": np.asarray(joined.log_prob, np.float64).sum(-1),
    }
    np.savez_compressed(new, **arrays)
    new.replace(path)
    return arrays
