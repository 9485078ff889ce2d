"""Stage: a critic of whole traces from pairs of a better and a worse one, the baseline that learns from labels.

A step critic on the policy's trunk learns by Bradley-Terry that the better trace of a pair ranks above the worse one,
and a right trace above itself cut after an earlier step. Whole traces, one score at the end (Cobbe et al. 2021, arXiv
2110.14168). Its information level is that of its labels: it is compared with the reward from demonstrations, and never
used by it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import field

import numpy as np

from experiments.core.workspace import Workspace
from experiments.traces.rerank_pool import verify_pool
from experiments.traces.sampling import sample_texts
from irl.algorithms.base import init_at
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.domains.base import HasLabels
from irl.domains.judged import JudgedPair
from irl.evaluation.audit import cut_after_each_step
from irl.policies.base import FittedPolicy
from irl.rewards.scoring import TextScorer
from irl.text.pipeline import ArraySource
from irl.train import Schedule
from irl.types import InputError
from reward_models.frozen import on_host
from reward_models.networks.critic import CriticConfig
from reward_models.ranges import Rows, Size
from reward_models.records import record
from reward_models.types import INFORMATION_LEVELS, Information, PairBatch

OUTCOMES: Information = "outcome labels"


@record
class PairModel(ABC):
    """A critic from pairs; the class says where the pairs come from."""

    algorithm: BradleyTerry = field(
        default_factory=lambda: BradleyTerry(optimiser=AdamW(learning_rate=1e-3, total_steps=400))
    )
    schedule: Schedule = Schedule(steps=400)
    batch_size: Size = 48
    """Pairs."""

    @abstractmethod
    def pairs(self, workspace: Workspace, policy: FittedPolicy) -> list[JudgedPair]:
        """The pairs to learn from, of training problems."""

    @property
    @abstractmethod
    def advice(self) -> str:
        """What to do where there are too few pairs."""

    def run(self, workspace: Workspace, policy: FittedPolicy, name: str = "outcome-model") -> TextScorer:
        """Learn it, or read back a finished one."""
        done = workspace.load_model(name)
        if done is not None:
            network, params = done.network, done.params
        else:
            pairs = self.pairs(workspace, policy)
            levels = {pair.information for pair in pairs} or {OUTCOMES}
            level = max(levels, key=INFORMATION_LEVELS.index)
            network = CriticConfig(decoder=policy.model.network, aggregate="last", information=level)
            params = self._train(workspace, policy, network, name, pairs)
            about = f"{len(pairs)} pairs of a better and a worse trace ({', '.join(sorted(levels))})"
            workspace.save_model(name, network, params, network.make().spec, trained_on=about)
        return TextScorer(network.make(), params, workspace.encoder, workspace.environment.split_steps)

    def _train(
        self,
        workspace: Workspace,
        policy: FittedPolicy,
        network: CriticConfig,
        name: str,
        pairs: Sequence[JudgedPair],
    ):
        algorithm = self.algorithm.make(network.make())
        key = workspace.key(name)
        state = workspace.fit(
            name,
            algorithm,
            ArraySource(self._batch(workspace, pairs), self.batch_size, workspace.seed),
            self.schedule,
            start=init_at(algorithm, key, network.init_on(key, policy.params)),
            label="outcome model",
        )
        return on_host(state.params)

    def _batch(self, workspace: Workspace, pairs: Sequence[JudgedPair]) -> PairBatch:
        """The pairs that fit as arrays."""
        encoder = workspace.encoder
        prompts, ended = [pair.prompt for pair in pairs], [pair.ended for pair in pairs]
        sides = ([pair.better for pair in pairs], [pair.worse for pair in pairs])
        rows = [encoder.many(prompts, side, ended) for side in sides]
        kept = [i for i, pair in enumerate(zip(*rows, strict=True)) if all(map(encoder.fits, pair))]
        if len(kept) < self.batch_size:
            few = f"only {len(kept)} pairs of a better and a worse trace, for batches of {self.batch_size}"
            raise InputError(f"outcome model: {few}; {self.advice}, or leave it out with --outcome-model None")
        width = max(len(side[i].tokens) for side in rows for i in kept)
        better, worse = (encoder.batch([side[i] for i in kept], [0] * len(kept), width) for side in rows)
        return PairBatch(better, worse, np.ones(len(kept), np.float32))


@record
class FitOutcomeModel(PairModel):
    """Right over wrong samples of the policy, labelled by the verifier."""

    samples_per_problem: Rows = 32
    problems: Rows | None = None
    """Of the training split; all of them by default."""

    @property
    def advice(self) -> str:
        return "raise outcome_model.samples_per_problem"

    def pairs(self, workspace: Workspace, policy: FittedPolicy) -> list[JudgedPair]:
        """Every distinct right sample against two random wrong ones of its problem, and against itself cut early."""
        if not workspace.environment.verifies():
            domain = type(workspace.environment).__name__
            raise InputError(f"outcome_model: {domain} has no verifier to label samples with; set --outcome-model None")
        problems, rng = workspace.problems("train")[: self.problems], workspace.rng("outcome pairs")
        pool = sample_texts(workspace, policy, problems, self.samples_per_problem, "outcomes")
        labels, split = verify_pool(workspace, problems, pool), workspace.environment.split_steps
        pairs: list[JudgedPair] = []
        for problem, texts, label in zip(problems, pool.texts, labels, strict=True):
            sides = {True: dict[str, None](), False: dict[str, None]()}
            for text, is_right in zip(texts, label, strict=True):
                sides[bool(is_right)][text] = None
            bad = list(sides[False])
            for text in sides[True] if bad else ():
                early = cut_after_each_step(split(text))
                worse = [split(bad[index]) for index in rng.permutation(len(bad))[:2]]
                worse += [split("\n".join(early[index])) for index in rng.permutation(len(early))[:1]]
                pairs += [JudgedPair(problem.prompt, split(text), each, True, "outcome labels") for each in worse]
        return pairs


@record
class FileLabels(PairModel):
    """Pairs from the labels of a domain's file: right and wrong traces, wrong steps, preferences, ranks."""

    @property
    def advice(self) -> str:
        return "give a file with labels ({'prompt', 'completion', 'label'}, candidates, preferences, labelled steps)"

    def pairs(self, workspace: Workspace, policy: FittedPolicy) -> list[JudgedPair]:
        """The pairs of the training prompts, and every better trace against itself cut early."""
        domain, rng = workspace.environment, workspace.rng("label pairs")
        judged = list(domain.judged("train")) if isinstance(domain, HasLabels) else []
        early = [
            pair._replace(worse=pair.better[: int(rng.integers(1, len(pair.better)))])
            for pair in judged
            if pair.ended and len(pair.better) > 1
        ]
        return judged + early
