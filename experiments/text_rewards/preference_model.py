"""`traceward run` of a reward model from preferences: Bradley-Terry on pairs, and what held-out pairs say of it.

A language model on the preferred answers gives the trunk and the log-probability baseline; one scalar head per seed is
trained on it; with `adapters`, a head and low-rank adapters on a downloaded language model that stays as it is. On
held-out prompts: accuracy, calibration before and after a temperature, ties, combinations and spread of the seeds.
"""

import time
from collections.abc import Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.commands.truncation import Written, truncation_finding, truncation_record
from experiments.core.finish import finish_run
from experiments.core.kinds import Run
from experiments.core.overlap import Overlap, overlap_rows, say_overlaps
from experiments.core.run_folder import RunFolder
from experiments.reporting.model_card import write_model_card
from experiments.text_rewards.adapters import Adapters, begin_adapters
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.pair_data import Pair, PairFiles
from experiments.text_rewards.pair_evaluation import Gaps, Row, pair_rows, reliability_panel
from experiments.text_rewards.text_model import Base, TextModel, encode_fitting
from irl.algorithms.base import Algorithm, State
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW
from irl.evaluation.audit import TRUNCATION, Finding
from irl.rewards.conversations import ConversationScorer
from irl.rewards.questions import Answer, Question, split_parts
from irl.text.packed_pairs import PackedPairs
from irl.text.packing import EncodedTrace
from irl.train import Schedule
from irl.types import InputError
from reward_models.networks.base import Params
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.networks.low_rank import LowRankConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.ranges import Seeds, Size, Tokens
from reward_models.records import record


@record
class PreferenceModel(Run):
    """A reward model from preference pairs."""

    title: str
    data: PairFiles
    model: TextModel = TextModel()
    trunk: FitTrunk | None = field(default_factory=FitTrunk)
    """None: no language model first, and beside the scores no log-probability but that of the base of adapters."""
    adapters: Adapters | None = None
    """What is trained of a downloaded language model, `model.base`, without a trunk of one's own. None: all of it."""
    algorithm: BradleyTerry = field(
        default_factory=lambda: BradleyTerry(optimiser=AdamW(learning_rate=3e-4, total_steps=500), centering=0.01)
    )
    schedule: Schedule = Schedule(steps=500)
    rows: Size = 8
    length: Tokens = 1024
    seeds: Seeds = (0, 1, 2)
    """One head and order of data each, on one trunk; the first also draws the trunk."""

    def run(self, folder: Path, command: str) -> Path:
        return run_preference_model(self, folder, command)


class Sides(NamedTuple):
    """Pairs that fit, with token ids of both answers."""

    pairs: list[Pair]
    rows: tuple[list[EncodedTrace], list[EncodedTrace]]


def run_preference_model(config: PreferenceModel, folder: Path, command: str) -> Path:
    """Run, or go on with, a preference model; returns the report."""
    begun, run = time.perf_counter(), RunFolder(folder, config.seeds[0])
    pairs, overlaps = config.data.part("train"), config.data.overlaps()
    say_overlaps(run.say, overlaps)
    texts = (f"{pair.question.prompt}\n{answer.text}" for pair in pairs for answer in pair.question.answers)
    base = config.model.start(texts, by_step=False)
    _check_adapters(config, base)
    training = _sides(run, base, pairs, "training")
    preferred = [training.rows[pair.share < 0.5][i] for i, pair in enumerate(training.pairs)]
    trunk = base.trunk if config.trunk is None else config.trunk.run(run, base, lambda epoch: preferred)
    network: Trained
    network = HeadedDecoderConfig(decoder=base.decoder, head=LinearHead(), read=LastToken(), information="preferences")
    network = network if config.adapters is None else config.adapters.on(network)
    members = [_fit(config, RunFolder(folder, seed), network, trunk, training) for seed in config.seeds]
    for seed, params in zip(config.seeds, members, strict=True):
        target = folder / ("model" if seed == config.seeds[0] else f"model-seed-{seed}")
        if not target.exists():
            base.save(target, network, params)
    made = network.make()  # once: what is compiled for one member serves all
    scorers = [ConversationScorer(made, params, base.encoder) for params in members]
    likelihood = None
    if trunk is not None and (config.trunk is not None or config.adapters is not None):
        likelihood = ConversationScorer(SoftAdvantageConfig(decoder=base.decoder).make(), trunk, base.encoder)
    gaps = partial(_gaps, run, base, scorers, likelihood)
    validation = gaps(config.data.part("validation"), "validation")
    tests = {name: gaps(found, name) for name, found in config.data.tests().items()}
    headline = [row for name, test in tests.items() for row in pair_rows(name, validation, test)]
    panels = [reliability_panel(name, validation, test) for name, test in tests.items()]
    truncation = _truncation(run, base, scorers[0], [pair for found in config.data.tests().values() for pair in found])
    return _finish(config, run, headline, panels, truncation, overlaps, command, time.perf_counter() - begun)


def _check_adapters(config: PreferenceModel, base: Base) -> None:
    """InputError where there is nothing that adapters could be put on, or that they would be read with again."""
    if config.adapters is None:
        return
    if base.folder is None:
        found = "a fresh decoder" if config.model.base is None else f"{config.model.base}, which has a head of its own"
        advice = "give the Hugging Face folder of a language model by --model.base FOLDER"
        raise InputError(f"adapters: expected a language model under them, got {found}; {advice}")
    if config.trunk is not None:
        raise InputError("adapters: their base stays as it is, and a trunk would be trained; give --trunk None")


def _sides(run: RunFolder, base: Base, pairs: Sequence[Pair], name: str) -> Sides:
    """Pairs both of whose answers fit; the others are counted."""
    found = [encode_fitting(base.encoder, [pair.side(index) for pair in pairs]) for index in (0, 1)]
    kept = sorted(set(found[0].kept) & set(found[1].kept))
    if len(kept) < len(pairs):
        why = (found[0].unfit + found[1].unfit)[0]
        run.say(f"{name}: {len(pairs) - len(kept)} of {len(pairs)} pairs are left out, the first: {why}")
    by_number = [dict(zip(side.kept, side.rows, strict=True)) for side in found]
    first, second = ([side[i] for i in kept] for side in by_number)
    return Sides([pairs[i] for i in kept], (first, second))


Trained = HeadedDecoderConfig | LowRankConfig
"""The network, all of which is trained, or its adapters and head alone."""


def _begin(algorithm: BradleyTerry, network: Trained, trunk: Params | None, key: jax.Array) -> tuple[Algorithm, State]:
    """The algorithm and the state it starts in."""
    if isinstance(network, LowRankConfig):
        assert trunk is not None
        return begin_adapters(algorithm.make, network, trunk, key)
    whole = algorithm.make(network.make())
    fresh = whole.init(key)
    params = fresh.params if trunk is None else network.with_trunk(fresh.params, trunk)
    return whole, fresh._replace(params=params)


def _fit(config: PreferenceModel, run: RunFolder, network: Trained, trunk: Params | None, training: Sides) -> Params:
    """One member: its own head, adapters and order of data."""
    name = f"preferences-seed-{run.seed}"
    algorithm, start = _begin(config.algorithm, network, trunk, run.key(name))
    plain = network.network if isinstance(network, LowRankConfig) else network
    orders = [(i, swap) for i, pair in enumerate(training.pairs) for swap in (0, 1) if abs(pair.share - swap) > 0]
    source = PackedPairs(
        [training.rows[swap][i] for i, swap in orders],
        [training.rows[1 - swap][i] for i, swap in orders],
        weight=np.array([abs(training.pairs[i].share - swap) for i, swap in orders], np.float32),
        rows=config.rows,
        length=config.length,
        seed=run.seed,
        share_prompts=plain.decoder.sees_prefix,
    )
    params = jax.device_get(run.fit(name, algorithm, source, config.schedule, start).params)
    return {"base": {"trunk": trunk}, **params} if isinstance(network, LowRankConfig) else params


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


def _finish(
    config: PreferenceModel,
    run: RunFolder,
    headline: list[Row],
    panels: list,
    truncation: Finding,
    overlaps: list[Overlap],
    command: str,
    seconds: float,
) -> Path:
    findings = {TRUNCATION: truncation}
    audit = truncation_record("preference model", truncation)
    for row in headline:
        low, high = (np.nan if row[end] is None else row[end] for end in ("low", "high"))
        findings[row["name"]] = Finding(row["value"], low, high, row.pop("count"))
    about = config.data.about()
    if config.adapters is not None:
        about += f"; low-rank adapters (rank {config.adapters.rank}) and a head on {config.model.base}, the base"
    write_model_card(run.folder / "model", findings, trained_on=about, overlaps=overlaps)
    report = {
        "title": config.title,
        "command": command,
        "information": "preferences",
        "seeds": list(config.seeds),
        "headline": headline,
        "train_time": panels,
        "audit": [audit],
        "overlaps": overlap_rows(overlaps),
    }
    return finish_run(run, report, seconds)
