"""The likelihood of validation traces in training, for the report: does a stage learn its traces by heart?"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from experiments.core.workspace import Workspace
from experiments.reporting.report_records import read_metrics_lines
from irl.algorithms.base import State
from irl.domains.base import HasDemonstrations
from irl.policies.language_model import LanguageModel
from irl.text.packing import EncodedTrace
from irl.train import Row
from reward_models.networks.decoder import DecoderConfig

TRACES = 256
"""The most traces that are measured."""
METRIC = "validation log-probability"


@dataclass(frozen=True)
class ValidationLikelihood:
    """Mean log-probability of a token of the validation traces, in nats: an `Evaluator`."""

    workspace: Workspace
    network: DecoderConfig
    rows: list[EncodedTrace]

    def run(self, step: int, state: State) -> Iterable[Row]:
        encoder, size, total, tokens = self.workspace.encoder, 32, 0.0, 0
        policy = LanguageModel(network=self.network)
        for start in range(0, len(self.rows), size):
            part = self.rows[start : start + size]
            batch = encoder.batch(part + part[-1:] * (size - len(part)), [0] * size)
            token = np.asarray(jax.device_get(policy.log_prob(state.params, batch)))[: len(part)]
            total += float(token.sum())
            tokens += int((batch.step_id[: len(part)] >= 0).sum())
        yield {METRIC: total / tokens}


def validation(workspace: Workspace, network: DecoderConfig) -> list[ValidationLikelihood]:
    """The evaluator of a domain that has validation traces; nothing for others."""
    domain, encoder = workspace.environment, workspace.encoder
    traces = domain.demonstrations("validation") if isinstance(domain, HasDemonstrations) else ()
    rows = encoder.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])
    fitting = [row for row in rows if encoder.fits(row)][:TRACES]
    return [ValidationLikelihood(workspace, network, fitting)] if fitting else []


def validation_panel(workspace: Workspace) -> list[dict[str, Any]]:
    """The report's panel of all stages that measured it."""
    curves: dict[str, dict[int, float]] = {}
    for line in read_metrics_lines(workspace.folder / "metrics.jsonl"):
        value = line.values.get(METRIC)
        if value is not None:
            curves.setdefault(line.stage, {})[line.step] = value
    series = [
        {"name": stage, "role": "learned", "x": list(points), "y": list(points.values())}
        for stage, points in curves.items()
    ]
    label = "log-probability of a token, nats"
    return [{"name": "validation traces", "x_label": "step", "y_label": label, "series": series}] if series else []
