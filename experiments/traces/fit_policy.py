"""Stage: a policy by maximum likelihood on expert traces, from random weights or from a language model."""

import time
from dataclasses import field, replace
from pathlib import Path
from typing import Literal

import jax
import numpy as np

from experiments.core.workspace import Workspace
from experiments.traces.demonstrations import Demonstrations, encode_traces, enough_rows
from experiments.traces.validation import validation
from irl.algorithms.base import init_at
from irl.algorithms.sft import Sft
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.text.pipeline import ArraySource
from irl.train import Schedule
from irl.types import InputError
from reward_models.folders.opening import open_base
from reward_models.networks.adapters import LowRank
from reward_models.networks.base import Params
from reward_models.networks.decoder import DecoderConfig
from reward_models.ranges import Name, Size, Tokens
from reward_models.records import record
from reward_models.types import ScoreSpec

EVALUATIONS = 8
"""How often the likelihood of validation traces is measured, where the domain has some."""


@record
class FitPolicy:
    """Supervised fine-tuning. Rows are packed, `batch_size` counts rows."""

    network: DecoderConfig
    """The shape of a decoder with random weights; that of `base`, where there is one, takes its place."""
    base: Name | None = None
    """A causal language model to start from: a Hugging Face folder or a GGUF file. Its tokenizer and its chat template
    take the place of the run's."""
    adapters: LowRank | None = None
    """Train low-rank adapters on the frozen weights of `base`; None: train all weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The type of the weights of `base`, and of the computation with them."""
    demonstrations: Demonstrations = field(default_factory=Demonstrations)
    algorithm: Sft = field(default_factory=Sft)
    schedule: Schedule | None = Schedule(steps=1000)
    """None: the policy is `base` as it is."""
    batch_size: Size = 48
    row_length: Tokens = 128

    def __post_init__(self):
        if self.base is None and (self.adapters is not None or self.network.adapters is not None):
            raise InputError("policy.adapters: adapters need trained weights under them; give a model by policy.base")
        if self.base is None and self.schedule is None:
            raise InputError("policy.schedule: None, so nothing is trained; give a trained model by policy.base")

    def files(self) -> list[str]:
        """The files of the base with its weights, which adapters depend on."""
        base = None if self.base is None else Path(self.base)
        if base is None or base.is_file():
            return [] if base is None else [str(base)]
        return sorted(map(str, base.glob("*.safetensors")))

    def resolved(self) -> "FitPolicy":
        """This stage with the network of its base."""
        if self.base is None:
            return self
        network = open_base(self.base, self.dtype).network
        return replace(self, network=replace(network, adapters=self.adapters, remat=self.network.remat))

    def initial(self, key: jax.Array) -> Params:
        """Random weights, or those of the base, with fresh adapters where there are any."""
        if self.base is None:
            return self.network.make().init(key)
        params = open_base(self.base, self.dtype).params
        return params if self.adapters is None else self.adapters.fresh(key, params)

    def run(self, workspace: Workspace, name: str = "policy") -> FittedPolicy:
        done = workspace.load_model(name)
        if done is not None:
            return FittedPolicy(LanguageModel(network=done.network), done.params)
        start = None if self.base is None else self.initial(workspace.key(f"{name} adapters"))
        schedule = self.schedule
        if schedule is None:
            return self._finished(workspace, name, start, f"{self.base}, as it is")
        traces = self.demonstrations.traces(workspace, name)
        rows = enough_rows(workspace, encode_traces(workspace, traces), self.batch_size, self.row_length)
        packed = workspace.encoder.pack(rows, self.row_length, option=f"{name}.row_length")
        whole, begun = workspace.checkpoints(name).latest() is None, time.perf_counter()
        algorithm = self.algorithm.make(self.network)
        state = workspace.fit(
            name,
            algorithm,
            ArraySource(
                packed,
                self.batch_size,
                workspace.seed,
                of=f"rows of {len(traces)} demonstrations",
                option=f"{name}.batch_size",
            ),
            schedule,
            None if start is None else init_at(algorithm, workspace.key(name), start),
            label=f"{name}: likelihood of {len(traces)} traces",
            evaluators=validation(workspace, self.network),
            evaluate_every=schedule.period(min(EVALUATIONS, schedule.steps)),
        )
        tokens = int(schedule.steps * self.batch_size * np.mean((packed.segment > 0).sum(1)))
        note = "useful tokens, compilation and checkpoints included; bounded by matrix products of the feed-forward"
        if whole:  # a part of the steps is not a measurement
            workspace.measured(f"training, {name}", tokens, time.perf_counter() - begun, note)
        on = "" if self.base is None else f", from {self.base}"
        return self._finished(workspace, name, state.params, f"{len(traces)} expert traces{on}")

    def _finished(self, workspace: Workspace, name: str, params: Params, about: str) -> FittedPolicy:
        spec = ScoreSpec("reward", "sum", "demonstrations")
        workspace.save_model(name, self.network, params, spec, trained_on=about)
        return FittedPolicy(LanguageModel(network=self.network), params)
