"""The sizes of a run on traces of any domain, scaled to the traces: limits on lengths, vocabulary, decoder."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from irl.domains.base import HasDemonstrations
from irl.text.encoder import TextEncoder
from irl.types import Trace
from reward_models.networks.decoder import DecoderConfig
from reward_models.ranges import Count, CountOrZero, Few, Rows, Size, Tokens
from reward_models.records import record

FITTING = 0.99
"""The share of the training traces that the limits on lengths admit, where no limit is given."""
CONTEXT = 1024
"""The longest trace that is admitted where no limit is given: time grows with the square of the length."""


@record
class Sizes:
    """Sizes that the user sets; None: scaled to the traces and to the time."""

    max_length: Tokens | None = None
    """Tokens of a trace, prompt included."""
    max_response: Tokens | None = None
    """Tokens of a sampled response."""
    max_steps: Few | None = None
    max_step_tokens: Size | None = None
    """Tokens of a step in the search."""
    network: DecoderConfig | None = None
    """The decoder of the policy and of the reward."""
    policy_steps: Count | None = None
    """Training steps of the policy."""
    reward_steps: Count | None = None
    """Training steps of each member of the reward."""
    label_steps: Count | None = None
    """Training steps of the outcome model."""
    improvement_steps: CountOrZero | None = None
    """Training steps of the policy on the reward; 0: none."""
    search_problems: CountOrZero | None = None
    """Test problems of the search; 0: none."""
    samples: Rows | None = None
    """Samples of a test problem."""
    problems: Rows | None = None
    """Test problems that are sampled."""


class Lengths(NamedTuple):
    """What was measured of the training traces, with the tokenizer of the run; quantiles at `FITTING`."""

    tokens: int
    """Of all whole traces together."""
    prompt: int
    response: int
    steps: int
    step: int
    """Tokens of a step."""
    mean_trace: float
    mean_response: float
    mean_steps: float


class Limits(NamedTuple):
    """Tokens and steps of a trace, of its response and of a step."""

    max_length: int
    max_response: int
    max_steps: int
    max_step_tokens: int


def vocabulary(domain: HasDemonstrations) -> int:
    """Tokens for byte pairs: more where there is more text to learn them from."""
    characters = sum(len(trace.prompt) + len(trace.text) for trace in domain.demonstrations("train"))
    return 384 if characters < 20_000 else 512 if characters < 200_000 else 1024


def lengths(encoder: TextEncoder, traces: Sequence[Trace]) -> Lengths:
    """The lengths of traces in tokens and steps, whatever the limits of the encoder."""
    rows = encoder.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])
    whole = np.array([len(row.tokens) for row in rows])
    prompts = np.array([row.step_id.index(0) for row in rows])
    steps = np.array([max(row.step_id) + 1 for row in rows])
    of_steps = np.concatenate([np.bincount(np.asarray(row.step_id[p:])) for row, p in zip(rows, prompts, strict=True)])
    return Lengths(
        tokens=int(whole.sum()),
        prompt=_quantile(prompts),
        response=_quantile(whole - prompts),
        steps=_quantile(steps),
        step=_quantile(of_steps),
        mean_trace=float(whole.mean()),
        mean_response=float((whole - prompts).mean()),
        mean_steps=float(steps.mean()),
    )


def limits(measured: Lengths, sizes: Sizes) -> Limits:
    """Limits that admit most traces, and samples a little longer than these; multiples of 16 tokens and 4 steps."""
    response = sizes.max_response or _up(measured.response * 1.1, 16)
    length = sizes.max_length or min(_up(measured.prompt + response, 16), CONTEXT)
    return Limits(
        max_length=length,
        max_response=min(response, max(length - measured.prompt, length // 2)),
        max_steps=sizes.max_steps or min(_up(measured.steps * 1.25, 4), 1000),
        max_step_tokens=sizes.max_step_tokens or min(_up(measured.step * 1.1, 8), response),
    )


def decoder(tokens: int, vocab_size: int) -> DecoderConfig:
    """A decoder that so many training tokens can teach something in some minutes on a CPU: .1 to .8M parameters."""
    layers, dim = (2, 64) if tokens < 100_000 else (3, 96) if tokens < 1_000_000 else (3, 128)
    return DecoderConfig(
        vocab_size=vocab_size,
        num_layers=layers,
        dim=dim,
        num_heads=4,
        num_kv_heads=1,
        head_dim=dim // 4,
        hidden_dim=8 * dim // 3 // 8 * 8,
    )


def _quantile(values: np.ndarray) -> int:
    return int(np.quantile(values, FITTING, method="higher"))


def _up(value: float, unit: int) -> int:
    """The next multiple of a unit."""
    return -int(-value // unit) * unit
