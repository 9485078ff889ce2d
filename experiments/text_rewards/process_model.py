"""`traceward run` of a process reward model: labelled steps teach which step is wrong; held-out ones say how well.

A language model on the right solutions gives the trunk and the log-probability baseline; one token classifier per seed
is trained on it. On held-out problems: where is the first wrong step (each test set has its threshold from the
validation problems it names), and, where candidates are given, does the score order right above wrong answers of a
problem.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.commands.truncation import Written, truncation_finding
from experiments.core.kinds import Run
from experiments.core.overlap import Overlap, file_labels, refuse_repeated_files, say_overlaps, shared_prompts
from experiments.core.run_folder import RunFolder
from experiments.reporting.step_report import finish_steps
from experiments.text_rewards.fit_calculations import FitCalculations
from experiments.text_rewards.fit_ending import FitEnding, add_ending, ends
from experiments.text_rewards.fit_trunk import FitTrunk
from experiments.text_rewards.mistake_data import MistakeTraces
from experiments.text_rewards.step_candidates import Pool, SolutionCandidates
from experiments.text_rewards.step_data import PlantedErrors, StepFiles
from experiments.text_rewards.step_evaluation import (
    Row,
    Scored,
    Steps,
    calibration,
    location_rows,
    order_rows,
    pooled,
    worse_of,
)
from experiments.text_rewards.text_model import Base, TextModel, encode_fitting
from irl.algorithms.optimiser import AdamW
from irl.algorithms.process import Process
from irl.data.gsm8k import without_calculations
from irl.evaluation.audit import Finding
from irl.evaluation.benchmarks.processbench import NO_ERROR
from irl.rewards.claims import ClaimScorer
from irl.rewards.conversations import ConversationScorer
from irl.rewards.questions import Question, steps_answer
from irl.text.packed_steps import LabelledRows, PackedSteps
from irl.train import Schedule
from irl.types import LabelledSteps
from reward_models.aggregation import aggregate_rows
from reward_models.networks.base import Params
from reward_models.networks.heads import HeadedDecoderConfig, LinearHead, StepEnds
from reward_models.networks.regret import RegretConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.ranges import Seeds, Size, Tokens
from reward_models.records import record
from reward_models.types import Aggregate


@record
class ProcessModel(Run):
    """A process reward model from labelled steps."""

    title: str
    data: StepFiles | PlantedErrors | MistakeTraces
    model: TextModel = TextModel()
    trunk: FitTrunk | None = field(default_factory=FitTrunk)
    """None: no language model first, and no log-probability beside the scores."""
    calculations: FitCalculations | None = None
    """A second score of steps, of what they calculate alone: for annotated demonstrations. None: without."""
    ending: FitEnding = field(default_factory=FitEnding)
    algorithm: Process = field(default_factory=lambda: Process(optimiser=AdamW(learning_rate=1e-3, total_steps=2000)))
    schedule: Schedule = Schedule(steps=2000)
    aggregate: Aggregate = "min"
    """How the score of a trace follows from its steps': minimum, sum, mean, product or last."""
    rows: Size = 8
    length: Tokens = 512
    slots: Size = 64
    """Steps that a row has room for."""
    candidates: tuple[SolutionCandidates, ...] = ()
    seeds: Seeds = (0, 1, 2)
    """One head and order of data each, on one trunk; the first also draws the trunk."""

    def __post_init__(self):
        refuse_repeated_files({"ProcessModel.candidates": [each.file for each in self.candidates]})

    def run(self, folder: Path, command: str) -> Path:
        return run_process_model(self, folder, command)


def question_of_steps(trace: LabelledSteps) -> Question:
    """A step a line, as these models read them: without annotated calculations."""
    steps = [without_calculations(step) for step in trace.steps]
    return Question(trace.id, trace.prompt, (), (steps_answer(steps, "\n"),))


def run_process_model(config: ProcessModel, folder: Path, command: str) -> Path:
    """Run, or go on with, a process model; returns the report."""
    begun, run = time.perf_counter(), RunFolder(folder, config.seeds[0])
    pools = _pools(config)
    overlaps = config.data.overlaps() + _shared_with(config, pools)
    say_overlaps(run.say, overlaps)
    demonstrations = config.data.demonstrations(run.seed)
    windows = (window for trace in demonstrations for window in config.data.windows(trace))
    base = config.model.start(map(_text, windows), by_step=True)
    trunk = base.trunk if config.trunk is None else config.trunk.run(run, base, partial(_texts, config, run, base))
    network = HeadedDecoderConfig(
        decoder=base.decoder,
        head=LinearHead(labels=2, bias=True),
        read=StepEnds(aggregate=config.aggregate),
        information=config.data.information,
    )
    members = [_fit(config, RunFolder(folder, seed), base, network, trunk) for seed in config.seeds]
    ending = config.ending.run(run, config.data.complete(run.seed), config.data.about())
    for seed, params in zip(config.seeds, members, strict=True):
        target = folder / ("model" if seed == config.seeds[0] else f"model-seed-{seed}")
        if not target.exists():
            base.save(target, network, params)
        add_ending(folder, target)
    made = network.make()  # once: what is compiled for one member serves all
    readers = Readers(
        processes=[ConversationScorer(made, params, base.encoder) for params in members],
        calculations=_calculations(config, folder),
        baselines=_baselines(base, trunk if config.trunk is not None else None),
    )
    headline, together = _locations(config, base, readers, run)
    for pool in pools:
        headline += _orders(config, pool, base, readers, together, run)
    return finish_steps(
        run,
        headline,
        title=config.title,
        information=config.data.information,
        seeds=config.seeds,
        trained_on=config.data.about(),
        models=[folder / "model"],
        truncation=_truncation(config, base, readers, ending, run),
        command=command,
        seconds=time.perf_counter() - begun,
        overlaps=overlaps,
    )


def _pools(config: ProcessModel) -> list[Pool]:
    """The candidates, each pool under a name of its own."""
    labels = file_labels([each.file for each in config.candidates])
    return [each.pool()._replace(name=labels[each.file]) for each in config.candidates]


def _shared_with(config: ProcessModel, pools: Sequence[Pool]) -> list[Overlap]:
    """How many training problems have candidates in each pool; they stay in both."""
    prompts = config.data.prompts() if pools else []
    others = {pool.name: [question.prompt for question in pool.questions] for pool in pools}
    return [shared_prompts("training problems", prompts, f"candidates {name}", each) for name, each in others.items()]


class Reading(NamedTuple):
    """Traces as they are read: what is judged by itself, and how many of those one after another are a trace."""

    questions: list[Question]
    parts: list[int]

    def scores(self, scorer: ConversationScorer) -> Steps:
        """The step scores of every trace."""
        each = iter(step_scores(scorer, self.questions))
        return [np.concatenate([next(each) for _ in range(count)]) for count in self.parts]


class Readers(NamedTuple):
    """All that scores steps."""

    processes: list[ConversationScorer]
    calculations: list[ClaimScorer]
    """One for each process model, or none."""
    baselines: dict[str, ConversationScorer]

    def learned(self, reading: "Reading", written: Sequence[tuple[str, Sequence[str]]]) -> dict[str, list[Steps]]:
        """Step scores of every kind and seed; `written`: problems and steps, with annotations where they have any."""
        found = {PROCESS: [reading.scores(scorer) for scorer in self.processes]}
        if self.calculations:
            found[CALCULATIONS] = [scorer(written) for scorer in self.calculations]
        return found


Together = Callable[[dict[str, list[Steps]]], dict[str, list[Steps]]]
"""Adds to the learned scores the lower of both, as log-odds calibrated on validation problems."""


def _together(validation: Scored) -> Together:
    learned = validation.learned
    if CALCULATIONS not in learned:
        return lambda scores: scores
    fitted = {kind: [calibration(steps, validation.label) for steps in learned[kind]] for kind in learned}

    def together(scores: dict[str, list[Steps]]) -> dict[str, list[Steps]]:
        pairs = zip(fitted[PROCESS], scores[PROCESS], fitted[CALCULATIONS], scores[CALCULATIONS], strict=True)
        return scores | {BOTH: [worse_of(*pair) for pair in pairs]}

    return together


PROCESS, CALCULATIONS, BOTH = "process model", "calculations", "both"
LEARNED = (PROCESS, CALCULATIONS, BOTH)


def _calculations(config: ProcessModel, folder: Path) -> list[ClaimScorer]:
    """A score of calculations for each seed."""
    if config.calculations is None:
        return []
    lines = [step for trace in config.data.demonstrations(config.seeds[0]) for step in trace.steps]
    about = config.data.about()
    return [config.calculations.run(RunFolder(folder, seed), lines, about) for seed in config.seeds]


def _baselines(base: Base, trunk: Params | None) -> dict[str, ConversationScorer]:
    """Of the language model: the log-probability of a step, and the regret of its worst digit."""
    if trunk is None:
        return {}
    digits = tuple(id for token, id in base.encoder.tokenizer.get_vocab().items() if token.strip("Ġ▁ ").isdigit())
    networks: dict[str, SoftAdvantageConfig | RegretConfig] = {}
    networks[LOG_PROBABILITY] = SoftAdvantageConfig(decoder=base.decoder)
    if digits:
        networks["lowest regret of a digit"] = RegretConfig(decoder=base.decoder, judged=digits)
    return {name: ConversationScorer(network.make(), trunk, base.encoder) for name, network in networks.items()}


LOG_PROBABILITY = "log-probability"
TRUNCATED = 300
"""Traces of the truncation probe."""


def _text(trace: LabelledSteps) -> str:
    return f"{trace.prompt}\n{question_of_steps(trace).answers[0].text}"


def _texts(config: ProcessModel, run: RunFolder, base: Base, epoch: int):
    traces = config.data.demonstrations(run.seed + 1000 * epoch)
    windows = [window for trace in traces for window in config.data.windows(trace)]
    return encode_fitting(base.encoder, [question_of_steps(window) for window in windows]).rows


def _fit(
    config: ProcessModel, run: RunFolder, base: Base, network: HeadedDecoderConfig, trunk: Params | None
) -> Params:
    """One member: its own head, order of data and planted errors."""
    name = f"process-seed-{run.seed}"
    algorithm = config.algorithm.make(network.make())

    def draw(epoch: int) -> LabelledRows:
        drawn = (window for trace in config.data.epoch(epoch, run.seed) for window in config.data.windows(trace))
        windows = [window for window in drawn if any(label is not None for label in window.labels)]
        found = encode_fitting(base.encoder, [question_of_steps(window) for window in windows])
        if epoch == 0 and found.unfit:
            run.say(f"{name}: {len(found.unfit)} of {len(windows)} are left out, the first: {found.unfit[0]}")
        labels = [[np.nan if v is None else v for v in windows[i].labels] for i in found.kept]
        return LabelledRows(found.rows, labels)

    fresh = algorithm.init(run.key(name))
    params = fresh.params if trunk is None else network.with_trunk(fresh.params, trunk)
    size = {"rows": config.rows, "length": config.length, "slots": config.slots}
    source = PackedSteps(draw, **size, seed=run.seed, name=config.data.about())
    return jax.device_get(run.fit(name, algorithm, source, config.schedule, fresh._replace(params=params)).params)


def _locations(config: ProcessModel, base: Base, readers: Readers, run: RunFolder) -> tuple[list[Row], Together]:
    """Headline rows of every held-out set, and how scores of both kinds are put together."""
    held_out, information = config.data.held_out(), config.data.information

    def scored(sets: Mapping[str, list[LabelledSteps]]) -> dict[str, Scored]:
        return {name: _scored(config, base, readers, traces, run, name) for name, traces in sets.items()}

    validation, tests = scored(held_out.validation), scored(held_out.test)
    together = _together(pooled(list(validation.values())))

    def with_both(found: Scored) -> Scored:
        return found._replace(learned=together(found.learned))

    rows = []
    for name, test in tests.items():
        tuned = with_both(validation[held_out.threshold[name]])
        rows += location_rows(name, tuned, with_both(test), information)
    return rows, together


def _scored(
    config: ProcessModel, base: Base, readers: Readers, traces: Sequence[LabelledSteps], run: RunFolder, name: str
) -> Scored:
    """A set of traces with the scores of all that scores steps."""
    kept, reading = _readable(config, base, traces, run, name)
    length = [-np.array([len(step) for step in trace.steps], float) for trace in kept]
    return Scored(
        label=np.array([NO_ERROR if trace.first_error is None else trace.first_error for trace in kept]),
        subset=np.array([trace.subset for trace in kept]),
        learned=readers.learned(reading, [(trace.prompt, trace.steps) for trace in kept]),
        baselines={"length of the step": length}
        | {name: reading.scores(scorer) for name, scorer in readers.baselines.items()},
    )


def _truncation(
    config: ProcessModel, base: Base, readers: Readers, ending: ClaimScorer, run: RunFolder
) -> dict[str, Finding]:
    """The truncation probe of the first seed's scores, on right held-out traces."""

    def readable(traces: Sequence[Written]) -> tuple[list[LabelledSteps], Reading]:
        labelled = [
            LabelledSteps(id="probe", prompt=prompt, steps=tuple(steps), labels=(None,) * len(steps))
            for prompt, steps in traces
        ]
        return _readable(config, base, labelled, run, "truncation probe")

    def by_process(traces: Sequence[Written]) -> np.ndarray:
        steps = readable(traces)[1].scores(readers.processes[0])
        return aggregate_rows(steps, config.aggregate) + ends(ending, traces)

    def by_calculations(traces: Sequence[Written]) -> np.ndarray:
        return aggregate_rows(readers.calculations[0](traces), "min") + ends(ending, traces)

    kept, _ = readable(config.data.complete_held_out()[:TRUNCATED])
    written = [(trace.prompt, trace.steps) for trace in kept]

    found = {PROCESS: truncation_finding(by_process, written)}
    if readers.calculations:
        found[CALCULATIONS] = truncation_finding(by_calculations, written)
    return found


def _readable(
    config: ProcessModel, base: Base, traces: Sequence[LabelledSteps], run: RunFolder, name: str
) -> tuple[list[LabelledSteps], Reading]:
    """The traces all of whose windows fit; the others are counted."""
    windows = [[question_of_steps(window) for window in config.data.windows(trace)] for trace in traces]
    found = encode_fitting(base.encoder, [question for trace in windows for question in trace])
    fits, start, kept = set(found.kept), 0, []
    for index, trace in enumerate(windows):
        if fits.issuperset(range(start, start + len(trace))):
            kept.append(index)
        start += len(trace)
    if len(kept) < len(traces):
        left = len(traces) - len(kept)
        run.say(f"{name}: {left} of {len(traces)} traces are left out, the first: {found.unfit[0]}")
    read = Reading([question for i in kept for question in windows[i]], [len(windows[i]) for i in kept])
    return [traces[i] for i in kept], read


def _orders(
    config: ProcessModel, pool: Pool, base: Base, readers: Readers, together: Together, run: RunFolder
) -> list[Row]:
    """Headline rows of a pool of candidates: AUC within problems."""
    found = encode_fitting(base.encoder, pool.questions)
    if found.unfit:
        run.say(f"{pool.name}: {len(found.unfit)} of {len(pool.questions)} answers left out: {found.unfit[0]}")
    questions, kept = [pool.questions[i] for i in found.kept], np.array(found.kept)
    scores = {}
    reading = Reading(questions, [1] * len(questions))
    written = [(q.prompt, q.answers[0].parts or ()) for q in questions]
    for kind, members in together(readers.learned(reading, written)).items():
        for how in ("min", "mean", "sum"):
            scores[f"{kind}, {how}"] = [aggregate_rows(each, how) for each in members]
    length = np.array([len(q.answers[0].text) for q in questions], float)
    scores |= {"shortest": [-length], "longest": [length]}
    for name, scorer in readers.baselines.items():
        scores[name] = [aggregate_rows(step_scores(scorer, questions), scorer.spec.aggregate)]
    if LOG_PROBABILITY in scores:
        tokens = np.array([sum(s >= 0 for s in row.step_id) for row in found.rows])
        scores[f"mean {LOG_PROBABILITY}"] = [scores[LOG_PROBABILITY][0] / tokens]
    return order_rows(pool.name, pool.problem[kept], pool.correct[kept], scores, LEARNED, config.data.information)


def step_scores(scorer: ConversationScorer, questions: Sequence[Question], at_once: int = 4096) -> list[np.ndarray]:
    """The scores of the steps of every question's one answer."""
    blocks = (scorer(questions[start : start + at_once]) for start in range(0, len(questions), at_once))
    return [np.array(steps) for block in blocks for steps in block.steps]
