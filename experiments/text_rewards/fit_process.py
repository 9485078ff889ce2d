"""Judge: a process reward model. A token classifier for each seed learns from labelled steps which step is wrong.

A language model on right solutions gives the trunk and the log-probability baseline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.headed_model import HeadedModel
from experiments.text_rewards.judge import Judge, StepScores
from experiments.text_rewards.step_data import StepData
from experiments.text_rewards.step_evaluation import Steps
from experiments.text_rewards.text_model import Base, Row, encode_each, fitting
from irl.algorithms.optimiser import AdamW
from irl.algorithms.process import Process
from irl.data.gsm8k import without_calculations
from irl.rewards.conversations import ConversationScorer
from irl.rewards.questions import Question, steps_answer
from irl.text.packed_steps import LabelledRows, PackedSteps
from irl.text.packing import EncodedTrace
from irl.train import Schedule
from irl.types import LabelledSteps
from reward_models.aggregation import aggregate_rows
from reward_models.networks.base import Params
from reward_models.networks.heads import HeadedDecoderConfig, LinearHead, StepEnds
from reward_models.networks.regret import RegretConfig
from reward_models.ranges import Size
from reward_models.records import record
from reward_models.types import Aggregate

STAGE = "process"
LOG_PROBABILITY, REGRET = "log-probability", "lowest regret of a digit"


@record
class FitProcess(HeadedModel, Judge):
    """A process reward model from labelled steps."""

    algorithm: Process = field(default_factory=lambda: Process(optimiser=AdamW(learning_rate=1e-3, total_steps=2000)))
    schedule: Schedule = Schedule(steps=2000)
    aggregate: Aggregate = "min"
    """How the score of a trace follows from its steps': minimum, sum, mean, product or last."""
    slots: Size = 64
    """Steps that a row has room for."""

    @property
    def name(self) -> str:
        return "process model"

    def fit(self, run: RunFolder, data: StepData, seeds: Sequence[int]) -> "ProcessScores":
        """A head and an order of data for each seed, on one trunk."""
        base = self.start(map(_text, _windows(data, data.demonstrations(run.seed))), by_step=True)
        trunk = self.fit_trunk(run, base, partial(_texts, data, run, base))
        network = HeadedDecoderConfig(
            decoder=base.decoder,
            head=LinearHead(labels=2, bias=True),
            read=StepEnds(aggregate=self.aggregate),
            information=data.information,
        )
        source = partial(self._source, data, base)
        heads = self.fit_heads(run, base, trunk, network, self.algorithm.make, seeds, STAGE, source)
        return ProcessScores(
            name=self.name,
            information=data.information,
            trained_on=data.about(),
            members=[partial(_steps, data, scorer) for scorer in heads.scorers],
            models=heads.models,
            aggregate=self.aggregate,
            data=data,
            base=base,
            baselines=_baselines(base, trunk, self.likelihood(base, trunk)),
        )

    def _source(self, data: StepData, base: Base, run: RunFolder) -> PackedSteps:
        def draw(epoch: int) -> LabelledRows:
            drawn = _windows(data, data.epoch(epoch, run.seed))
            windows = [window for window in drawn if any(label is not None for label in window.labels)]
            rows = _rows(base, windows)
            unfit = [row for row in rows if isinstance(row, str)]
            if epoch == 0 and unfit:
                run.say(f"{STAGE}-seed-{run.seed}: {len(unfit)} of {len(windows)} are left out, the first: {unfit[0]}")
            kept = [window for window, row in zip(windows, rows, strict=True) if not isinstance(row, str)]
            return LabelledRows(fitting(rows), [[np.nan if v is None else v for v in each.labels] for each in kept])

        size = {"rows": self.rows, "length": self.length, "slots": self.slots}
        return PackedSteps(draw, **size, seed=run.seed, name=data.about())


@dataclass(frozen=True, kw_only=True)
class ProcessScores(StepScores):
    """The scores of a process model, and those of its language model."""

    data: StepData
    base: Base
    baselines: dict[str, ConversationScorer]

    def unreadable(self, traces: Sequence[LabelledSteps]) -> list[str]:
        """A trace is read where all of its windows fit."""
        rows = iter(_rows(self.base, _windows(self.data, traces)))
        windows = [[next(rows) for _ in self.data.windows(trace)] for trace in traces]
        return [next((row for row in trace if isinstance(row, str)), "") for trace in windows]

    def step_baselines(self, traces: Sequence[LabelledSteps]) -> dict[str, Steps]:
        return {name: _steps(self.data, scorer, traces) for name, scorer in self.baselines.items()}

    def trace_baselines(self, traces: Sequence[LabelledSteps]) -> dict[str, np.ndarray]:
        """The mean log-probability too."""
        steps = self.step_baselines(traces)
        scores = {name: aggregate_rows(rows, self.baselines[name].spec.aggregate) for name, rows in steps.items()}
        if LOG_PROBABILITY in scores:
            rows = iter(fitting(_rows(self.base, _windows(self.data, traces))))
            tokens = [sum(s >= 0 for _ in self.data.windows(trace) for s in next(rows).step_id) for trace in traces]
            scores[f"mean {LOG_PROBABILITY}"] = scores[LOG_PROBABILITY] / np.array(tokens)
        return scores


def _baselines(
    base: Base, trunk: Params | None, likelihood: ConversationScorer | None
) -> dict[str, ConversationScorer]:
    """Of the language model: the log-probability of a step, and the regret of its worst digit."""
    if trunk is None or likelihood is None:
        return {}
    digits = tuple(id for token, id in base.encoder.tokenizer.get_vocab().items() if token.strip("Ġ▁ ").isdigit())
    if not digits:
        return {LOG_PROBABILITY: likelihood}
    regret = RegretConfig(decoder=base.decoder, judged=digits)
    return {LOG_PROBABILITY: likelihood, REGRET: ConversationScorer(regret.make(), trunk, base.encoder)}


def _question(trace: LabelledSteps) -> Question:
    """A step a line, without annotated calculations."""
    steps = [without_calculations(step) for step in trace.steps]
    return Question(trace.id, trace.prompt, (), (steps_answer(steps, "\n"),))


def _windows(data: StepData, traces: Sequence[LabelledSteps]) -> list[LabelledSteps]:
    return [window for trace in traces for window in data.windows(trace)]


def _rows(base: Base, windows: Sequence[LabelledSteps]) -> list[Row]:
    return encode_each(base.encoder, list(map(_question, windows)))


def _text(trace: LabelledSteps) -> str:
    return f"{trace.prompt}\n{_question(trace).answers[0].text}"


def _texts(data: StepData, run: RunFolder, base: Base, epoch: int) -> list[EncodedTrace]:
    return fitting(_rows(base, _windows(data, data.demonstrations(run.seed + 1000 * epoch))))


def _steps(data: StepData, scorer: ConversationScorer, traces: Sequence[LabelledSteps], at_once: int = 4096) -> Steps:
    """The step scores of every trace, whose windows follow one another."""
    windows = [data.windows(trace) for trace in traces]
    questions = [_question(window) for trace in windows for window in trace]
    blocks = (scorer(questions[start : start + at_once]) for start in range(0, len(questions), at_once))
    each = iter([np.array(steps) for block in blocks for steps in block.steps])
    return [np.concatenate([next(each) for _ in trace]) for trace in windows]
