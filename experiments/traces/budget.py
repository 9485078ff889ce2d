"""How much of each stage fits in a time: training steps, samples and search from the speed of this machine."""

from typing import NamedTuple

from experiments.traces.calibrate import Speed
from experiments.traces.sizes import Lengths, Limits, Sizes

SHARES = {"policy": 0.3, "reward": 0.36, "samples": 0.16, "improvement": 0.1, "search": 0.08}
"""Of the time without compilation."""
LABELS = 0.2
"""The share of the outcome model, where there is one; the others are that much smaller."""
EPOCHS = 40
"""The most passes over the training traces: beyond them a small file is learned by heart."""
CONTEXTS = 2.5
"""The tokens of the training steps in all their contexts, in those of the whole traces."""
PROGRAMS = 12
"""Programs that a run compiles."""
FORWARD = 0.4
"""The time of a scored token in that of a trained one."""
PROMPTS, GROUP = 4, 8
"""Prompts and samples of each in a step of policy training."""
WIDTH, EXPANSIONS = 4, 4
"""Of the beam search."""
BEGINNINGS = 16
"""Candidates that stop early, added to the samples of each problem."""


class Counts(NamedTuple):
    """How much of each stage."""

    policy_steps: int
    reward_steps: int
    label_steps: int
    samples: int
    problems: int
    improvement_steps: int
    search_problems: int


class Task(NamedTuple):
    """What the time of the stages depends on."""

    lengths: Lengths
    limits: Limits
    batch_tokens: int
    """Of a training batch."""
    problems: int
    """Test problems."""
    members: int
    pairs: int
    """Of a batch of the outcome model; 0: there is none."""


def scaled(task: Task, speed: Speed, seconds: float, sizes: Sizes) -> tuple[Counts, dict[str, float]]:
    """What fits in a time, and the seconds that each stage is expected to take; sizes that are given stay."""
    compiling = PROGRAMS * speed.compile
    left = max(seconds - compiling, 0.3 * seconds)
    room = {name: share * left * (1 - LABELS * bool(task.pairs)) for name, share in SHARES.items()}
    problems = min(sizes.problems or 100, task.problems)
    step = task.batch_tokens * speed.train
    of_pairs = 2 * task.pairs * task.limits.max_length * speed.train
    epoch = task.lengths.tokens / task.batch_tokens
    of_samples = problems * _sample(task, speed)
    of_step, of_search = _improvement_step(task, speed), _search(task, speed)
    counts = Counts(
        policy_steps=_given(sizes.policy_steps, room["policy"] / step, 50, EPOCHS * epoch),
        reward_steps=_given(sizes.reward_steps, room["reward"] / step / task.members, 50, EPOCHS * CONTEXTS * epoch),
        label_steps=_given(sizes.label_steps, LABELS * left / of_pairs, 50, 400) if task.pairs else 0,
        samples=_given(sizes.samples, room["samples"] / of_samples - BEGINNINGS, 8, 64),
        problems=problems,
        improvement_steps=_given(sizes.improvement_steps, room["improvement"] / of_step, 5, 40),
        search_problems=_given(sizes.search_problems, room["search"] / of_search, min(4, problems), min(25, problems)),
    )
    evaluations = 2 * GROUP * min(problems, 50) * _sample(task, speed)
    estimate = {
        "policy": counts.policy_steps * step,
        "reward": counts.reward_steps * step * task.members,
        "outcome model": counts.label_steps * of_pairs,
        "samples": (counts.samples + BEGINNINGS) * of_samples,
        "improvement": counts.improvement_steps and counts.improvement_steps * of_step + evaluations,
        "search": min(counts.search_problems, problems) * of_search,
        "compilation": compiling,
    }
    return counts, estimate


def _given(size: int | None, room: float, least: int, most: float) -> int:
    """The size that the user gave, or what there is room for within two limits."""
    return int(min(max(room, least), max(most, least))) if size is None else size


def _sample(task: Task, speed: Speed) -> float:
    """Seconds to draw a sample of a problem and to score it."""
    tokens = (task.lengths.mean_response + task.limits.max_response) / 2
    return tokens * speed.column / speed.rows + task.lengths.mean_trace * FORWARD * speed.train * task.members


def _improvement_step(task: Task, speed: Speed) -> float:
    """Seconds to sample, to score and to update once."""
    rows, limit = PROMPTS * GROUP, task.limits
    sampling = limit.max_response * speed.column * max(rows / speed.rows, 0.15)
    scoring = rows * limit.max_length * FORWARD * speed.train * (1 + task.members)
    return sampling + scoring + (rows + 4) * limit.max_length * speed.train


def _search(task: Task, speed: Speed) -> float:
    """Seconds of the search for one problem."""
    rows, limit = WIDTH * EXPANSIONS, task.limits
    sampling = limit.max_step_tokens * speed.column * rows / speed.rows
    scoring = rows * task.lengths.mean_trace * FORWARD * speed.train * (1 + task.members)
    return 1.5 * task.lengths.mean_steps * (sampling + scoring)
