"""A step score learned from right traces alone: a soft Q-function of what steps claim.

Claims are written in irl/domains/bigbench_mistake/claims.py. The function sees no wrong step. How low is
wrong is set on labelled validation problems; the lowest step needs no such number.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

import numpy as np

from experiments.commands.truncation import truncation_finding
from experiments.core.kinds import Run
from experiments.core.run_folder import RunFolder
from experiments.reporting.step_report import finish_steps
from experiments.text_rewards.fit_claims import FitClaims
from experiments.text_rewards.fit_ending import FitEnding, add_ending, ends
from experiments.text_rewards.mistake_data import MistakeTraces
from experiments.text_rewards.step_evaluation import Row, Scored, Steps, location_rows, oracle_row
from irl.domains.bigbench_mistake.claims import MISTAKES, claims, holds
from irl.evaluation.audit import Finding
from irl.evaluation.benchmarks.processbench import NO_ERROR
from irl.rewards.claims import ClaimScorer
from irl.text.windows import StepWindow
from irl.types import LabelledSteps
from reward_models.aggregation import aggregate_rows
from reward_models.ranges import Rows, Seeds
from reward_models.records import record

INFORMATION = "demonstrations"
CLAIMS = "claims"


@record
class ClaimModel(Run):
    """A run: a soft Q-function of claims per seed, and where it finds the first mistakes of held-out traces."""

    title: str
    data: MistakeTraces
    claims: FitClaims = field(default_factory=FitClaims)
    ending: FitEnding = field(default_factory=FitEnding)
    per_trace: Rows = 6
    """Claims that an epoch learns from each trace, of different steps: traces differ much in length."""
    seeds: Seeds = (0, 1, 2)

    def run(self, folder: Path, command: str) -> Path:
        return run_claim_model(self, folder, command)


def run_claim_model(config: ClaimModel, folder: Path, command: str) -> Path:
    """Run, or go on with, a claim model; returns the report."""
    begun, run = time.perf_counter(), RunFolder(folder, config.seeds[0])
    trained_on = config.data.about_right()
    members = [_fit(config, RunFolder(folder, seed), trained_on) for seed in config.seeds]
    ending = config.ending.run(run, config.data.complete(run.seed), trained_on)
    models = [folder / _name(seed) for seed in config.seeds]
    for model in models:
        add_ending(folder, model)
    headline = _locations(config, members)
    return finish_steps(
        run,
        headline,
        title=config.title,
        information=INFORMATION,
        seeds=config.seeds,
        trained_on=trained_on,
        models=models,
        truncation={CLAIMS: _truncation(config, members[0], ending)},
        command=command,
        seconds=time.perf_counter() - begun,
        overlaps=config.data.overlaps(),
    )


def _name(seed: int) -> str:
    return f"claims-seed-{seed}"


def _fit(config: ClaimModel, run: RunFolder, trained_on: str) -> ClaimScorer:
    def draw(epoch: int) -> list[StepWindow]:
        rng = np.random.default_rng([run.seed, 11, epoch])
        traces = config.data.demonstrations(run.seed + 1000 * epoch)
        return [claim for trace in traces for claim in _some(config.per_trace, trace, rng)]

    return config.claims.fit(run, _name(run.seed), MISTAKES, draw, trained_on)


def _some(count: int, trace: LabelledSteps, rng: np.random.Generator) -> list[StepWindow]:
    """Claims of as many steps, drawn at random."""
    steps = [step for step in claims(trace.prompt, trace.steps) if step]
    return [steps[i][rng.integers(len(steps[i]))] for i in rng.permutation(len(steps))[:count]]


def _locations(config: ClaimModel, members: Sequence[ClaimScorer]) -> list[Row]:
    held_out = config.data.held_out()

    def scored(sets: Mapping[str, list[LabelledSteps]]) -> dict[str, Scored]:
        return {name: _scored(members, traces) for name, traces in sets.items()}

    validation, tests, rows = scored(held_out.validation), scored(held_out.test), []
    for name, test in tests.items():
        rows += location_rows(name, validation[held_out.threshold[name]], test, INFORMATION)
        rows.append(oracle_row(name, _true(held_out.test[name]), test.label))
    return rows


def _truncation(config: ClaimModel, member: ClaimScorer, ending: ClaimScorer) -> Finding:
    """The truncation probe on right held-out traces."""
    return truncation_finding(
        lambda traces: aggregate_rows(member(traces), member.spec.aggregate) + ends(ending, traces),
        config.data.complete_held_out(),
    )


def _scored(members: Sequence[ClaimScorer], traces: Sequence[LabelledSteps]) -> Scored:
    """A set of traces with the scores of all that scores steps."""
    pairs = [(trace.prompt, trace.steps) for trace in traces]
    return Scored(
        label=np.array([NO_ERROR if trace.first_error is None else trace.first_error for trace in traces]),
        subset=np.array([trace.subset for trace in traces]),
        learned={CLAIMS: [member(pairs) for member in members]},
        baselines={"length of the step": [-np.array([len(s) for s in steps], float) for _, steps in pairs]},
    )


def _true(traces: Sequence[LabelledSteps]) -> Steps:
    """1 for steps all of whose claims are true by the rules, 0 for others."""
    return [
        np.array(
            [float(all(holds(trace.prompt, claim) for claim in step)) for step in claims(trace.prompt, trace.steps)]
        )
        for trace in traces
    ]
