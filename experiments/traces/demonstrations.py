"""Where expert traces come from: an environment's expert, or a file of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Ge, Le, MinLen

from experiments.core.overlap import Overlap, without_overlap
from experiments.core.workspace import Workspace
from irl.data.formats import read_traces
from irl.domains.base import Environment, HasDemonstrations, HasOtherTargets
from irl.text.packing import EncodedTrace
from irl.text.windows import StepWindow, WholeTrace, encode_windows, smaller_contexts
from irl.types import InputError, Problem, Trace
from reward_models.ranges import Name, Rows, RowsOrZero
from reward_models.records import record

UNWRITABLE = 0.01
"""Share of training traces that a tokenizer may change."""
CHECKED = 2000
"""Traces that are encoded and decoded to find those."""


@record
class Demonstrations:
    """Expert traces on training problems; none of them is of a test problem."""

    count: Rows = 20_000
    """Traces of the environment's own task, going round the training problems."""
    other_targets: RowsOrZero = 0
    """Further traces that pursue other targets, where the environment has them (Countdown)."""
    sizes: Annotated[tuple[Annotated[int, Ge(2), Le(4)], ...], MinLen(1)] = (3, 4)
    """How many numbers the hands of those have."""
    file: Name | None = None
    """JSON lines of your own traces, instead of all the above: {"prompt", "steps": [text, ...]}."""

    def traces(self, workspace: Workspace, name: str) -> list[Trace]:
        """The traces, the same for the same seed and name."""
        if self.file is not None:
            return of_file(self.file, workspace.environment).traces
        environment, rng = workspace.environment, workspace.rng(name)
        if isinstance(environment, HasDemonstrations):
            return _drawn(environment.demonstrations("train"), self.count, rng)
        problems = environment.problems("train")
        traces = [environment.expert(problem, rng) for problem in _rounds(problems, self.count, rng)]
        if self.other_targets:
            if not isinstance(environment, HasOtherTargets):
                domain = type(environment).__name__
                raise InputError(f"demonstrations.other_targets: {domain} has no other targets; set it to 0")
            sizes = rng.choice(self.sizes, size=self.other_targets).tolist()
            traces += [environment.free_play(rng, size=size) for size in sizes]
        return traces


def _drawn(traces: Sequence[Trace], count: int, rng: np.random.Generator) -> list[Trace]:
    """All traces, or `count` of them at random where there are more."""
    return [traces[i] for i in sorted(rng.permutation(len(traces))[:count])]


def _rounds(problems: Sequence[Problem], count: int, rng: np.random.Generator):
    while count > 0:
        for index in rng.permutation(len(problems))[:count]:
            yield problems[index]
        count -= len(problems)


class OwnTraces(NamedTuple):
    """The traces of a file that are of no test problem, and how many others there were."""

    traces: list[Trace]
    overlaps: list[Overlap]


def of_file(file: str, environment: Environment) -> OwnTraces:
    """The traces to learn from. InputError: all are of test problems."""
    tests = {"the test problems": [problem.prompt for problem in environment.problems("test")]}
    name = f"traces of {Path(file).name}"
    return OwnTraces(
        *without_overlap(name, list(read_traces(file)), _prompt, tests, file, canonical=environment.canonical)
    )


def _prompt(trace: Trace) -> str:
    return trace.prompt


def check_writable(workspace: Workspace) -> None:
    """Count the traces of a file that the tokenizer cannot write. InputError where they are too many."""
    if not isinstance(workspace.environment, HasDemonstrations):
        return
    traces = workspace.environment.demonstrations("train")[:CHECKED]
    lost = workspace.encoder.unwritable([trace.prompt for trace in traces], [trace.text for trace in traces])
    if not lost:
        return
    first = traces[lost[0]]
    some = f"the tokenizer cannot write {len(lost)} of {len(traces)} training traces (first: {first.problem_id})"
    if len(lost) > UNWRITABLE * len(traces):
        advice = "give another --encoding.tokenizer, such as byte-pairs, which writes any text"
        raise InputError(f"{some}, more than {UNWRITABLE:.0%}: their texts differ once encoded and decoded; {advice}")
    workspace.say(f"warning: {some}; their texts differ once encoded and decoded")


def encode_traces(workspace: Workspace, traces: Sequence[Trace]) -> list[EncodedTrace]:
    """Whole traces as rows; those over a limit are counted and said, never cut."""
    rows = workspace.encoder.many([t.prompt for t in traces], [[s.text for s in t.steps] for t in traces])
    return _fitting(workspace, rows, "traces")


def encode_steps(
    workspace: Workspace, traces: Sequence[Trace], whole_share: float = 0.25, goal_share: float = 0.03
) -> Sequence[EncodedTrace]:
    """Every distinct step of the traces in its windows, as rows.

    Windows with the steps before cost three times the tokens of the others and repeat what those teach: there are
    at most `whole_share` as many of them as of the others, drawn at random over all traces. Claims about the goal are
    few and are repeated, up to `goal_share`.
    """
    if isinstance(workspace.windows, WholeTrace):
        return _in_several_contexts(workspace, traces)
    own: dict[StepWindow, None] = {}
    claims: dict[StepWindow, None] = {}
    for trace in traces:
        for window, *about_goal in workspace.windows.read(trace.prompt, [s.text for s in trace.steps]):
            own[window] = None
            claims.update(dict.fromkeys(about_goal))
    short, whole = [w for w in own if not w.before], [w for w in own if w.before]
    goals = list(claims)
    if short:
        kept = workspace.rng("whole windows").permutation(len(whole))[: int(whole_share * len(short))]
        whole = [whole[i] for i in sorted(kept)]
        goals = goals * max(int(goal_share * len(short)) // max(len(goals), 1), 1)
    return _fitting(workspace, encode_windows(workspace.encoder, short + whole + goals), "steps")


def _in_several_contexts(workspace: Workspace, traces: Sequence[Trace]) -> list[EncodedTrace]:
    """Whole traces, and every distinct step in its smaller contexts."""
    texts = [(trace.prompt, [step.text for step in trace.steps]) for trace in traces]
    windows = dict.fromkeys(window for prompt, steps in texts for window in smaller_contexts(prompt, steps))
    whole = workspace.encoder.many([prompt for prompt, _ in texts], [steps for _, steps in texts])
    return _fitting(workspace, whole, "traces") + _fitting(
        workspace, encode_windows(workspace.encoder, list(windows)), "steps"
    )


def enough_rows(
    workspace: Workspace, rows: Sequence[EncodedTrace], batch_size: int, row_length: int
) -> Sequence[EncodedTrace]:
    """The rows of a file of traces, repeated where they do not fill a batch of packed rows; others as they are."""
    if not isinstance(workspace.environment, HasDemonstrations):
        return rows
    tokens = sum(min(len(row.tokens), row_length) for row in rows)
    return list(rows) * max(-(-batch_size * row_length // tokens), 1)


def _fitting(workspace: Workspace, rows: list[EncodedTrace], what: str) -> list[EncodedTrace]:
    fitting = [row for row in rows if workspace.encoder.fits(row)]
    if len(fitting) < len(rows):
        limit = f"{workspace.encoder.max_length} tokens or {workspace.encoder.max_steps} steps"
        tokens = np.quantile([len(row.tokens) for row in rows], 0.95, method="higher")
        steps = np.quantile([max(row.step_id) + 1 for row in rows], 0.95, method="higher")
        options = "encoding or sizes: max_length, max_steps"
        enough = f"{tokens} tokens and {steps} steps would fit 95% ({options})"
        workspace.say(f"{len(rows) - len(fitting)} of {len(rows)} {what} are over {limit} and left out; {enough}")
    if not fitting:
        raise InputError(f"all {len(rows)} {what} are over the limit; raise encoding.max_length or encoding.max_steps")
    return fitting
