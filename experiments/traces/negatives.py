"""Negative examples: steps of the policy, and early ends, in states visited by the demonstrations.

Each negative is paired with an expert's step in the same context. *Resets*: the policy finishes a step that an expert
began. *Sampled*: steps of the policy's own traces on training problems, in states that a demonstration visits; half
of them are those with the highest reward (hard negatives). *Early ends*: an expert's step after which the trace ends,
although the demonstration continues. A step that was demonstrated is never a negative.
"""

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import jax
import numpy as np
from annotated_types import MinLen

from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import encode_traces
from experiments.traces.sampling import sample_texts
from irl.policies.base import FittedPolicy
from irl.policies.resets import choose_cuts, finish_steps
from irl.rewards.scoring import TextScorer
from irl.text.packing import EncodedTrace
from irl.text.windows import encode_windows
from irl.types import InputError, Trace
from reward_models.ranges import Rows, RowsOrZero, Scale, Share
from reward_models.records import record


class Pair(NamedTuple):
    """Two rows of one context, with the policy's log-probability of each step in its whole trace, in nats."""

    expert: EncodedTrace
    negative: EncodedTrace
    expert_log_prob: float = float("nan")
    negative_log_prob: float = float("nan")


@record
class Negatives:
    """Negative examples per round. Counts are of steps before those that agree with the expert are left out."""

    resets: RowsOrZero = 12_000
    """Steps begun by an expert and finished by the policy; 0: none."""
    temperatures: Annotated[tuple[Scale, ...], MinLen(1)] = (1.0, 1.5)
    begun: Share = 0.3
    """At least this share of the step's tokens is the expert's."""
    samples_per_problem: Rows = 8
    """Traces of the policy per training problem, drawn once."""
    sampled: RowsOrZero = 6_000
    """Steps of those traces, in demonstrated states."""
    hard: Share = 0.5
    """Share of the sampled steps that are the reward's highest-scored; the rest is drawn at random."""
    ends: RowsOrZero = 1_000
    """Steps of demonstrations that end the trace where the demonstration continues, or continue where it ends."""
    replay: bool = True
    """Keep the negatives of earlier rounds."""

    def __post_init__(self):
        if 0 < self.resets < len(self.temperatures):
            expected = f"0 or at least {len(self.temperatures)}, one for each temperature"
            raise InputError(f"Negatives.resets: expected {expected}, got {self.resets}")

    def sampled_pairs(self, workspace: Workspace, policy: FittedPolicy, rows: Sequence[EncodedTrace]) -> list[Pair]:
        """Undemonstrated steps of the policy's traces on training problems, each with an expert's step in its state."""
        if not self.sampled:
            return []
        problems = workspace.problems("train")
        samples = sample_texts(workspace, policy, problems, self.samples_per_problem, "negatives")
        split = workspace.environment.split_steps
        windows = dict.fromkeys(
            window
            for problem, texts in zip(problems, samples.texts, strict=True)
            for text in texts
            for step in workspace.windows.read(problem.prompt, split(text))
            for window in step
        )
        encoded = [row for row in encode_windows(workspace.encoder, list(windows)) if workspace.encoder.fits(row)]
        experts: dict[tuple[int, ...], list[EncodedTrace]] = {}
        for row in rows:
            experts.setdefault(context_of(row), []).append(row)
        demonstrated, rng = {tuple(row.tokens) for row in rows}, workspace.rng("peers")
        pairs = []
        for row in encoded:
            peers = experts.get(context_of(row))
            if peers and tuple(row.tokens) not in demonstrated:
                pairs.append(Pair(peers[rng.integers(len(peers))], row))
        return pairs

    def reset_pairs(
        self, workspace: Workspace, policy: FittedPolicy, traces: Sequence[Trace], rows, number: int
    ) -> list[Pair]:
        """The policy finishes steps of whole demonstrations; each is then put in the step's window."""
        if not self.resets:
            return []
        rng, demonstrated = workspace.rng(f"resets {number}"), {tuple(row.tokens) for row in rows}
        pairs: list[Pair] = []
        for index, temperature in enumerate(self.temperatures):
            picked = [traces[i] for i in rng.integers(len(traces), size=self.resets // len(self.temperatures))]
            whole = encode_traces(workspace, picked)
            cuts, key = choose_cuts(whole, rng, least=self.begun), workspace.key(f"resets {number} {index}")
            finished = finish_steps(policy, workspace.encoder, whole, cuts, key, temperature=temperature)
            pairs += _window_pairs(workspace, policy, picked, whole, finished, cuts)
        fits = workspace.encoder.fits
        return [
            p for p in pairs if tuple(p.negative.tokens) not in demonstrated and fits(p.negative) and fits(p.expert)
        ]

    def end_pairs(self, workspace: Workspace, policy: FittedPolicy, traces: Sequence[Trace], number: int) -> list[Pair]:
        """A demonstrated step that ends the trace where the demonstration does, against the same step otherwise.

        Ends that are too early and ends that are missing are both negatives. With early ends alone a critic learns
        that every end is bad, true ones included.
        """
        rng, encoder = workspace.rng(f"ends {number}"), workspace.encoder
        if not traces or not self.ends:
            return []
        picked = [traces[i] for i in rng.integers(len(traces), size=self.ends)]
        last = [int(rng.integers(len(trace.steps))) for trace in picked]
        begun = [[step.text for step in trace.steps[: k + 1]] for trace, k in zip(picked, last, strict=True)]
        ends = [k == len(trace.steps) - 1 for trace, k in zip(picked, last, strict=True)]
        sides, log_probs = [], []
        for ended in (ends, [not end for end in ends]):
            windows = [
                workspace.windows.read(trace.prompt, steps, ended=end)[-1][0]
                for trace, steps, end in zip(picked, begun, ended, strict=True)
            ]
            whole = encoder.many([trace.prompt for trace in picked], begun, ended)
            sides.append(encode_windows(encoder, windows))
            log_probs.append(step_log_prob(workspace, policy, whole, last))
        pairs = [Pair(*pair) for pair in zip(*sides, *map(np.ndarray.tolist, log_probs), strict=True)]
        distinct = {(tuple(pair.expert.tokens), tuple(pair.negative.tokens)): pair for pair in pairs}
        return [pair for pair in distinct.values() if encoder.fits(pair.expert) and encoder.fits(pair.negative)]

    def hard_pairs(self, workspace: Workspace, scorer: TextScorer, pool: Sequence[Pair], number: int) -> list[Pair]:
        """Sampled steps: those the reward scores highest, and random others."""
        if not pool:
            return []
        rng, count = workspace.rng(f"hard {number}"), min(self.sampled, len(pool))
        hardest, order = int(count * self.hard), rng.permutation(len(pool))
        if hardest:
            scores = scorer.score_rows([pair.negative for pair in pool])[:, 0]
            order = np.concatenate([np.argsort(-scores, kind="stable")[:hardest], order])
        return [pool[i] for i in list(dict.fromkeys(order.tolist()))[:count]]


def _window_pairs(workspace: Workspace, policy: FittedPolicy, traces, whole, finished, cuts) -> list[Pair]:
    """Steps cut out of whole rows and put in their windows."""
    steps = [row.step_id[cut] for row, cut in zip(whole, cuts, strict=True)]
    windows = [
        workspace.windows.read(trace.prompt, [s.text for s in trace.steps])[step][0]
        for trace, step in zip(traces, steps, strict=True)
    ]
    of_expert = step_log_prob(workspace, policy, whole, steps)
    of_policy = step_log_prob(workspace, policy, finished, steps)
    pairs = []
    encoded = encode_windows(workspace.encoder, windows)
    for expert, row, step, expert_log_prob, own in zip(encoded, finished, steps, of_expert, of_policy, strict=True):
        written = [token for token, s in zip(row.tokens, row.step_id, strict=True) if s == step]
        context = list(context_of(expert))
        negative = EncodedTrace(context + written, [-1] * len(context) + [0] * len(written))
        pairs.append(Pair(expert, negative, float(expert_log_prob), float(own)))
    return pairs


def step_log_prob(
    workspace: Workspace, policy: FittedPolicy, rows: Sequence[EncodedTrace], steps: Sequence[int], size: int = 256
) -> np.ndarray:
    """Float[rows]: log pi of the given step of each row, in nats. Rows too long for the encoder give NaN."""
    encoder, out = workspace.encoder, np.full(len(rows), np.nan)
    fitting = [i for i, row in enumerate(rows) if encoder.fits(row)]
    for start in range(0, len(fitting), size):
        part = fitting[start : start + size]
        batch = encoder.batch([rows[i] for i in part + part[-1:] * (size - len(part))], [0] * size)
        token = np.asarray(jax.device_get(policy.model.log_prob(policy.params, batch)))
        wanted = np.array([steps[i] for i in part])[:, None]
        out[part] = np.sum(token[: len(part)], axis=1, where=batch.step_id[: len(part)] == wanted)
    return out


def context_of(row: EncodedTrace) -> tuple[int, ...]:
    """The tokens of a window that are not judged."""
    return tuple(token for token, step in zip(row.tokens, row.step_id, strict=True) if step < 0)
