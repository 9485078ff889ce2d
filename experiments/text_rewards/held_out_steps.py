"""Evaluation of learned step scores on held-out traces and on candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_windows import ends
from experiments.text_rewards.judge import StepScores
from experiments.text_rewards.step_data import StepData
from experiments.text_rewards.step_evaluation import (
    Row,
    Scored,
    Steps,
    Together,
    location_rows,
    lowest_of_all,
    order_rows,
)
from irl.evaluation.audit import Finding, truncation_finding
from irl.evaluation.benchmarks.processbench import NO_ERROR
from irl.rewards.claims import ClaimScorer
from irl.types import LabelledSteps, Written
from reward_models.aggregation import aggregate_rows

TRUNCATED = 300
"""Traces of the truncation probe."""


@dataclass(frozen=True)
class HeldOutSteps:
    """Evaluates the scores of one or more judges. With several judges, the lowest score is evaluated too."""

    run: RunFolder
    data: StepData
    judged: Sequence[StepScores]

    @cached_property
    def information(self) -> dict[str, str]:
        """The level of every score."""
        of_judges = {scores.name: str(scores.information) for scores in self.judged}
        return of_judges if len(self.judged) == 1 else {**of_judges, self._all: self.data.information}

    @cached_property
    def _all(self) -> str:
        return "both" if len(self.judged) == 2 else "all"

    @cached_property
    def _validation(self) -> dict[str, Scored]:
        return self._scored(self.data.held_out().validation)

    @cached_property
    def _together(self) -> Together:
        return dict if len(self.judged) == 1 else lowest_of_all(self._all, list(self._validation.values()))

    def locations(self) -> list[Row]:
        """Rows of every test set: where the first wrong step is."""
        held_out, rows = self.data.held_out(), []
        for name, test in self._scored(held_out.test).items():
            both = (self._validation[held_out.threshold[name]], test)
            tuned, test = (each._replace(learned=self._together(each.learned)) for each in both)
            rows += location_rows(name, tuned, test, self.information)
        return rows

    def orders(self, name: str, pool: Sequence[LabelledSteps]) -> list[Row]:
        """Rows of a pool of candidates: AUC within problems."""
        traces = self._readable(name, pool)
        number = {prompt: index for index, prompt in enumerate(dict.fromkeys(trace.prompt for trace in pool))}
        problem = np.array([number[trace.prompt] for trace in traces])
        length = np.array([len("\n".join(trace.steps)) for trace in traces], float)
        baselines = {"shortest": -length, "longest": length}
        for scores in self.judged:
            baselines |= scores.trace_baselines(traces)
        right = np.array([bool(trace.correct) for trace in traces])
        return order_rows(name, problem, right, self._together(self._learned(traces)), baselines, self.information)

    def truncation(self, ending: ClaimScorer) -> dict[str, Finding]:
        """The truncation probe of the first member of every judge, on right held-out traces."""
        complete = _unlabelled(self.data.complete_held_out()[:TRUNCATED])
        written = [(trace.prompt, trace.steps) for trace in self._readable("truncation probe", complete)]

        def probe(scores: StepScores) -> Finding:
            def score(traces: Sequence[Written]) -> np.ndarray:
                steps = scores.members[0](_unlabelled(traces))
                return aggregate_rows(steps, scores.aggregate) + ends(ending, traces)

            return truncation_finding(score, written)

        return {scores.name: probe(scores) for scores in self.judged}

    def _scored(self, sets: Mapping[str, Sequence[LabelledSteps]]) -> dict[str, Scored]:
        """Every set with the scores of the traces that every judge can read."""
        return {name: self._scores(self._readable(name, traces)) for name, traces in sets.items()}

    def _scores(self, traces: Sequence[LabelledSteps]) -> Scored:
        baselines = {"length of the step": [-np.array([len(s) for s in trace.steps], float) for trace in traces]}
        for scores in self.judged:
            baselines |= scores.step_baselines(traces)
        return Scored(
            label=np.array([NO_ERROR if trace.first_error is None else trace.first_error for trace in traces]),
            subset=np.array([trace.subset for trace in traces]),
            learned=self._learned(traces),
            baselines=baselines,
            oracle=self.data.oracle(traces),
        )

    def _learned(self, traces: Sequence[LabelledSteps]) -> dict[str, list[Steps]]:
        return {scores.name: [member(traces) for member in scores.members] for scores in self.judged}

    def _readable(self, name: str, traces: Sequence[LabelledSteps]) -> list[LabelledSteps]:
        """The traces that every judge can read; the others are counted."""
        reasons = ["".join(each) for each in zip(*(scores.unreadable(traces) for scores in self.judged), strict=True)]
        kept = [trace for trace, reason in zip(traces, reasons, strict=True) if not reason]
        if len(kept) < len(traces):
            first = next(filter(None, reasons))
            self.run.say(f"{name}: {len(traces) - len(kept)} of {len(traces)} traces are left out, the first: {first}")
        return kept


def _unlabelled(traces: Sequence[Written]) -> list[LabelledSteps]:
    return [
        LabelledSteps(id="probe", prompt=prompt, steps=tuple(steps), labels=(None,) * len(steps))
        for prompt, steps in traces
    ]
