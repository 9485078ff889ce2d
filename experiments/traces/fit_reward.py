"""Stage: a reward for steps, from demonstrations alone.

    1. Likelihood: a decoder models every demonstrated step in its state (Markov windows, irl/text/windows.py). It
       starts at random weights or at those of the policy.
    2. Rounds: steps of the policy in the states of demonstrations are ranked below the expert's steps there
       (pairwise critic). Negatives are finished from an expert's beginning of a step, are steps of the policy's own
       traces in demonstrated states, half of them those with the highest reward (hard), or end a trace early.
       Negatives of earlier rounds stay (replay). A step that was demonstrated is never a negative.
    3. Members: the whole is done `members` times from other starts, and the mean of their scores is the reward.

No answer and no verifier is used, here or in choosing the checkpoint: the last one is taken.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal

import jax
import numpy as np

from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations, encode_steps, enough_rows
from experiments.traces.negatives import Negatives, Pair
from experiments.traces.reward_stage import RewardStage
from experiments.traces.validation import validation
from irl.algorithms.base import Batch, State, init_at
from irl.algorithms.pairs import Contrasts, PairAlgorithm
from irl.algorithms.pairwise_critic import PairwiseCritic
from irl.algorithms.rounds import RoundsState, Turn, rounds
from irl.algorithms.sft import Sft
from irl.policies.base import FittedPolicy
from irl.rewards.scoring import TextScorer
from irl.text.encoder import TextEncoder
from irl.text.packing import EncodedTrace
from irl.text.pipeline import ArraySource, Source, Together
from irl.train import Row, Schedule, check_evaluations
from irl.types import InputError
from reward_models.folders.opening import open_base
from reward_models.frozen import on_host
from reward_models.networks.base import Network, NetworkConfig, Params
from reward_models.networks.decoder import DecoderConfig, DecoderNetwork
from reward_models.networks.ensemble import EnsembleConfig, stack_members
from reward_models.ranges import Few, FewOrZero, Size, Tokens, Weight
from reward_models.records import record

Observe = Callable[[int, TextScorer], Row | None]
"""(step, reward) -> metrics of the reward after that step"""


@dataclass
class RewardEvaluator:
    """Passes the reward in training to an observer: an `Evaluator`."""

    observe: Observe
    scorer: Callable[[Params], TextScorer]
    params: Callable[[State], Params] = lambda state: state.params
    before: int = 0
    """Steps of the stages and members before."""
    seconds: float = 0.0
    """Spent in evaluations."""

    def run(self, step: int, state: State) -> Iterable[Row]:
        begun = time.perf_counter()
        row = self.observe(self.before + step, self.scorer(on_host(self.params(state))))
        self.seconds += time.perf_counter() - begun
        return [row] if row else []


@record
class FitReward(RewardStage):
    """Likelihood, then rounds of the critic, for every member of an ensemble."""

    network: DecoderNetwork
    demonstrations: Demonstrations = field(default_factory=lambda: Demonstrations(other_targets=30_000))
    warm_up: Sft = field(default_factory=Sft)
    warm_up_schedule: Schedule = Schedule(steps=1500)
    warm_up_rows: Size = 48
    row_length: Tokens = 96
    start: Literal["random", "policy", "base"] = "random"
    """The initial weights of the trunk: random ones, those of the policy, whose decoder has the same shape, or those of
    the language model that the policy started from. The policy has learned the same steps in whole traces, so half the
    steps of the warm-up suffice. Adapters of policy and rewards lie on the same frozen weights in memory."""
    whole_share: Weight = 0.3
    """Windows that are a whole trace (answers) per other window."""
    critic: PairAlgorithm = field(default_factory=PairwiseCritic)
    """What trains on the pairs of a round; the class chooses the algorithm."""
    members: Few = 1
    """Independently trained rewards whose mean is taken: two trainings do not make the same errors."""
    rounds: FewOrZero = 2
    round_schedule: Schedule = Schedule(steps=150)
    negatives: Negatives = field(default_factory=Negatives)
    batch_size: Size = 96
    """Pairs of short windows per step; a third as many long ones (answers in their whole trace) go along."""
    short: Tokens = 40
    """Windows of up to this many tokens are short."""

    evaluations: Few = 4
    """The number of evaluations in the likelihood phase of a member (reranking accuracy, for the report)."""

    def __post_init__(self):
        check_evaluations("FitReward", self.evaluations, self.warm_up_schedule)

    @property
    def vocabulary(self) -> int:
        return self.network.vocabulary

    def on_policy(self, decoder: DecoderConfig) -> "FitReward":
        network: Any = self.network  # a dataclass, as every record
        own = replace(network.decoder, vocab_size=decoder.vocab_size)
        return replace(self, network=replace(network, decoder=own if self.start == "random" else decoder))

    def run(
        self, workspace: Workspace, policy: FittedPolicy, name: str = "model", observe: Observe = lambda *_: None
    ) -> Params:
        done = workspace.load_model(name)
        if done is not None:
            return done.params
        traces = self.demonstrations.traces(workspace, name)
        rows = encode_steps(workspace, traces, self.whole_share)
        trained: list[Params] = []
        for _ in range(self.members):
            trained.append(self._member(workspace, policy, trained, traces, rows, observe))
        network, params = self._together(trained)
        against = ", ranked above steps of the policy" if self.rounds else ""
        about = f"steps of {len(traces)} expert traces{against}; no answers, no verifier"
        workspace.save_model(name, network, params, network.make().spec, trained_on=about, windows=workspace.windows)
        return params

    def scorer(self, workspace: Workspace, params: Params) -> TextScorer:
        return _scorer(workspace, self.finished, params)

    @property
    def finished(self) -> NetworkConfig:
        """The network of the finished reward."""
        return self.network if self.members == 1 else self._ensemble(self.members)

    def _ensemble(self, members: int) -> EnsembleConfig:
        """Members of this network; adapters have their base in common."""
        return EnsembleConfig(member=self.network, members=members, shared=self._shared)

    @property
    def _shared(self) -> Literal["base"] | None:
        return None if self.network.decoder.adapters is None else "base"

    def _together(self, trained: list[Params]) -> tuple[NetworkConfig, Params]:
        """The mean of the members that are trained so far."""
        if len(trained) == 1:
            return self.network, trained[0]
        return self._ensemble(len(trained)), stack_members(trained, self._shared)

    def _member(
        self, workspace: Workspace, policy: FittedPolicy, before: list[Params], traces, rows, observe: Observe
    ) -> Params:
        """The parameters of the next member after likelihood and rounds."""
        stage = f"reward-{len(before) + 1}"
        each = self.warm_up_schedule.steps + self.rounds * self.round_schedule.steps

        def evaluator(steps: int) -> RewardEvaluator:
            """Of the mean of all members so far, after `steps` steps of this one."""

            def scorer(params: Params) -> TextScorer:
                return _scorer(workspace, *self._together([*before, params]))

            return RewardEvaluator(observe, scorer, before=len(before) * each + steps)

        params = self._likelihood(workspace, policy, rows, stage, evaluator(0))
        if self.rounds:
            params = self._all_rounds(workspace, policy, params, traces, rows, stage, evaluator)
        return params

    def _all_rounds(
        self,
        workspace: Workspace,
        policy: FittedPolicy,
        params: Params,
        traces,
        rows,
        stage: str,
        evaluator: Callable[[int], RewardEvaluator],
    ) -> Params:
        """The parameters after every round of negatives."""
        negatives = self.negatives
        own_task = traces[: self.demonstrations.count] if self.demonstrations.file is None else traces
        pool = negatives.sampled_pairs(workspace, policy, rows)
        old: list[Pair] = []
        for number in range(self.rounds):
            scorer = _scorer(workspace, self.network, params)
            new = negatives.reset_pairs(workspace, policy, own_task, rows, number)
            new += negatives.end_pairs(workspace, policy, own_task, number)
            new += negatives.hard_pairs(workspace, scorer, pool, number)
            evaluation = evaluator(self.warm_up_schedule.steps + number * self.round_schedule.steps)
            params = self._round(workspace, params, old + new, number, stage, evaluation)
            old = old + new if negatives.replay else []
        return params

    def _likelihood(
        self,
        workspace: Workspace,
        policy: FittedPolicy,
        rows: Sequence[EncodedTrace],
        stage: str,
        evaluator: RewardEvaluator,
    ) -> Params:
        """Parameters whose trunk has learned to write the demonstrated steps."""
        filling = enough_rows(workspace, rows, self.warm_up_rows, self.row_length)
        packed = workspace.encoder.pack(filling, self.row_length, option="reward.row_length")
        steps, name = self.warm_up_schedule.steps, f"{stage}-likelihood"
        fresh = self.network.init_on(workspace.key(f"{stage} critic"), None)
        scorer = evaluator.scorer
        evaluator = replace(evaluator, scorer=lambda trunk: scorer(self.network.with_trunk(fresh, trunk)))
        source = ArraySource(
            packed,
            self.warm_up_rows,
            int(workspace.rng(stage).integers(2**31)),
            of=f"rows of {len(rows)} demonstrated steps",
            option="reward.warm_up_rows",
        )
        algorithm, key = self.warm_up.make(self.network.decoder), f"{stage} likelihood"
        start = None
        if self.start != "random":
            start = init_at(algorithm, workspace.key(key), self._initial(workspace, policy, stage))
        whole, begun = workspace.checkpoints(name).latest() is None, time.perf_counter()
        state = workspace.fit(
            name,
            algorithm,
            source,
            self.warm_up_schedule,
            start,
            key=key,
            label=f"{stage}: likelihood of {len(rows)} steps",
            evaluators=[evaluator, *validation(workspace, self.network.decoder)],
            evaluate_every=self.warm_up_schedule.period(self.evaluations),
        )
        seconds = time.perf_counter() - begun - evaluator.seconds
        tokens = int(steps * self.warm_up_rows * np.mean((packed.segment > 0).sum(1)))
        note = "useful tokens, compilation and checkpoints included; bounded by matrix products of the feed-forward"
        if whole:  # a part of the steps is not a measurement
            workspace.measured("training, reward", tokens, seconds, note)
        return self.network.with_trunk(fresh, on_host(state.params))

    def _initial(self, workspace: Workspace, policy: FittedPolicy, stage: str) -> Params:
        """The weights that the trunk starts from: those of the policy, or of the language model under it."""
        adapters = self.network.decoder.adapters
        if self.start == "policy":
            return on_host(policy.params)
        if adapters is not None:
            return adapters.fresh(workspace.key(f"{stage} adapters"), policy.params["base"].tree)
        if workspace.base is None:
            raise InputError("reward.start: base, but the policy has none; give a language model by policy.base")
        return open_base(workspace.base, self.network.decoder.dtype).params

    def _round(
        self,
        workspace: Workspace,
        params: Params,
        pairs: list[Pair],
        number: int,
        member: str,
        evaluator: RewardEvaluator,
    ) -> Params:
        """Train the critic on the pool for one round, from its parameters."""
        critic = self.critic.make(self.network.make())
        stage = f"{member}-round-{number + 1}"
        start = init_at(critic, workspace.key(stage), params)
        source = self._source(workspace, pairs, number)
        begun = time.perf_counter()
        state = workspace.fit(
            stage,
            rounds(reward=Turn(critic)),
            source,
            self.round_schedule,
            RoundsState(reward=start),
            label=f"{stage}: {len(pairs)} negatives",
            evaluators=[replace(evaluator, params=lambda state: state.reward.params)],
        )
        seconds = time.perf_counter() - begun - evaluator.seconds
        workspace.say(f"{stage}: {len(pairs)} negatives, {seconds:.0f} s")
        return on_host(state.reward.params)

    def _source(self, workspace: Workspace, pairs: list[Pair], number: int) -> Source:
        """Batches of pairs as the algorithm wants them."""
        encoder, seed = replace(workspace.encoder, max_steps=1), workspace.seed + number
        batches = "reward.batch_size"
        if not self.critic.by_width:
            arrays = _pair_batch(self.critic, encoder, pairs, workspace.encoder.max_length)
            return ArraySource(arrays, self.batch_size, seed, of=f"negatives of round {number + 1}", option=batches)
        groups: tuple[list[Pair], list[Pair]] = ([], [])
        for pair in pairs:
            groups[max(len(pair.expert.tokens), len(pair.negative.tokens)) > self.short].append(pair)
        ways = jax.device_count()  # a batch is divided over the devices
        sizes = (self.batch_size, max(self.batch_size // 3 // ways, 1) * ways)
        sources = [
            ArraySource(_pair_batch(self.critic, encoder, group, length), size, seed, option=batches)
            for group, size, length in zip(groups, sizes, (self.short, workspace.encoder.max_length), strict=True)
            if len(group) >= size
        ]
        if not sources:
            raise InputError(
                f"round {number + 1}: only {len(pairs)} negatives for batches of {self.batch_size}; raise "
                "reward.negatives.resets or lower reward.batch_size"
            )
        return Together(*sources)


def _scorer(workspace: Workspace, network: NetworkConfig, params: Params) -> TextScorer:
    split_steps = workspace.environment.split_steps
    return TextScorer(_made(network), params, workspace.encoder, split_steps, windows=workspace.windows)


@lru_cache(maxsize=8)
def _made(network: NetworkConfig) -> Network:
    """The same functions for all scorers of a run, so that they are compiled once."""
    return network.make()


def _pair_batch(algorithm: PairAlgorithm, encoder: TextEncoder, pairs: list[Pair], length: int) -> Batch:
    """The pairs as arrays of the algorithm's own kind."""
    if algorithm.needs_log_prob:
        pairs = [pair for pair in pairs if np.isfinite(pair.expert_log_prob + pair.negative_log_prob)]
    ids = range(len(pairs))  # a context of its own for each pair
    arrays = Contrasts(
        encoder.batch([pair.expert for pair in pairs], ids, length),
        encoder.batch([pair.negative for pair in pairs], ids, length),
        np.array([pair.expert_log_prob for pair in pairs], np.float32)[:, None],
        np.array([pair.negative_log_prob for pair in pairs], np.float32)[:, None],
    )
    return algorithm.batch(arrays)
