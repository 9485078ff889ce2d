"""Stage: an outcome model, the baseline that learns which samples are right (Cobbe et al. 2021, arXiv 2110.14168).

The policy writes traces for training problems, the verifier labels them, and a step critic on the policy's trunk
learns by Bradley-Terry that a right trace ranks above a wrong one of its problem, and above itself cut after an earlier
step. Whole traces, one score at the end. Its information level is *outcome labels*: it is compared with the reward from
demonstrations, and never used by it.
"""

from dataclasses import field

import jax
import numpy as np

from experiments.core.workspace import Workspace
from experiments.traces.rerank_pool import verify_pool
from experiments.traces.sampling import sample_texts
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.evaluation.audit import cut_after_each_step
from irl.policies.language_model import LanguageModel
from irl.rewards.scoring import TextScorer
from irl.text.pipeline import ArraySource
from irl.train import Schedule
from irl.types import InputError
from reward_models.networks.critic import CriticConfig
from reward_models.ranges import Rows, Size
from reward_models.records import record
from reward_models.types import PairBatch


@record
class FitOutcomeModel:
    """Right over wrong samples of training problems."""

    algorithm: BradleyTerry = field(
        default_factory=lambda: BradleyTerry(optimiser=AdamW(learning_rate=1e-3, total_steps=400))
    )
    schedule: Schedule = Schedule(steps=400)
    samples_per_problem: Rows = 32
    batch_size: Size = 48
    """Pairs."""

    def run(self, workspace: Workspace, policy: LanguageModel, name: str = "outcome-model") -> TextScorer:
        """Learn it, or read back a finished one."""
        network = CriticConfig(decoder=policy.config, aggregate="last", information="outcome labels")
        done = workspace.load_model(name)
        if done is None:
            params = self._train(workspace, policy, network, name)
            about = "right over wrong samples of the policy on training problems"
            workspace.save_model(name, network, params, network.make().spec, trained_on=about)
        else:
            params = done.params
        return TextScorer(network.make(), params, workspace.encoder, workspace.environment.split_steps)

    def _train(self, workspace: Workspace, policy: LanguageModel, network: CriticConfig, name: str):
        if not workspace.environment.verifies():
            domain = type(workspace.environment).__name__
            raise InputError(f"outcome_model: {domain} has no verifier to label samples with; set --outcome-model None")
        algorithm = self.algorithm.make(network.make())
        fresh = algorithm.init(workspace.key(name))
        state = workspace.fit(
            name,
            algorithm,
            ArraySource(self._pairs(workspace, policy), self.batch_size, workspace.seed),
            self.schedule,
            start=fresh._replace(params=network.with_trunk(fresh.params, policy.params)),
            label="outcome model",
        )
        return jax.device_get(state.params)

    def _pairs(self, workspace: Workspace, policy: LanguageModel) -> PairBatch:
        """Every distinct right sample against two random wrong ones of its problem, and against itself cut early."""
        problems, rng = workspace.problems("train"), workspace.rng("outcome pairs")
        pool = sample_texts(workspace, policy, problems, self.samples_per_problem, "outcomes")
        labels, split = verify_pool(workspace, problems, pool), workspace.environment.split_steps
        chosen: list[tuple[str, str]] = []
        rejected: list[tuple[str, str]] = []
        for problem, texts, label in zip(problems, pool.texts, labels, strict=True):
            sides = {True: dict[str, None](), False: dict[str, None]()}
            for text, is_right in zip(texts, label, strict=True):
                sides[bool(is_right)][text] = None
            bad = list(sides[False])
            for text in sides[True] if bad else ():
                early = cut_after_each_step(split(text))
                worse = [bad[index] for index in rng.permutation(len(bad))[:2]]
                worse += ["\n".join(early[index]) for index in rng.permutation(len(early))[:1]]
                chosen += [(problem.prompt, text)] * len(worse)
                rejected += [(problem.prompt, each) for each in worse]
        encoder = workspace.encoder
        rows = [encoder.many([p for p, _ in side], [split(text) for _, text in side]) for side in (chosen, rejected)]
        kept = [i for i, pair in enumerate(zip(*rows, strict=True)) if all(map(encoder.fits, pair))]
        if len(kept) < self.batch_size:
            raise InputError(
                f"outcome model: only {len(kept)} pairs of a right and a wrong sample, for batches of "
                f"{self.batch_size}; raise outcome_model.samples_per_problem, or leave it out with --outcome-model None"
            )
        width = max(len(side[i].tokens) for side in rows for i in kept)
        right, wrong = (encoder.batch([side[i] for i in kept], [0] * len(kept), width) for side in rows)
        return PairBatch(right, wrong, np.ones(len(kept), np.float32))
