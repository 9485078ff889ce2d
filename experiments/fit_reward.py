"""Stage: a reward for steps, from demonstrations alone.

    1. Likelihood: a decoder models every demonstrated step in its state (Markov windows, irl/traces/windows.py).
    2. Rounds: what the policy writes in the states of demonstrations stands against what the expert wrote there
       (pairwise critic). Negatives are finished from an expert's beginning of a step, or are steps of the
       policy's own traces in demonstrated states, half of them those that the reward scores highest (hard).
       Negatives of earlier rounds stay (replay). A step that was demonstrated is never a negative.

No answer and no verifier is looked at, here or in choosing the checkpoint: the last one is taken.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import jax
import numpy as np

from experiments.demonstrations import Demonstrations, encode_steps, encode_traces
from experiments.sampling import sample_texts
from experiments.workspace import Workspace
from irl.algorithms.pairwise_critic import CriticBatch, CriticState, PairwiseCritic
from irl.algorithms.sft import Sft
from irl.guidance.beam import step_stops
from irl.policies.language_model import LanguageModel
from irl.policies.resets import choose_cuts, finish_steps
from irl.traces.encode import EncodedTrace
from irl.traces.pipeline import ArraySource, Together
from irl.traces.scoring import TextScorer
from irl.traces.windows import encode_windows, step_windows
from irl.train import Schedule, train
from irl.types import InputError
from reward_models.networks.base import Params
from reward_models.networks.critic import CriticConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

Pair = tuple[EncodedTrace, EncodedTrace]
"""(expert row, negative row) of one context."""


@dataclass(frozen=True, kw_only=True)
class Negatives:
    """What stands against the experts, per round. Counts are of steps before those that agree are left out."""

    resets: int = 12_000
    """Steps begun by an expert and finished by the policy."""
    temperatures: tuple[float, ...] = (1.0, 1.5)
    begun: float = 0.3
    """At least this share of the step's tokens is the expert's."""
    samples_per_problem: int = 8
    """Traces of the policy per training problem, drawn once."""
    sampled: int = 6_000
    """Steps of those traces, in demonstrated states."""
    hard: float = 0.5
    """Share of the sampled steps that are the reward's highest-scored; the rest is drawn at random."""
    replay: bool = True
    """Keep the negatives of earlier rounds."""


@dataclass(frozen=True, kw_only=True)
class FitReward:
    """Likelihood, then rounds of the critic."""

    network: SoftAdvantageConfig | CriticConfig
    demonstrations: Demonstrations = field(default_factory=lambda: Demonstrations(other_targets=30_000))
    warm_up: Sft = field(default_factory=Sft)
    warm_up_schedule: Schedule = Schedule(steps=1500)
    warm_up_rows: int = 48
    row_length: int = 96
    whole_share: float = 0.3
    """Windows that are a whole trace (answers) per other window."""
    critic: PairwiseCritic = field(default_factory=PairwiseCritic)
    rounds: int = 2
    round_schedule: Schedule = Schedule(steps=150)
    negatives: Negatives = field(default_factory=Negatives)
    batch_size: int = 96
    """Pairs of short windows per step; a third as many long ones (answers in their whole trace) go along."""
    short: int = 40
    """Windows of up to this many tokens are short."""

    def run(self, workspace: Workspace, policy: LanguageModel, name: str = "model") -> Params:
        done = workspace.load_model(name)
        if done is not None:
            return done.params
        traces = self.demonstrations.traces(workspace, name)
        rows = encode_steps(workspace, traces, self.whole_share)
        params = self.start(workspace, rows)
        if self.rounds:
            params = self.all_rounds(workspace, policy, params, traces, rows)
        spec = self.network.make().spec
        about = f"steps of {len(traces)} expert traces, against the policy's; no answers, no verifier"
        workspace.save_model(name, self.network, params, spec, trained_on=about, windows="states")
        return params

    def all_rounds(self, workspace: Workspace, policy: LanguageModel, params: Params, traces, rows) -> Params:
        own_task = traces[: self.demonstrations.count] if self.demonstrations.file is None else traces
        pool = self._sampled_pairs(workspace, policy, rows)
        old: list[Pair] = []
        for number in range(self.rounds):
            new = self._resets(workspace, policy, own_task, rows, number)
            new += self._hard(workspace, params, pool, number)
            params = self._round(workspace, params, old + new, number)
            old = old + new if self.negatives.replay else []
        return params

    def start(self, workspace: Workspace, rows: Sequence[EncodedTrace]) -> Params:
        """Critic parameters whose trunk has learned to write the demonstrated steps."""
        packed = workspace.encoder.pack(rows, self.row_length)
        begun = time.perf_counter()
        with workspace.progress(f"reward: likelihood of {len(rows)} steps", self.warm_up_schedule.steps) as advance:
            state = train(
                self.warm_up.make(self.network.decoder),
                ArraySource(packed, self.warm_up_rows, workspace.seed),
                self.warm_up_schedule,
                workspace.key("warm-up"),
                checkpoints=workspace.checkpoints("reward-warm-up"),
                record=partial(workspace.record, "reward-warm-up"),
                advance=advance,
            )
        tokens = int(self.warm_up_schedule.steps * self.warm_up_rows * np.mean((packed.segment > 0).sum(1)))
        note = "useful tokens, compilation and checkpoints included; bounded by matrix products of the feed-forward"
        workspace.measured("training, reward warm-up", tokens, time.perf_counter() - begun, note)
        params = self.network.make().init(workspace.key("critic"))
        return self.network.with_trunk(params, state.params)

    def _sampled_pairs(self, workspace: Workspace, policy: LanguageModel, rows) -> list[Pair]:
        """Undemonstrated steps of the policy's traces on training problems, each beside one of an expert there."""
        if not self.negatives.sampled:
            return []
        problems = workspace.environment.problems("train")
        samples = sample_texts(workspace, policy, problems, self.negatives.samples_per_problem, "negatives")
        split = workspace.environment.split_steps
        windows = dict.fromkeys(
            window
            for problem, texts in zip(problems, samples.texts, strict=True)
            for text in texts
            for window in step_windows(workspace.environment, problem.prompt, split(text))
        )
        encoded = [row for row in encode_windows(workspace.encoder, list(windows)) if workspace.encoder.fits(row)]
        experts: dict[tuple[int, ...], list[EncodedTrace]] = {}
        for row in rows:
            experts.setdefault(_context(row), []).append(row)
        demonstrated, rng = {tuple(row.tokens) for row in rows}, workspace.rng("peers")
        pairs = []
        for row in encoded:
            peers = experts.get(_context(row))
            if peers and tuple(row.tokens) not in demonstrated:
                pairs.append((peers[rng.integers(len(peers))], row))
        return pairs

    def _resets(self, workspace: Workspace, policy: LanguageModel, traces, rows, number: int) -> list[Pair]:
        """The policy finishes steps of whole demonstrations; each is then put in the step's window."""
        encoder, rng, stops = workspace.encoder, workspace.rng(f"resets {number}"), step_stops(workspace.encoder)
        demonstrated = {tuple(row.tokens) for row in rows}
        pairs = []
        share = self.negatives.resets // max(len(self.negatives.temperatures), 1)
        for index, temperature in enumerate(self.negatives.temperatures):
            picked = [traces[i] for i in rng.integers(len(traces), size=share)]
            whole = encode_traces(workspace, picked)
            cuts = choose_cuts(whole, rng, least=self.negatives.begun)
            key = workspace.key(f"resets {number} {index}")
            finished = finish_steps(policy, encoder, whole, cuts, key, stops, temperature=temperature)
            steps = [row.step_id[cut] for row, cut in zip(whole, cuts, strict=True)]
            windows = [
                step_windows(workspace.environment, trace.prompt, [s.text for s in trace.steps])[step]
                for trace, step in zip(picked, steps, strict=True)
            ]
            for expert, row, step in zip(encode_windows(encoder, windows), finished, steps, strict=True):
                written = [token for token, s in zip(row.tokens, row.step_id, strict=True) if s == step]
                context = list(_context(expert))
                negative = EncodedTrace(context + written, [-1] * len(context) + [0] * len(written))
                if tuple(negative.tokens) not in demonstrated and encoder.fits(negative) and encoder.fits(expert):
                    pairs.append((expert, negative))
        return pairs

    def _hard(self, workspace: Workspace, params: Params, pool: list[Pair], number: int) -> list[Pair]:
        """Sampled steps: those the reward scores highest, and random others."""
        if not pool:
            return []
        rng, count = workspace.rng(f"hard {number}"), min(self.negatives.sampled, len(pool))
        hardest, order = int(count * self.negatives.hard), rng.permutation(len(pool))
        if hardest:
            scorer = TextScorer(self.network.make(), params, workspace.encoder, workspace.environment.split_steps)
            scores = scorer.score_rows([negative for _, negative in pool])[:, 0]
            order = np.concatenate([np.argsort(-scores)[:hardest], order])
        return [pool[i] for i in list(dict.fromkeys(order.tolist()))[:count]]

    def _round(self, workspace: Workspace, params: Params, pairs: list[Pair], number: int) -> Params:
        """Train the critic on the pool for one round, from its parameters."""
        algorithm = self.critic.make(self.network.make())
        stage = f"reward-round-{number + 1}"
        fresh = algorithm.init(workspace.key(stage))
        source = self._source(workspace, pairs, number)
        begun = time.perf_counter()
        with workspace.progress(f"{stage}: {len(pairs)} negatives", self.round_schedule.steps) as advance:
            state = train(
                algorithm,
                source,
                self.round_schedule,
                workspace.key(stage),
                checkpoints=workspace.checkpoints(stage),
                record=partial(workspace.record, stage),
                start=CriticState(params, fresh.opt_state),
                advance=advance,
            )
        workspace.say(f"{stage}: {len(pairs)} negatives, {time.perf_counter() - begun:.0f} s")
        return jax.device_get(state.params)

    def _source(self, workspace: Workspace, pairs: list[Pair], number: int) -> Together:
        encoder = replace(workspace.encoder, max_steps=1)
        groups: tuple[list[Pair], list[Pair]] = ([], [])
        for expert, negative in pairs:
            groups[max(len(expert.tokens), len(negative.tokens)) > self.short].append((expert, negative))
        sizes = (self.batch_size, max(self.batch_size // 3, 1))
        sources = []
        for group, size, length in zip(groups, sizes, (self.short, workspace.encoder.max_length), strict=True):
            if len(group) >= size:
                sources.append(ArraySource(_critic_batch(encoder, group, length), size, workspace.seed + number))
        if not sources:
            raise InputError(
                f"round {number + 1}: only {len(pairs)} negatives for batches of {self.batch_size}; raise "
                "reward.negatives.resets or lower reward.batch_size"
            )
        return Together(*sources)


def _context(row: EncodedTrace) -> tuple[int, ...]:
    return tuple(token for token, step in zip(row.tokens, row.step_id, strict=True) if step < 0)


def _critic_batch(encoder, pairs: list[Pair], length: int) -> CriticBatch:
    ones, ids = np.ones((len(pairs), 1), np.float32), [0] * len(pairs)
    expert = encoder.batch([expert for expert, _ in pairs], ids, length)
    return CriticBatch(expert, ones, encoder.batch([negative for _, negative in pairs], ids, length), ones)
