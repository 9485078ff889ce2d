"""`traceward run` of a reward model from preferences: Bradley-Terry on pairs, evaluated on held-out pairs.

A language model on the preferred answers gives the trunk and the log-probability baseline; one scalar head per seed is
trained on it; with `adapters`, a head and low-rank adapters on a downloaded language model that stays as it is. On
held-out prompts: accuracy, calibration before and after a temperature, ties, combinations and spread of the seeds.
"""

from collections.abc import Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from experiments.core.frame import Results, StagedRun
from experiments.core.overlap import Overlap
from experiments.core.run_folder import RunFolder
from experiments.text_rewards.headed_model import HeadedModel
from experiments.text_rewards.pair_data import Pair, PairFiles
from experiments.text_rewards.pair_evaluation import Gaps, pair_rows, reliability_panel
from experiments.text_rewards.text_model import Base, encode_each, fitting
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.evaluation.audit import Finding, truncation_finding
from irl.rewards.conversations import ConversationScorer
from irl.rewards.questions import Answer, Question, split_parts
from irl.text.packed_pairs import PackedPairs
from irl.text.packing import EncodedTrace
from irl.types import Written
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.ranges import Seeds, Tokens
from reward_models.records import record


class Sides(NamedTuple):
    """Pairs that fit, with token ids of both answers."""

    pairs: list[Pair]
    rows: tuple[list[EncodedTrace], list[EncodedTrace]]


@record
class PreferenceModel(HeadedModel, StagedRun[RunFolder]):
    """A reward model from preference pairs."""

    title: str
    data: PairFiles
    algorithm: BradleyTerry = field(
        default_factory=lambda: BradleyTerry(optimiser=AdamW(learning_rate=3e-4, total_steps=500), centering=0.01)
    )
    length: Tokens = 1024
    seeds: Seeds = (0, 1, 2)
    """One head and order of data each, on one trunk; the first also draws the trunk."""

    def open(self, folder: Path) -> RunFolder:
        return RunFolder(folder, self.seeds[0])

    def files(self) -> list[str]:
        return [*self.data.train, *self.data.test]

    def overlaps(self) -> list[Overlap]:
        return self.data.overlaps()

    def stages(self, run: RunFolder) -> Results:
        pairs, tests = self.data.part("train"), self.data.tests()
        texts = (f"{pair.question.prompt}\n{answer.text}" for pair in pairs for answer in pair.question.answers)
        base = self.start(texts, by_step=False)
        training = _sides(run, base, pairs, "training")
        preferred = [training.rows[pair.share < 0.5][i] for i, pair in enumerate(training.pairs)]
        trunk = self.fit_trunk(run, base, lambda epoch: preferred)
        network = HeadedDecoderConfig(
            decoder=base.decoder, head=LinearHead(), read=LastToken(), information="preferences"
        )
        source = partial(self._source, base, training)
        heads = self.fit_heads(run, base, trunk, network, self.algorithm.make, self.seeds, "preferences", source)
        gaps = partial(_gaps, run, base, heads.scorers, self.likelihood(base, trunk))
        validation = gaps(self.data.part("validation"), "validation")
        scored = {name: gaps(found, name) for name, found in tests.items()}
        about = self.data.about()
        if self.adapters is not None:
            about += f"; low-rank adapters (rank {self.adapters.rank}) and a head on {self.model.base}, the base"
        probed = _truncation(run, base, heads.scorers[0], [pair for found in tests.values() for pair in found])
        return Results(
            headline=[row for name, test in scored.items() for row in pair_rows(name, validation, test)],
            information="preferences",
            seeds=self.seeds,
            models=dict.fromkeys(heads.models, about),
            truncation={"preference model": probed},
            parts={"train_time": [reliability_panel(name, validation, test) for name, test in scored.items()]},
        )

    def _source(self, base: Base, training: Sides, run: RunFolder) -> PackedPairs:
        pairs, rows = training
        orders = [(i, swap) for i, pair in enumerate(pairs) for swap in (0, 1) if abs(pair.share - swap) > 0]
        return PackedPairs(
            [rows[swap][i] for i, swap in orders],
            [rows[1 - swap][i] for i, swap in orders],
            weight=np.array([abs(pairs[i].share - swap) for i, swap in orders], np.float32),
            rows=self.rows,
            length=self.length,
            seed=run.seed,
            share_prompts=base.decoder.sees_prefix,
        )


def _sides(run: RunFolder, base: Base, pairs: Sequence[Pair], name: str) -> Sides:
    """Pairs both of whose answers fit; the others are counted."""
    first, second = (encode_each(base.encoder, [pair.side(index) for pair in pairs]) for index in (0, 1))
    reasons = [next((row for row in rows if isinstance(row, str)), "") for rows in zip(first, second, strict=True)]
    kept = [index for index, reason in enumerate(reasons) if not reason]
    if len(kept) < len(pairs):
        why = next(filter(None, reasons))
        run.say(f"{name}: {len(pairs) - len(kept)} of {len(pairs)} pairs are left out, the first: {why}")
    return Sides([pairs[i] for i in kept], (fitting(first[i] for i in kept), fitting(second[i] for i in kept)))


def _gaps(
    run: RunFolder,
    base: Base,
    members: Sequence[ConversationScorer],
    likelihood: ConversationScorer | None,
    pairs: Sequence[Pair],
    name: str,
) -> Gaps:
    """Scores of both answers by every member, and gaps of the baselines."""
    sides = _sides(run, base, pairs, name)
    questions = [[pair.side(index) for pair in sides.pairs] for index in (0, 1)]

    def count(measure) -> np.ndarray:
        first, second = (np.array([measure(question) for question in side], float) for side in questions)
        return first - second

    baselines = {"longer answer": count(lambda question: len(question.answers[0].text))}
    if likelihood is not None:
        tokens = [np.array([sum(s >= 0 for s in row.step_id) for row in side]) for side in sides.rows]
        total = [likelihood(side).trace for side in questions]
        baselines["log-probability"] = total[0] - total[1]
        baselines["mean log-probability"] = total[0] / tokens[0] - total[1] / tokens[1]
    return Gaps(
        outcome=np.array([pair.outcome for pair in sides.pairs]),
        prompt=[pair.question.prompt for pair in sides.pairs],
        scores=np.array([[scorer(side).trace for side in questions] for scorer in members]),
        baselines=baselines,
    )


def _truncation(run: RunFolder, base: Base, scorer: ConversationScorer, pairs: Sequence[Pair]) -> Finding:
    """The truncation probe of the first seed's score, on preferred answers of several paragraphs or lines."""
    decided = [pair for pair in pairs if pair.share != 0.5]
    sides = _sides(run, base, decided, "truncation probe").pairs
    messages = {pair.question.prompt: pair.question.messages for pair in sides}
    preferred = [pair.side(int(pair.share < 0.5)) for pair in sides]

    def score(traces: Sequence[Written]) -> np.ndarray:
        answers = [(prompt, Answer(0, "".join(parts).rstrip("\n"))) for prompt, parts in traces]
        return scorer([Question("probe", prompt, messages[prompt], (answer,)) for prompt, answer in answers]).trace

    return truncation_finding(score, [(q.prompt, split_parts(q.answers[0].text)) for q in preferred])
