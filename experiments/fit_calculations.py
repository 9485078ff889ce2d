"""Stage: a soft Q-function of written calculations, and the step score that it gives: the lowest regret of a digit.

Right calculations of demonstrated solutions, with other numbers, are all that it learns from (irl/traces/exercises.py).
A step is as good as its worst digit in either reading of its calculations (irl/traces/equations.py); a step that
calculates nothing scores 0. The folder that is left, calculations-seed-N, is read again by `load_calculations`.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import jax
import numpy as np
from tokenizers import Tokenizer

from experiments.run_folder import RunFolder
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.traces.conversations import Question, checked_name, split_parts
from irl.traces.encode import EncodedTrace, Encoder
from irl.traces.equations import equation_windows, equations
from irl.traces.exercises import drawn, exercises
from irl.traces.packed_steps import LabelledRows, PackedSteps
from irl.traces.pipeline import Json, PyTree
from irl.traces.scoring import TextScorer, TextScores
from irl.traces.tokenize import END, number_tokenizer
from irl.traces.windows import StepWindow, encode_windows
from irl.train import Schedule
from irl.types import InputError
from reward_models.checkpoint_folder import MANIFEST, load_folder, save_folder
from reward_models.networks.base import Params
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.regret import RegretConfig
from reward_models.tensor_file import check_params
from reward_models.types import TraceBatch

_RESULT = "0123456789."
WINDOWS = "equations"
"""What the manifest of a folder calls windows of calculations."""
_CLASSES: dict[str, type] = {c.__name__: c for c in (RegretConfig, DecoderConfig, RopeScaling)}
LONGEST = 96
"""Tokens of the longest calculation; longer ones are not judged."""


@dataclass(frozen=True, kw_only=True)
class FitCalculations:
    """Likelihood of the results of right calculations, in both orders of their digits."""

    decoder: DecoderConfig = DecoderConfig(
        vocab_size=64, num_layers=3, dim=96, num_heads=4, num_kv_heads=2, head_dim=24, hidden_dim=256
    )
    """Its vocabulary is that of the number games."""
    algorithm: Sft = field(default_factory=lambda: Sft(optimiser=Muon(learning_rate=4e-3, total_steps=1500)))
    schedule: Schedule = Schedule(steps=1500)
    rows: int = 48
    length: int = 96
    epoch: int = 40_000
    """Calculations of an epoch; every epoch has others."""
    renumber: float = 0.85
    """Share of the calculations that are carried over to other numbers."""

    def run(self, folder: RunFolder, lines: Iterable[str], trained_on: str) -> "CalculationScorer":
        """Learn from annotated lines of right solutions, under the folder's seed."""
        tokenizer = number_tokenizer()
        encoder = Encoder(tokenizer, LONGEST, 1)
        decoder = replace(self.decoder, vocab_size=tokenizer.get_vocab_size())
        judged = tuple(sorted(encoder.special(token) for token in (*_RESULT, END)))
        network = RegretConfig(decoder=decoder, judged=judged)
        pool = exercises(lines)
        if not pool:
            raise InputError("calculations: no right <<calculation>> in the demonstrations; set calculations to None")

        def draw(epoch: int) -> LabelledRows:
            rng = np.random.default_rng([folder.seed, 7, epoch])
            made = drawn(pool, self.epoch, self.renumber, rng)
            windows = [
                equation_windows(each)[int(back)] for each, back in zip(made, rng.random(len(made)) < 0.5, strict=True)
            ]
            fitting = [row for row in encode_windows(encoder, windows) if len(row.tokens) <= self.length]
            return LabelledRows(fitting, [[1.0]] * len(fitting))

        name = f"calculations-seed-{folder.seed}"
        algorithm = self.algorithm.make(decoder)
        source = Calculations(PackedSteps(draw, rows=self.rows, length=self.length, seed=folder.seed, name=name))
        params = jax.device_get(folder.fit(name, algorithm, source, self.schedule).params)
        target = folder.folder / name
        if not target.exists():
            save_folder(
                target,
                params=params,
                network=network,
                spec=network.make().spec,
                tokenizer_json=tokenizer.to_str(),
                manifest={"seed": folder.seed, "windows": WINDOWS, "trained_on": trained_on},
            )
        return CalculationScorer(network, params, encoder)


class Calculations:
    """A `Source` of packed TraceBatches, without the labels that packed steps have."""

    def __init__(self, packed: PackedSteps):
        self._packed = packed

    def next(self, state: PyTree = None) -> TraceBatch:
        return self._packed.next().traces

    def get_state(self) -> Json:
        return self._packed.get_state()

    def set_state(self, state: Json) -> None:
        self._packed.set_state(state)


class CalculationScorer:
    """Scores of steps by what they calculate; equal calculations are scored once."""

    def __init__(self, network: RegretConfig, params: Params, encoder: Encoder):
        self._scorer = TextScorer(network.make(), params, encoder, lambda text: (text,))
        self._encoder = encoder
        self.spec = network.make().spec

    def answers(self, questions: Sequence[Question]) -> TextScores:
        """An entry per answer, in order: its steps (paragraphs or lines) by their calculations, and their minimum."""
        steps = []
        for question in questions:
            for answer in question.answers:
                checked_name(question, answer)
                steps.append(tuple(part.strip("\n") for part in answer.parts or split_parts(answer.text)))
        found = self(steps)
        return TextScores(np.array([row.min() for row in found]), [row.tolist() for row in found], steps)

    def __call__(self, traces: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Step scores (nats, at most 0) of traces given as step texts."""
        windows = [[w for e in equations(step) for w in equation_windows(e)] for trace in traces for step in trace]
        number: dict[StepWindow, int] = {}
        index = [[number.setdefault(window, len(number)) for window in step] for step in windows]
        scores = self._scores(encode_windows(self._encoder, list(number))) if number else np.zeros(0)
        steps = iter([min((float(scores[i]) for i in step), default=0.0) for step in index])
        return [np.array([next(steps) for _ in trace]) for trace in traces]

    def _scores(self, rows: Sequence[EncodedTrace]) -> np.ndarray:
        """One score a row, 0 for those that are too long."""
        fits = [self._encoder.fits(row) for row in rows]
        out = np.zeros(len(rows))
        out[fits] = self._scorer.score_rows([row for row, fit in zip(rows, fits, strict=True) if fit])[:, 0]
        return out


def holds_calculations(folder: Path) -> bool:
    """Whether a folder is one that `FitCalculations` left."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("windows") == WINDOWS


def load_calculations(folder: Path) -> CalculationScorer:
    """The score that a folder holds. ModelFolderError or InputError name what is wrong with it."""
    model = load_folder(folder, classes=_CLASSES)
    network = model.network
    if not isinstance(network, RegretConfig):
        raise InputError(f"{folder}/config.json: network: expected RegretConfig, got {type(network).__name__}")
    try:
        check_params(model.params, jax.eval_shape(network.make().init, jax.random.key(0)))
    except ValueError as error:
        raise InputError(f"{folder}/model.safetensors: {error}") from error
    return CalculationScorer(network, model.params, Encoder(Tokenizer.from_str(model.tokenizer_json), LONGEST, 1))


def without_calculation(questions: Iterable[Question], file: Path) -> str:
    """What is to be said of answers in which nothing is read. InputError where that is all of them."""
    count = [0, 0]
    for question in questions:
        for answer in question.answers:
            count[bool(equations(answer.text))] += 1
    silent, calculating = count
    if silent and not calculating:
        told = f"none of its {silent} candidates writes a calculation, such as 48/2 = 24 or <<48/2=24>>"
        raise InputError(f"{file}: {told}, and this model reads nothing else; take the process model beside it")
    told = f"{silent} of {silent + calculating} candidates write no calculation and score 0, as if all were right"
    return told if silent else ""
