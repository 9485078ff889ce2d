"""From samples, which are token ids, to trace batches on the device: no text on the way."""

from collections.abc import Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Int

from irl.policies.base import Samples
from reward_models.types import TraceBatch


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
