"""Samples of whole traces, and trace batches of samples on the device: no text on the way."""

import itertools
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int

from irl.policies.base import FittedPolicy, Samples, Sampling
from irl.policies.truncation import ALL_TOKENS, Truncation
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from irl.types import Problem
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import TraceBatch

ROWS_AT_ONCE = 512
"""Sampled rows in flight, at most: the caches of a small decoder should fit the processor's own cache."""
CACHE_BYTES = 2**31
"""Memory for the caches of all rows in flight."""


def rows_at_once(config: DecoderConfig, columns: int) -> int:
    """The number of rows that a decoder samples together, each with so many tokens in its cache."""
    size = 4 if config.dtype == "float32" else 2
    row = 2 * size * config.num_layers * config.num_kv_heads * config.head_dim * columns
    return max(min(ROWS_AT_ONCE, CACHE_BYTES // row), 1)


def draw_samples(
    policy: FittedPolicy,
    encoder: TextEncoder,
    problems: Sequence[Problem],
    n: int,
    key: jax.Array,
    *,
    temperature: float = 1.0,
    truncation: Truncation = ALL_TOKENS,
) -> Iterator[Samples]:
    """`n` samples of each problem as NumPy arrays, some problems at a time, in one shape."""
    prompts, lengths = pad_prompts([encoder.prompt(problem.prompt) for problem in problems])
    rows_together = rows_at_once(policy.model.network, encoder.most_response)
    together = max(min(rows_together // min(n, 50), len(problems)), 1)
    slots = min(n, rows_together // together)
    sampling = Sampling(n, slots, encoder.most_response, (encoder.end,), encoder.vocab_size, truncation)
    for start in range(0, len(problems), together):
        rows = np.arange(start, start + together) % len(problems)  # the last batch wraps: one shape
        drawn = policy.model.sample(
            policy.params,
            jax.random.fold_in(key, start),
            prompts[rows],
            lengths[rows],
            sampling,
            temperature,
        )
        keep = min(together, len(problems) - start)
        yield jax.tree.map(lambda x, keep=keep: np.asarray(x)[:keep], drawn)


def sample_rows(
    policy: FittedPolicy,
    encoder: TextEncoder,
    problems: Sequence[Problem],
    n: int,
    key: jax.Array,
    *,
    temperature: float = 1.0,
    truncation: Truncation = ALL_TOKENS,
) -> list[EncodedTrace]:
    """`n` consecutive encoded samples of each problem; a sample that ends too late has no end token."""
    heads, ends = [encoder.prompt(problem.prompt) for problem in problems], set(encoder.step_ends)
    responses = (
        tokens[:length].tolist()
        for part in draw_samples(policy, encoder, problems, n, key, temperature=temperature, truncation=truncation)
        for samples, lengths in zip(part.tokens, part.length, strict=True)
        for tokens, length in zip(samples, lengths, strict=True)
    )
    rows = []
    for number, response in enumerate(responses):
        head = heads[number // n]
        response = response[: encoder.max_length - len(head)]
        steps = itertools.accumulate((token in ends for token in response[:-1]), initial=0)
        rows.append(EncodedTrace(head + response, [-1] * len(head) + list(steps)))
    return rows


def sample_steps(
    policy: FittedPolicy,
    encoder: TextEncoder,
    prefixes: Sequence[list[int]],
    n: int,
    key: jax.Array,
    *,
    rows: int,
    max_new: int,
    temperature: float,
    truncation: Truncation = ALL_TOKENS,
) -> Samples:
    """`n` samples of the next step after each prefix, as NumPy arrays.

    Prefixes are filled up to a number of `rows`, so that one program serves any number of them.
    """
    tokens, lengths = np.zeros((rows, encoder.max_length), np.int32), np.ones(rows, np.int32)
    for i, prefix in enumerate(prefixes):
        lengths[i] = len(prefix)
        tokens[i, : len(prefix)] = prefix
    sampling = Sampling(n, n, max_new, encoder.stops, encoder.vocab_size, truncation)
    drawn = policy.model.sample(policy.params, key, tokens, lengths, sampling, temperature)
    return jax.tree.map(lambda leaf: leaf[: len(prefixes)], jax.device_get(drawn))


def pad_prompts(prompts: Sequence[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Right-padded ids [prompts, time] and lengths."""
    lengths = np.array([len(ids) for ids in prompts], np.int32)
    padded = np.zeros((len(prompts), int(lengths.max())), np.int32)
    for row, ids in zip(padded, prompts, strict=True):
        row[: len(ids)] = ids
    return padded, lengths


def traces_of_samples(
    prompts: Int[ArrayLike, "prompts prompt_time"],
    prompt_length: Int[ArrayLike, " prompts"],
    samples: Samples,
    newline: Bool[Array, " vocab"],
    *,
    max_steps: int,
) -> TraceBatch:
    """Rows [prompts * n] exactly as the encoder would write them: a step ends with a newline token.

    `newline` marks the token ids that end a step. Steps beyond `max_steps` share the last id.
    """
    count, n, max_new = samples.tokens.shape
    prompts, prompt_length = (jnp.repeat(jnp.asarray(x), n, axis=0) for x in (prompts, prompt_length))
    tokens, length = samples.tokens.reshape(-1, max_new), samples.length.reshape(-1)
    width = prompts.shape[1] + max_new
    time = jnp.arange(width)
    offset = time[None] - prompt_length[:, None]
    in_prompt, in_response = offset < 0, (offset >= 0) & (offset < length[:, None])
    from_prompt = jnp.pad(prompts, ((0, 0), (0, max_new)))
    from_sample = jnp.take_along_axis(tokens, jnp.clip(offset, 0, max_new - 1), axis=1)
    joined = jnp.where(in_prompt, from_prompt, jnp.where(in_response, from_sample, 0))
    ended = jnp.cumsum(newline[joined] & in_response, axis=1)
    before = jnp.pad(ended[:, :-1], ((0, 0), (1, 0)))
    step_id = jnp.where(in_response, jnp.minimum(before, max_steps - 1), -1)
    step_mask = jnp.arange(max_steps) <= jnp.max(step_id, axis=1, keepdims=True)
    segment = (in_prompt | in_response).astype(jnp.int32)
    return TraceBatch(
        tokens=joined,
        segment=segment,
        position=jnp.where(segment > 0, time, 0),
        step_id=step_id,
        step_mask=step_mask,
        prompt_id=jnp.repeat(jnp.arange(count), n),
    )


def token_mask(vocab_size: int, tokens: Sequence[int]) -> Bool[Array, " vocab"]:
    """Some tokens as a mask over the vocabulary."""
    return jnp.zeros(vocab_size, bool).at[jnp.array(tokens, jnp.int32)].set(True)
