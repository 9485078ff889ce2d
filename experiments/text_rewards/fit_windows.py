"""Judge: a soft Q-function of the windows that a domain writes (irl/text/readings.py), learned from right traces alone.

A step is as good as the worst judged token of its windows. The end of a trace is judged by such a function too.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path

import jax
import numpy as np

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.judge import Judge, StepScores
from experiments.text_rewards.step_data import StepData
from experiments.text_rewards.step_evaluation import Steps
from irl.algorithms.optimiser import Muon
from irl.algorithms.sft import Sft
from irl.rewards.claims import ClaimScorer
from irl.rewards.ending import end_score
from irl.rewards.questions import END_FOLDER
from irl.text.encode import Encoder
from irl.text.packed_steps import PackedTexts
from irl.text.packing import EncodedTrace
from irl.text.readings import Endings, Reading, RightTraces
from irl.text.windows import encode_windows
from irl.train import Schedule
from irl.types import LabelledSteps, Written
from reward_models.aggregation import aggregate_rows
from reward_models.folders.manifest import Provenance, is_older
from reward_models.folders.native import new_folder, save_folder
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.regret import RegretConfig
from reward_models.ranges import Size, Tokens
from reward_models.records import record


@record
class FitWindows(Judge):
    """Likelihood of the windows of right traces."""

    windows: Reading
    decoder: DecoderConfig = DecoderConfig(
        vocab_size=64, num_layers=3, dim=96, num_heads=4, num_kv_heads=2, head_dim=24, hidden_dim=256
    )
    """Its vocabulary is that of the reading."""
    algorithm: Sft = field(default_factory=lambda: Sft(optimiser=Muon(learning_rate=4e-3, total_steps=1500)))
    schedule: Schedule = Schedule(steps=1500)
    rows: Size = 48
    length: Tokens = 96
    """Tokens of a row; longer windows are left out of the training."""

    @property
    def name(self) -> str:
        return self.windows.scores

    def fit(self, run: RunFolder, data: StepData, seeds: Sequence[int]) -> StepScores:
        names = {seed: f"{self.name}-seed-{seed}" for seed in seeds}
        trained_on = data.about_right()
        return StepScores(
            name=self.name,
            information="demonstrations",
            trained_on=trained_on,
            members=[_by_steps(scorer) for scorer in self.learn(run, data, names, trained_on)],
            models=[run.folder / name for name in names.values()],
            aggregate="min",
        )

    def learn(
        self, run: RunFolder, traces: RightTraces, names: Mapping[int, str], trained_on: str
    ) -> list[ClaimScorer]:
        """The scorer of each seed; `names` are those of their model folders."""
        reading, tokenizer, draw = self.windows, self.windows.tokenizer(), self.windows.draw(traces, run.seed)
        encoder = Encoder(tokenizer, reading.longest, 1)
        decoder = replace(self.decoder, vocab_size=tokenizer.get_vocab_size())
        config = RegretConfig(decoder=decoder, judged=tuple(sorted(map(encoder.special, reading.judged))))
        algorithm, network, scorers = self.algorithm.make(decoder), config.make(), []
        for seed, name in names.items():

            def fitting(epoch: int, seed: int = seed) -> list[EncodedTrace]:
                return [row for row in encode_windows(encoder, draw(seed, epoch)) if len(row.tokens) <= self.length]

            source = PackedTexts(fitting, rows=self.rows, length=self.length, seed=seed, name=name)
            params = jax.device_get(run.of_seed(seed).fit(name, algorithm, source, self.schedule).params)
            target = run.folder / name
            if not target.exists() or is_older(target):
                save_folder(
                    target,
                    params=params,
                    network=config,
                    spec=network.spec,
                    tokenizer_json=tokenizer.to_str(),
                    manifest=Provenance(seed=seed, windows=reading.name, trained_on=trained_on),
                )
            scorers.append(ClaimScorer(network, params, reading, encoder))
        return scorers


ENDING = FitWindows(
    windows=Endings(),
    decoder=DecoderConfig(
        vocab_size=64, num_layers=2, dim=64, num_heads=4, num_kv_heads=2, head_dim=16, hidden_dim=176
    ),
    algorithm=Sft(optimiser=Muon(learning_rate=4e-3, total_steps=200)),
    schedule=Schedule(steps=200),
    rows=8,
    length=280,
)
"""Likelihood of ending after the last step of a demonstration, and of continuing after the others."""


def ends(ending: ClaimScorer, traces: Sequence[Written]) -> np.ndarray:
    """The score of the end of each trace, in nats."""
    return end_score(aggregate_rows(ending(traces), "min"))


def add_ending(run: Path, model: Path) -> None:
    """Copy the score of ends of a run into a model folder that has none."""
    if not (model / END_FOLDER).exists():
        with new_folder(model / END_FOLDER) as new:
            shutil.copytree(run / END_FOLDER, new)


def _by_steps(scorer: ClaimScorer):
    def steps(traces: Sequence[LabelledSteps]) -> Steps:
        return scorer([(trace.prompt, trace.steps) for trace in traces])

    return steps
