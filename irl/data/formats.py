"""Our own two formats, read strictly: a line that does not fit is an error with file, line and field.

    candidates   {"id"?, "prompt", "candidates": [{"text", "correct"?: true|false}]}
    traces       {"id"?, "prompt", "steps": [str | {"text", "label"?: true|false}], "source"?}
                 or {"id"?, "prompt", "text", "source"?}, cut into steps by the caller's `split_steps`

Files are JSON lines (json_lines.py). Optional fields may be null. Unknown fields of a line are left alone, those of a
candidate or step are errors. `reward_data` reads these and many others, and lists what does not fit instead.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from irl.data.fields import entries, name_of, optional_truth, record, required, text
from irl.data.json_lines import FilePath, Row, read_json_lines
from irl.data.ranked import read_candidates_row
from irl.types import Candidates, InputError, Step, Trace

SplitSteps = Callable[[str], Sequence[str]]
Record = TypeVar("Record", Candidates, Trace)


def read_candidates(path: FilePath) -> Iterator[Candidates]:
    """Problems with their proposed answers. A missing id becomes `row-N`, N its line; an id may stand only once."""
    line_of: dict[str, int] = {}

    def build(row: Row, number: int) -> Candidates:
        candidates = read_candidates_row(row, f"row-{number}")
        for index, candidate in enumerate(row["candidates"]):
            _only_known(candidate, f"candidates[{index}]", "correct")
        first = line_of.setdefault(candidates.id, number)
        if first != number:
            raise InputError(f"field id: {candidates.id!r} is already used on line {first}; give each problem its own")
        return candidates

    return _records(path, build)


def read_traces(path: FilePath, split_steps: SplitSteps | None = None) -> Iterator[Trace]:
    """Traces; `split_steps` (every environment has one) cuts lines that hold one `text` instead of `steps`.

    Traces without an id that share a prompt share the problem id `row-N` of the first of them.
    """
    line_of: dict[str, int] = {}

    def build(row: Row, number: int) -> Trace:
        prompt = text(required(row, "prompt"), "prompt")
        return read_trace_row(row, f"row-{line_of.setdefault(prompt, number)}", split_steps)

    return _records(path, build)


def read_trace_row(row: Mapping[str, Any], id: str, split_steps: SplitSteps | None = None) -> Trace:
    """A trace from its row; `id` is for a row without one."""
    source = row.get("source")
    return Trace(
        problem_id=name_of(row, "id", id),
        prompt=text(required(row, "prompt"), "prompt"),
        steps=_steps(row, split_steps),
        source="expert" if source is None else text(source, "source", blank=True),
    )


def _records(path: FilePath, build: Callable[[Row, int], Record]) -> Iterator[Record]:
    for number, row in read_json_lines(path):
        try:
            built = build(row, number)
        except InputError as error:
            raise InputError(f"{path}, line {number}, {error}") from None
        yield built


def _steps(row: Mapping[str, Any], split_steps: SplitSteps | None) -> tuple[Step, ...]:
    if "steps" in row or "text" not in row:
        values = required(row, "steps")
    elif split_steps is None:
        raise InputError("field steps: missing, but there is a whole 'text'; pass split_steps to cut it")
    else:
        values = list(split_steps(text(row["text"], "text")))
    return tuple(_step(value, f"steps[{index}]") for index, value in enumerate(entries(values, "steps")))


def _step(value: Any, field: str) -> Step:
    judged = record({"text": value} if isinstance(value, str) else value, field)
    content = text(required(judged, "text", f"{field}."), f"{field}.text")
    _only_known(judged, field, "label")
    return Step(text=content, label=optional_truth(judged.get("label"), f"{field}.label"))


def _only_known(value: Any, field: str, name: str) -> None:
    for unknown in sorted(value.keys() - {"text", name}):
        raise InputError(f"field {field}.{unknown}: unknown; only 'text' and {name!r} belong here")
