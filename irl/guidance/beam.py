"""Step beam search: a learned reward chooses, after every step, which partial traces go on.

At each depth every beam of a problem is continued by `expansions` samples of one more step, equal
continuations are merged, and the `width` best by score stay (Yao et al. 2023, arXiv 2305.10601, with a learned
reward in place of a prompted value). All beams of all problems are sampled and scored in one batch per depth.
Differences from the paper: (1) continuations are sampled from the policy, not listed by a prompt; (2) finished
traces keep their place in the beam and compete with unfinished ones by the same aggregate of step scores.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np

from irl.policies.base import FittedPolicy
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from reward_models.ranges import Few, Scale, Size
from reward_models.records import record

ScoreRows = Callable[[Sequence[str], Sequence[EncodedTrace]], np.ndarray]
"""Prompts and encoded traces, finished or not -> their trace scores."""


class Beam(NamedTuple):
    """A trace, finished where its last token is the end token."""

    row: EncodedTrace
    score: float
    finished: bool


class Cost(NamedTuple):
    sampled_tokens: int
    scored_traces: int


@record
class BeamSettings:
    width: Size = 5
    expansions: Size = 24
    max_steps: Few = 6
    max_step_tokens: Size = 40
    temperature: Scale = 1.0


def step_beam_search(
    policy: FittedPolicy,
    score: ScoreRows,
    encoder: TextEncoder,
    prompts: Sequence[str],
    key: jax.Array,
    settings: BeamSettings,
) -> tuple[list[list[Beam]], Cost]:
    """The `width` best traces of each prompt, best first, and what they cost."""
    beams = [[_opening(encoder, prompt)] for prompt in prompts]
    tokens = scored = 0
    for depth in range(settings.max_steps):
        open_beams = [(p, beam) for p, group in enumerate(beams) for beam in group if not beam.finished]
        if not open_beams:
            break
        grown, used = _expand(policy, encoder, open_beams, jax.random.fold_in(key, depth), settings, len(prompts))
        asked = [prompts[p] for p, _, _ in grown]
        scores = score(asked, [row for _, row, _ in grown]) if grown else np.zeros(0)
        tokens, scored = tokens + used, scored + len(grown)
        pool: list[list[Beam]] = [[beam for beam in group if beam.finished] for group in beams]
        for (p, row, finished), value in zip(grown, scores, strict=True):
            pool[p].append(Beam(row, float(value), finished))
        beams = [sorted(group, key=lambda b: -b.score)[: settings.width] for group in pool]
    return beams, Cost(tokens, scored)


def _opening(encoder: TextEncoder, prompt: str) -> Beam:
    ids = encoder.prompt(prompt)
    return Beam(EncodedTrace(ids, [-1] * len(ids)), 0.0, False)


def _expand(policy: FittedPolicy, encoder: TextEncoder, beams, key, settings: BeamSettings, problems: int):
    """Distinct one-step continuations (problem, row, finished) of open beams, and the tokens they took."""
    model, params = policy
    capacity = problems * settings.width  # one shape for every depth: one compilation
    prefixes = np.zeros((capacity, encoder.max_length), np.int32)
    lengths = np.full(capacity, 1, np.int32)
    for i, (_, beam) in enumerate(beams):
        lengths[i] = len(beam.row.tokens)
        prefixes[i, : lengths[i]] = beam.row.tokens
    drawn = jax.device_get(
        model.sample(
            params,
            key,
            prefixes,
            lengths,
            n=settings.expansions,
            slots=settings.expansions,
            max_new=settings.max_step_tokens,
            stop=encoder.stops,
            vocabulary=encoder.vocab_size,
            temperature=settings.temperature,
        )
    )
    seen: set[tuple[int, tuple[int, ...]]] = set()
    grown = []
    for i, (problem, beam) in enumerate(beams):
        for j in range(settings.expansions):
            new = drawn.tokens[i, j, : drawn.length[i, j]].tolist()
            row = _append(beam.row, new)
            identity = (problem, tuple(row.tokens))
            if drawn.ended[i, j] and identity not in seen and len(row.tokens) <= encoder.max_length:
                seen.add(identity)
                grown.append((problem, row, new[-1] == encoder.end))
    return grown, int(drawn.length[: len(beams)].sum())


def _append(row: EncodedTrace, new: list[int]) -> EncodedTrace:
    return EncodedTrace(row.tokens + new, row.step_id + [max(row.step_id) + 1] * len(new))
