"""`traceward run` of step scores: judges learn from correct or labelled traces and are evaluated on held-out traces.

The report says how often each score locates the first wrong step, with thresholds from validation problems, and how
well it ranks the candidates of a problem where candidates are given.
"""

from pathlib import Path
from typing import Annotated

from annotated_types import MinLen

from experiments.core.frame import Results, StagedRun
from experiments.core.overlap import Overlap, file_labels, refuse_repeated_files, shared_prompts
from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_windows import ENDING, FitWindows, add_ending
from experiments.text_rewards.held_out_steps import HeldOutSteps
from experiments.text_rewards.judge import Judge
from experiments.text_rewards.step_candidates import SolutionCandidates, pool_of
from experiments.text_rewards.step_data import StepData
from irl.rewards.questions import END_FOLDER
from irl.types import InputError, LabelledSteps
from reward_models.ranges import Seeds
from reward_models.records import record


@record
class StepModel(StagedRun[RunFolder]):
    """Scores of steps by one or more judges."""

    title: str
    data: StepData
    judges: Annotated[tuple[Judge, ...], MinLen(1)]
    ending: FitWindows = ENDING
    """The score of the end of a trace, which is added to the score of its steps."""
    candidates: tuple[SolutionCandidates, ...] = ()
    seeds: Seeds = (0, 1, 2)
    """A member of each judge for each seed; the first also draws what the members share."""

    def __post_init__(self):
        refuse_repeated_files({"StepModel.candidates": [each.file for each in self.candidates]})
        names = [judge.name for judge in self.judges]
        if len(set(names)) < len(names):
            raise InputError(f"StepModel.judges: expected different scores, got {', '.join(names)}")

    def open(self, folder: Path) -> RunFolder:
        return RunFolder(folder, self.seeds[0])

    def files(self) -> list[str]:
        return [*self.data.sources(), *(each.file for each in self.candidates)]

    def overlaps(self) -> list[Overlap]:
        """Training problems that have candidates stay in both."""
        prompts = self.data.prompts() if self.candidates else []
        pools = {f"candidates {name}": pool for name, pool in self._pools().items()}
        return self.data.overlaps() + [
            shared_prompts("training problems", prompts, name, [trace.prompt for trace in pool])
            for name, pool in pools.items()
        ]

    def stages(self, run: RunFolder) -> Results:
        judged = [judge.fit(run, self.data, self.seeds) for judge in self.judges]
        (ending,) = self.ending.learn(run, self.data, {run.seed: END_FOLDER}, self.data.about_right())
        models = {model: scores.trained_on for scores in judged for model in scores.models}
        for model in models:
            add_ending(run.folder, model)
        held_out = HeldOutSteps(run, self.data, judged)
        headline = held_out.locations()
        for name, pool in self._pools().items():
            headline += held_out.orders(name, pool)
        return Results(
            headline=headline,
            information=list(held_out.information.values())[-1],
            seeds=self.seeds,
            models=models,
            truncation=held_out.truncation(ending),
        )

    def _pools(self) -> dict[str, list[LabelledSteps]]:
        labels = file_labels([each.file for each in self.candidates])
        return {labels[each.file]: pool_of(each) for each in self.candidates}
