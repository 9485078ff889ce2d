"""Stage: a policy by maximum likelihood on expert traces."""

import time
from dataclasses import field

import numpy as np

from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations, encode_traces, enough_rows
from experiments.traces.validation import validation
from irl.algorithms.sft import Sft
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.text.pipeline import ArraySource
from irl.train import Schedule
from reward_models.networks.decoder import DecoderConfig
from reward_models.ranges import Size, Tokens
from reward_models.records import record
from reward_models.types import ScoreSpec

EVALUATIONS = 8
"""How often the likelihood of validation traces is measured, where the domain has some."""


@record
class FitPolicy:
    """Supervised fine-tuning from scratch. Rows are packed, `batch_size` counts rows."""

    network: DecoderConfig
    demonstrations: Demonstrations = field(default_factory=Demonstrations)
    algorithm: Sft = field(default_factory=Sft)
    schedule: Schedule = Schedule(steps=1000)
    batch_size: Size = 48
    row_length: Tokens = 128

    def run(self, workspace: Workspace, name: str = "policy") -> FittedPolicy:
        done = workspace.load_model(name)
        if done is not None:
            return FittedPolicy(LanguageModel(network=done.network), done.params)
        traces = self.demonstrations.traces(workspace, name)
        rows = enough_rows(workspace, encode_traces(workspace, traces), self.batch_size, self.row_length)
        packed = workspace.encoder.pack(rows, self.row_length, option=f"{name}.row_length")
        whole, start = workspace.checkpoints(name).latest() is None, time.perf_counter()
        state = workspace.fit(
            name,
            self.algorithm.make(self.network),
            ArraySource(
                packed,
                self.batch_size,
                workspace.seed,
                of=f"rows of {len(traces)} demonstrations",
                option=f"{name}.batch_size",
            ),
            self.schedule,
            label=f"{name}: likelihood of {len(traces)} traces",
            evaluators=validation(workspace, self.network),
            evaluate_every=self.schedule.period(min(EVALUATIONS, self.schedule.steps)),
        )
        tokens = int(self.schedule.steps * self.batch_size * np.mean((packed.segment > 0).sum(1)))
        note = "useful tokens, compilation and checkpoints included; bounded by matrix products of the feed-forward"
        if whole:  # a part of the steps is not a measurement
            workspace.measured(f"training, {name}", tokens, time.perf_counter() - start, note)
        spec = ScoreSpec("reward", "sum", "demonstrations")
        workspace.save_model(name, self.network, state.params, spec, trained_on=f"{len(traces)} expert traces")
        return FittedPolicy(LanguageModel(network=self.network), state.params)
