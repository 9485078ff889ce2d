"""The state before a step of these traces, as in irl/text/windows.py.

    Dyck languages   the bracket that is due, and the line before, which has the stack
    tracking         the swap that is due, and the line before, which says who has what; at first the start of the story
    word sorting     the two lines before: what is being compared, and the order so far; at first the words

The index of a step gives what is due; the correctness of earlier steps is not checked. The state of the last step of a
story includes the options.
"""

from collections.abc import Sequence

from irl.domains.bigbench_mistake import dyck, tracking

OPTIONS = "\nOptions:"
_NOTHING = "-"


def state_before(problem: str, steps: Sequence[str], index: int) -> str:
    """The state of step `index`, for a problem of any of the three tasks."""
    if OPTIONS in problem:
        return _of_tracking(problem, steps, index)
    if set(problem.split()) <= set(dyck.BRACKETS):
        return _of_dyck(problem, steps, index)
    before = steps[max(index - 2, 0) : index]
    return "\n".join((problem if index < 2 else _NOTHING, *before))


def _of_dyck(problem: str, steps: Sequence[str], index: int) -> str:
    symbols, number = problem.split(), index - len(dyck.HEAD)
    due = "begin" if number < 0 else symbols[number] if number < len(symbols) else "end"
    return "\n".join((f"due: {due}", *steps[max(index - 1, 0) : index]))


def _of_tracking(problem: str, steps: Sequence[str], index: int) -> str:
    task = tracking.parsed(problem)
    first = int("start" in steps[0].lower())
    number = index - first
    things_held = ", ".join(f"{name}: {thing}" for name, thing in zip(task.names, task.things, strict=True))
    if number < 0:
        return things_held
    if number < len(task.swaps):
        before = steps[index - 1] if number else things_held
        return f"due: {' and '.join(task.swaps[number])}\n{before}"
    return "\n".join((f"due: {task.asked}?{problem.partition(OPTIONS)[2]}", *steps[max(index - 1, 0) : index]))
