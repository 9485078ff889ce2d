"""Stage: where demonstrations end, and the score that it adds to every trace."""

import shutil
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

import numpy as np

from experiments.commands.truncation import Written
from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_claims import FitClaims
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.rewards.claims import ClaimScorer
from irl.rewards.ending import end_score
from irl.rewards.questions import END_FOLDER
from irl.text.readings import ENDINGS
from irl.text.windows import ENDING, SILENT, StepWindow, ending_window
from irl.train import Schedule
from reward_models.aggregation import aggregate_rows
from reward_models.folders.native import new_folder
from reward_models.networks.decoder import DecoderConfig
from reward_models.ranges import RowsOrZero, Size, Tokens
from reward_models.records import record

STEPS = 200
SHORTEST = 8
"""Characters of a step in the shortest splice."""


@record
class FitEnding(FitClaims):
    """Likelihood of ending after the last step of a demonstration, and of continuing after the others."""

    decoder: DecoderConfig = DecoderConfig(
        vocab_size=64, num_layers=2, dim=64, num_heads=4, num_kv_heads=2, head_dim=16, hidden_dim=176
    )
    algorithm: Sft = field(default_factory=lambda: Sft(optimiser=Muon(learning_rate=4e-3, total_steps=STEPS)))
    schedule: Schedule = Schedule(steps=STEPS)
    rows: Size = 8
    length: Tokens = 280
    earlier: RowsOrZero = 3
    """Steps before the last that an epoch takes from each trace."""

    def run(self, folder: RunFolder, traces: Sequence[Written], trained_on: str) -> ClaimScorer:
        """Learn from the steps of complete right traces, under the folder's seed."""

        def draw(epoch: int) -> list[StepWindow]:
            rng = np.random.default_rng([folder.seed, 13, epoch])
            chosen = [(step, closes) for _, steps in traces for step, closes in self._some(steps, rng)]
            others = rng.permutation(len(chosen))
            return [
                ending_window(_spliced(chosen[other][0], step, rng), closes)
                for (step, closes), other in zip(chosen, others, strict=True)
            ]

        return self.fit(folder, END_FOLDER, ENDINGS, draw, trained_on)

    def _some(self, steps: Sequence[str], rng: np.random.Generator) -> list[tuple[str, bool]]:
        """The last step, and some earlier ones drawn at random, with whether the trace ends after each."""
        chosen = rng.permutation(len(steps) - 1)[: self.earlier]
        return [(steps[-1], True), *((steps[i], False) for i in chosen)]


def _spliced(other: str, step: str, rng: np.random.Generator) -> str:
    """Half of the time, the last characters of a step behind another step.

    The decision then depends on how a step ends and not on what the step is about: answers behind unusual steps count.
    """
    words = step.rstrip(SILENT)
    return words if rng.random() < 0.5 else other + words[-int(rng.integers(SHORTEST, ENDING)) :]


def ends(ending: ClaimScorer, traces: Sequence[Written]) -> np.ndarray:
    """The score of the end of each trace, in nats."""
    return end_score(aggregate_rows(ending(traces), "min"))


def add_ending(run: Path, model: Path) -> None:
    """Copy the score of ends of a run into a model folder that has none."""
    if not (model / END_FOLDER).exists():
        with new_folder(model / END_FOLDER) as new:
            shutil.copytree(run / END_FOLDER, new)
