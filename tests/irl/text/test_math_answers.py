"""Equivalence of mathematical answers by the optional math-verify, and its absence."""

import importlib.util
import json
import sys

import pytest

from irl.domains.files import TraceFiles, TraceText
from irl.text.math_answers import math_form, same_value
from irl.types import InputError, Problem

needs_math = pytest.mark.skipif(importlib.util.find_spec("math_verify") is None, reason="needs the extra math")


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "math_verify", None)
    with pytest.raises(InputError, match=r"equivalence: 'math' needs math-verify; .*traceward\[math\].*or take 'form'"):
        TraceText(equivalence="math")


@needs_math
@pytest.mark.parametrize(
    ("left", "right"), [("x+1", "1+x"), (r"\sqrt{8}", r"2\sqrt{2}"), (r"\{1,2\}", r"\{2,1\}"), ("1/2", "0.5")]
)
def test_equal_values(left, right):
    assert same_value(left, right) and not same_value(left, "17")


@needs_math
def test_votes_and_verdicts_are_by_value(tmp_path):
    file = tmp_path / "traces.jsonl"
    rows = [{"prompt": f"p{n}", "completion": f"first\nso \\boxed{{{n}+x}}"} for n in range(10)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    domain = TraceFiles(train=str(file), equivalence="math")
    problem = domain.problems("test")[0]
    number = problem.prompt[1:]
    assert domain.verify(problem, f"\\boxed{{x+{number}}}").correct
    assert not domain.verify(problem, f"\\boxed{{x-{number}-1}}").correct
    same = {domain.answer_key(Problem(id="i", prompt="p"), f"\\boxed{{{text}}}") for text in ("x+1", "1+x")}
    assert same == {math_form("x+1")}
