r"""GSM8K's solutions: a step a line, calculations as <<48/2=24>>, the answer after #### (arXiv 2110.14168).

    {"question", "answer": "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\n...\n#### 72"}

The trace is the text as it stands: annotations stay and the line with #### is the last step. `calculations`,
`without_calculations` and `final_answer` take it apart. Empty lines are spacing, not steps.
"""

import re
from typing import NamedTuple

from irl.data.fields import Row, expect, name_of, required, text
from irl.types import Step, Trace

_ANNOTATION = re.compile(r"<<([^<>=]*)=([^<>]*)>>")


class Calculation(NamedTuple):
    """An annotation <<expression=result>>, as written."""

    expression: str
    result: str


def read_gsm8k(row: Row, id: str) -> Trace:
    """The human solution as an expert's trace."""
    solution = text(required(row, "answer"), "answer")
    lines = [line for line in solution.split("\n") if line.strip()]
    expect(lines[-1].startswith("####"), "answer", "a last line '#### ...'", repr(lines[-1][:40]))
    steps = tuple(Step(text=line) for line in lines)
    return Trace(problem_id=name_of(row, "id", id), prompt=text(required(row, "question"), "question"), steps=steps)


def calculations(line: str) -> tuple[Calculation, ...]:
    """The annotated calculations of a line, in order."""
    return tuple(Calculation(*match.groups()) for match in _ANNOTATION.finditer(line))


def without_calculations(line: str) -> str:
    """The line without its annotations."""
    return _ANNOTATION.sub("", line)


def final_answer(solution: str) -> str | None:
    """What stands after the last ####, without commas between digits; None where there is none."""
    _, mark, answer = solution.rpartition("####")
    return answer.strip().replace(",", "") if mark else None
