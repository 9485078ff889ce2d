"""Samples of a policy as texts, drawn once and kept in the run folder."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from experiments.core.workspace import Workspace
from irl.policies.base import FittedPolicy, Samples
from irl.policies.rollouts import draw_samples
from irl.policies.truncation import ALL_TOKENS, Truncation
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
    workspace: Workspace,
    policy: FittedPolicy,
    problems: Sequence[Problem],
    n: int,
    name: str,
    *,
    temperature: float = 1.0,
    truncation: Truncation = ALL_TOKENS,
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
        key, encoder = workspace.key(f"samples {name}"), workspace.encoder
        drawn = draw_samples(policy, encoder, problems, n, key, temperature=temperature, truncation=truncation)
        small = np.uint16 if policy.model.network.vocab_size < 2**16 else np.uint32
        saved = _draw(workspace, name, size, drawn, small)
    texts = texts_of_samples(workspace.encoder, saved["tokens"], saved["length"])
    return TextSamples(texts, saved["log_prob"], saved["length"], saved["ended"])


def texts_of_samples(encoder: TextEncoder, tokens: np.ndarray, length: np.ndarray) -> list[list[str]]:
    """The texts of samples [problems, n, time], each cut at its end."""
    return [
        encoder.decode_many([row[:count] for row, count in zip(rows.tolist(), counts, strict=True)])
        for rows, counts in zip(tokens, length.tolist(), strict=True)
    ]


def _draw(
    workspace: Workspace, name: str, size: tuple[int, int], drawn: Iterator[Samples], small: type
) -> dict[str, np.ndarray]:
    """The samples as arrays, which are kept; `small` is the type of token ids."""
    path, parts = workspace.folder / f"samples/{name}.npz", []
    begun, tokens = time.perf_counter(), 0
    with workspace.progress(f"{name}: {size[0]} x {size[1]} samples", size[0]) as advance:
        for part in drawn:
            parts.append(part)
            tokens += int(part.length.sum())
            advance(len(part.length))
    joined = jax.tree.map(lambda *xs: np.concatenate(xs), *parts)
    note = "compilation included; bounded by reading the key/value cache and by small matrix products"
    workspace.measured(f"sampling, {name}", tokens, time.perf_counter() - begun, note)
    path.parent.mkdir(parents=True, exist_ok=True)
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
