"""Scores of texts: the way from candidates as people have them to what a reward model says of them."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import jax
import numpy as np

from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace, one_per_row, slots_of
from irl.text.windows import HasStates, StepWindow, encode_windows, step_windows
from irl.types import InputError
from reward_models.aggregation import aggregate_steps
from reward_models.networks.attention import LONG
from reward_models.networks.base import Network, Params
from reward_models.scoring import make_score_fn


class TextScores(NamedTuple):
    """One entry per text, in the order given."""

    trace: np.ndarray
    """Float[texts]"""
    steps: list[list[float]]
    step_texts: list[tuple[str, ...]]


class TextScorer:
    """Scores (prompt, text) pairs; equal windows are scored once. A text without any step scores -inf.

    Every text pays, once, for ending where it ends; a text that is still being written (`ended` False) does not.

    With `states` every step is judged in its window (irl/text/windows.py) and the declared aggregate is taken
    here; without, whole traces go through the network.
    """

    def __init__(
        self,
        network: Network,
        params: Params,
        encoder: TextEncoder,
        split_steps: Callable[[str], tuple[str, ...]],
        *,
        states: HasStates | None = None,
        tokens_per_batch: int = 8_192,
    ):
        self._score = make_score_fn(network, tokens_per_batch=tokens_per_batch)
        self._params = jax.device_put(params)
        self._encoder = encoder
        self._split = split_steps
        self._states = states
        self.spec = network.spec

    def __call__(
        self,
        prompts: Sequence[str],
        texts: Sequence[str],
        ended: Sequence[bool] | None = None,
        names: Sequence[str] | None = None,
    ) -> TextScores:
        """Scores of texts, one per (prompt, text).

        Args:
            prompts: The prompt of each text.
            texts: Traces as texts.
            ended: Whether each text ends its trace; all do by default.
            names: How errors call each text; by its prompt and number by default.
        """
        ends = [True] * len(texts) if ended is None else ended
        split = {text: self._split(text) for text in dict.fromkeys(texts)}
        asked = list(zip(prompts, texts, ends, strict=True))
        traces = list(dict.fromkeys(asked))
        judged = iter(self._steps([(prompt, split[text], end) for prompt, text, end in traces if split[text]]))
        steps = {trace: next(judged) if split[trace[1]] else [] for trace in traces}
        rows = [steps[trace] for trace in asked]
        trace = _aggregate(rows, self.spec.aggregate)
        named = _names(prompts, texts) if names is None else names
        check_finite(named, [[*row, score] if row else [] for row, score in zip(rows, trace.tolist(), strict=True)])
        return TextScores(trace, rows, [split[text] for text in texts])

    def _steps(self, traces: Sequence[tuple[str, tuple[str, ...], bool]]) -> list[list[float]]:
        """Step scores of (prompt, steps, ended) that have steps."""
        if self._states is None:
            rows = self._encoder.many(*zip(*traces, strict=True)) if traces else []
            scores = self.score_rows(rows)
            return [scores[i, : len(steps)].tolist() for i, (_, steps, _) in enumerate(traces)]
        number: dict[StepWindow, int] = {}
        index = [
            [
                [number.setdefault(window, len(number)) for window in step]
                for step in step_windows(self._states, prompt, steps, ended=ended)
            ]
            for prompt, steps, ended in traces
        ]
        scores = self.score_rows(encode_windows(self._encoder, list(number)))[:, 0]
        return [[float(scores[ids].sum()) for ids in steps] for steps in index]

    def score_rows(self, rows: Sequence[EncodedTrace], chunk: int = 131_072) -> np.ndarray:
        """Step scores [rows, steps] of encoded rows; `chunk` of them are held as arrays at a time."""
        out = np.zeros((len(rows), slots_of(rows)), np.float32)
        for members in long_apart([len(row.tokens) for row in rows]):
            part = [rows[i] for i in members]
            length, slots = max(len(row.tokens) for row in part), slots_of(part)
            for start in range(0, len(part), chunk):
                batch = one_per_row(part[start : start + chunk], pad=self._encoder.pad, length=length, slots=slots)
                step = self._score(self._params, batch).step
                out[members[start : start + chunk], : step.shape[1]] = step
        return out


def long_apart(lengths: Sequence[int]) -> list[np.ndarray]:
    """Indices of rows that become one array: short rows together, each long row alone, so that none is padded to it."""
    long = np.asarray(lengths, int) > LONG
    together = np.flatnonzero(~long)
    return ([together] if together.size else []) + [np.array([i]) for i in np.flatnonzero(long)]


def check_finite(names: Iterable[str], scores: Sequence[Sequence[float]]) -> None:
    """InputError that names the first text with a score that is not a finite number."""
    for name, row in zip(names, scores, strict=True):
        bad = next((score for score in row if not math.isfinite(score)), None)
        if bad is not None:
            advice = "the model overflows: score in float32, or take an earlier checkpoint"
            raise InputError(f"{name}: the score is {bad}, not a finite number; {advice}")


def _names(prompts: Sequence[str], texts: Sequence[str]) -> Iterator[str]:
    """What errors call each text: its prompt and its number among the texts of this prompt."""
    count: dict[str, int] = {}
    for prompt, text in zip(prompts, texts, strict=True):
        number = count[prompt] = count.get(prompt, -1) + 1
        yield f"prompt {prompt[:40]!r}, candidate {number} ({text[:40]!r})"


def _aggregate(rows: Sequence[list[float]], how: str) -> np.ndarray:
    """Trace scores of ragged step scores, -inf where there is no step."""
    most = max(map(len, rows), default=0)
    step = np.zeros((len(rows), max(most, 1)), np.float32)
    mask = np.zeros(step.shape, bool)
    for i, row in enumerate(rows):
        step[i, : len(row)] = row
        mask[i, : len(row)] = True
    trace = np.asarray(aggregate_steps(step, mask, how), np.float64)
    return np.where(mask.any(1), trace, -np.inf)
