"""Batches that the current policy writes: on a finished reward, and for adversarial rounds."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import encode_traces, enough_rows
from experiments.traces.policy_training import PolicyTraining
from experiments.traces.sampling import texts_of_samples
from irl.algorithms.grpo import GrpoBatch
from irl.algorithms.pairs import Contrasts
from irl.algorithms.rounds import Round, RoundsState
from irl.guidance.plausibility import plausibility
from irl.policies.base import FittedPolicy, Policy, Sampling
from irl.policies.rollouts import pad_prompts, token_mask, traces_of_samples
from irl.rewards.questions import ScoresTexts
from irl.text.pipeline import ArraySource, Json
from irl.text.windows import Parts, fill_trace_rows
from irl.types import InputError, Problem, Trace
from reward_models.aggregation import sum_by_step
from reward_models.networks.base import Params
from reward_models.types import TraceBatch

SLACK = 1.25
"""A sample may be so many times as long as the longest demonstration, as the reward reads it, and is judged."""


class Drawn(NamedTuple):
    """`n` consecutive samples for each of some training problems."""

    problem: np.ndarray
    """Int[prompts]: the indices of the problems."""
    prompts: list[str]
    """The prompt of each sample."""
    texts: list[str]
    ended: np.ndarray
    """Bool[prompts * n]"""
    traces: TraceBatch


class Sampler:
    """Samples of a policy on training problems, and rows of demonstrations beside them. The state is JSON."""

    def __init__(
        self,
        workspace: Workspace,
        policy: Policy,
        problems: Sequence[Problem],
        traces: Sequence[Trace],
        config: PolicyTraining,
        option: str,
    ):
        encoder, rows = workspace.encoder, config.demonstration_rows
        self._encoder, self._policy, self._problems = encoder, policy, problems
        self._samples = config.algorithm.samples_per_prompt
        prompts, lengths = pad_prompts([encoder.prompt(problem.prompt) for problem in problems])
        self._prompts = ArraySource(
            (np.arange(len(prompts)), prompts, lengths),
            config.prompts_per_step,
            workspace.seed,
            of="training problems",
            option=f"{option}.prompts_per_step",
        )
        whole = enough_rows(workspace, encode_traces(workspace, traces), rows, 2 * encoder.max_length)
        self._demonstrations = ArraySource(
            encoder.pack(whole, 2 * encoder.max_length),
            rows,
            workspace.seed,
            of=f"rows of {len(traces)} demonstrations",
            option=f"{option}.demonstration_rows",
        )
        self._key = workspace.key("rollouts")
        self._newline = token_mask(encoder.vocab_size, encoder.step_ends)
        self.count = 0

    def next(self, params: Params) -> Drawn:
        problem, prompts, lengths = self._prompts.next()
        self.count += 1
        n, encoder = self._samples, self._encoder
        sampling = Sampling(n, n, encoder.max_length - prompts.shape[1], (encoder.end,), encoder.vocab_size)
        key = jax.random.fold_in(self._key, self.count)
        drawn = jax.device_get(self._policy.sample(params, key, prompts, lengths, sampling))
        texts = [text for each in texts_of_samples(encoder, drawn.tokens, drawn.length) for text in each]
        asked = [self._problems[i].prompt for i in problem for _ in range(n)]
        traces = traces_of_samples(prompts, lengths, drawn, self._newline, max_steps=encoder.max_steps)
        return Drawn(problem, asked, texts, drawn.ended.reshape(-1), jax.device_get(traces))

    def demonstrations(self) -> TraceBatch:
        return self._demonstrations.next()

    def get_state(self) -> Json:
        parts = {"prompts": self._prompts.get_state(), "demonstrations": self._demonstrations.get_state()}
        return {"count": self.count, **parts}

    def set_state(self, state: Json) -> None:
        self.count = state["count"]
        self._prompts.set_state(state["prompts"])
        self._demonstrations.set_state(state["demonstrations"])


class Rollouts:
    """A source that samples from the current policy and scores its samples by a finished reward."""

    def __init__(
        self, workspace: Workspace, policy: FittedPolicy, scorer: ScoresTexts, config: PolicyTraining, level: float
    ):
        traces = config.demonstrations.traces(workspace, "improvement")
        self._scorer, self._level = scorer, level
        self._demonstrated = scorer([t.prompt for t in traces], [t.text for t in traces]).trace
        problems = workspace.problems("train")
        self._sampler = Sampler(workspace, policy.model, problems, traces, config, "improvement")
        self.get_state, self.set_state = self._sampler.get_state, self._sampler.set_state

    def next(self, state: RoundsState) -> GrpoBatch:
        drawn = self._sampler.next(state.policy.params)
        reward = self.reward_of(drawn.prompts, drawn.texts, drawn.ended).astype(np.float32)
        return GrpoBatch(drawn.traces, reward, self._sampler.demonstrations())

    def reward_of(self, prompts: Sequence[str], texts: Sequence[str], ended: np.ndarray) -> np.ndarray:
        """What the policy is trained on, from 0 to 1; a trace that was cut at the limit on tokens gets 0."""
        plausible = plausibility(self._scorer(prompts, texts).trace, self._demonstrated, level=self._level)
        return np.where(ended, plausible, 0.0)


class AdversarialRollouts:
    """A source of adversarial rounds: samples of the current policy against demonstrations of the same prompts."""

    def __init__(self, workspace: Workspace, policy: FittedPolicy, config: PolicyTraining):
        self._encoder, self._windows = workspace.encoder, workspace.windows
        self._split, self._seed = workspace.environment.split_steps, workspace.seed
        self._policy = policy.model
        traces = self._judged(config.demonstrations.traces(workspace, "rounds"))
        ids = {problem.prompt: i for i, problem in enumerate(workspace.problems("train"))}
        self._of_problem: dict[int, list[int]] = {}
        for row, trace in enumerate(traces):
            self._of_problem.setdefault(ids.get(trace.prompt, -1), []).append(row)
        self._of_problem.pop(-1, None)
        if not self._of_problem:
            raise InputError("rounds.demonstrations: no demonstration of a training problem fits; raise encoding")
        self._ids = np.array(sorted(self._of_problem), np.int32)
        problems = [workspace.problems("train")[i] for i in self._ids]
        self._sampler = Sampler(workspace, policy.model, problems, traces, config, "rounds")
        self.get_state, self.set_state = self._sampler.get_state, self._sampler.set_state

    def next(self, state: RoundsState) -> Round:
        drawn, params = self._sampler.next(state.policy.params), state.policy.params
        rng = np.random.default_rng([self._seed, self._sampler.count])
        problem = self._ids[drawn.problem]
        rows = [self._of_problem[i][rng.integers(len(self._of_problem[i]))] for i in problem.tolist()]
        written, expert = (jax.tree.map(lambda x: x[rows], side) for side in (self._written, self._read))
        negative = self._negatives(drawn, np.repeat(problem, len(drawn.texts) // len(problem)))
        contrasts = Contrasts(
            expert._replace(prompt_id=problem),
            negative,
            self._step_log_prob(params, written, expert),
            self._step_log_prob(params, drawn.traces, negative),
        )
        batch = GrpoBatch(drawn.traces, np.zeros(len(drawn.texts), np.float32), self._sampler.demonstrations())
        return Round(contrasts, batch)

    def _judged(self, traces: Sequence[Trace]) -> list[Trace]:
        """The traces that fit, which are encoded as the policy writes them and as the reward reads them."""
        encoder = self._encoder
        prompts, steps = [t.prompt for t in traces], [[s.text for s in t.steps] for t in traces]
        whole = encoder.many(prompts, steps)
        kept = [i for i, row in enumerate(whole) if encoder.fits(row)]
        parts = self._windows.parts(encoder, ((prompts[i], steps[i], True) for i in kept))
        self._length = -(-int(SLACK * max(map(_tokens, parts), default=1)) // 16) * 16
        self._written = encoder.batch([whole[i] for i in kept], [0] * len(kept))
        self._read = fill_trace_rows(encoder, parts, self._length, [0] * len(kept))
        return [traces[i] for i in kept]

    def _negatives(self, drawn: Drawn, prompt_id: np.ndarray) -> TraceBatch:
        """The samples as the reward reads them; without steps where they did not end or cannot be read."""
        steps, most = [self._split(text) for text in drawn.texts], self._encoder.max_steps
        judged = [bool(ended) and 0 < len(trace) <= most for trace, ended in zip(steps, drawn.ended, strict=True)]
        asked = [trace for trace in zip(drawn.prompts, steps, judged, strict=True) if trace[2]]  # all of these ended
        read = iter(self._windows.parts(self._encoder, asked))
        parts = [next(read) if counts else [] for counts in judged]
        fitting = [part if _tokens(part) <= self._length else [] for part in parts]
        return fill_trace_rows(self._encoder, fitting, self._length, prompt_id.tolist())

    def _step_log_prob(self, params: Params, traces: TraceBatch, read: TraceBatch) -> np.ndarray:
        """log pi of each step; tokens behind the last step that the reward reads count for that step."""
        token, last = self._policy.log_prob(params, traces), read.step_mask.sum(axis=1, keepdims=True) - 1
        step_id = np.minimum(traces.step_id, np.maximum(last, 0))
        return np.asarray(sum_by_step(token, step_id, read.step_mask.shape[1]))


def _tokens(parts: Parts) -> int:
    return sum(len(part.tokens) for part, _ in parts)
