"""Calculations are done again rightly, and a planted error is where it is said to be, and nowhere before."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from irl.data import read_records
from irl.data.gsm8k import calculations, final_answer, without_calculations
from irl.domains.gsm8k.calculations import (
    KINDS,
    Solution,
    evaluate,
    recalculated,
    renumbered,
    replaced,
    same_numbers,
    with_error,
    written,
)

CLIPS = Solution(
    "Natalia sold clips to 48 of her friends in April, and 4 times fewer in May. For how much?",
    (
        "Natalia sold 48/4 = <<48/4=12>>12 clips in May.",
        "In all she sold 48+12 = <<48+12=60>>60 clips.",
        "That is 60*5 = $<<60*5=300>>300.",
    ),
)
ARITHMETIC = tuple(kind for kind in KINDS if kind != "operand")
SEEDS = st.integers(0, 2**32 - 1)


def rng(seed=0):
    return np.random.default_rng(seed)


def is_right(calc):
    value = evaluate(calc.expression)
    return value is not None and written(value) == calc.result.replace(",", "")


def all_right(lines):
    return all(is_right(calc) for line in lines for calc in calculations(line))


def results(lines):
    return [calc.result for line in lines for calc in calculations(line)]


@st.composite
def solutions(draw):
    """Little solutions as GSM8K has them: a line per calculation, each of a result before and numbers of the text."""
    numbers = draw(st.lists(st.integers(1, 400), min_size=2, max_size=4, unique=True))
    known, lines = [Fraction(number) for number in numbers], []
    for number in range(draw(st.integers(1, 4))):
        one, other, sign = known[-1], draw(st.sampled_from(known)), draw(st.sampled_from("+-*/"))
        values = [(text, evaluate(text)) for text in (f"{written(one)}{s}{written(other)}" for s in (sign, "+"))]
        values.append((f"{written(one)}-{written(one)}", Fraction(0)))
        text, value = next((t, v) for t, v in values if v is not None and written(v) is not None)
        shown = written(value)
        lines.append(f"Step {'abcd'[number]}: {text.replace('*', ' x ')} = $<<{text}={shown}>>{shown}.")
        known.append(value)
    return Solution(f"There are {', '.join(map(str, numbers))} of them.", tuple(lines))


# ----------------------------------------------------------------------------- numbers and expressions


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("48/2", 24),
        ("1,200+ 3", 1203),
        ("(1+2)*3-4/8", Fraction(17, 2)),
        ("0.1+0.2", Fraction(3, 10)),
        (".05*20", 1),
        ("-(2-5)", 3),
        ("1/0", None),
        ("2**3", None),
        ("7//2", None),
        ("x+1", None),
        ("2+", None),
        ("", None),
        ("True+1", None),
        ("9999999999*1", None),
        ("__import__('os')", None),
        ("(" * 300 + "1" + ")" * 300, None),
    ],
)
def test_evaluate(expression, value):
    assert evaluate(expression) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(24), "24"),
        (Fraction(1, 2), "0.5"),
        (Fraction(1200), "1200"),
        (Fraction(100), "100"),
        (Fraction(12305, 1000), "12.305"),
        (Fraction(1, 10_000), "0.0001"),
        (Fraction(0), "0"),
        (Fraction(1, 3), None),
        (Fraction(1, 100_000), None),
        (Fraction(-1), None),
        (Fraction(10**9), None),
    ],
)
def test_written(value, text):
    assert written(value) == text


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**9 - 1), st.integers(0, 9999))
def test_what_is_written_is_the_number(whole, decimals):
    value = Fraction(whole) + Fraction(decimals, 10_000)
    text = written(value)
    assert Fraction(text) == value == evaluate(text)
    assert same_numbers(f"It costs ${text}, or so.") == [text]


def test_numbers_of_a_text():
    text = "In 2020 A4 paper cost $1,200.50, 3/4 of .5 and 10% of v1.5."
    assert same_numbers(text) == ["2020", "1200.50", "3", "4", ".5", "10"]
    assert replaced(text, {"1200.50": "7", "4": "9"}) == "In 2020 A4 paper cost $7, 3/9 of .5 and 10% of v1.5."


# ------------------------------------------------------------------------------------- recalculated


def test_recalculated():
    wanted = (
        "Natalia sold 52/4 = <<52/4=13>>13 clips in May.",
        "In all she sold 52+13 = <<52+13=65>>65 clips.",
        "That is 65*5 = $<<65*5=325>>325.",
    )
    assert recalculated(CLIPS.lines, {"48": "52"}) == wanted
    assert recalculated(CLIPS.lines, {}) == CLIPS.lines
    assert recalculated(CLIPS.lines, {"48": "49", "4": "3"}) is None, "a third cannot be written"
    assert recalculated(["She has 5-3 = <<5-3=2>>2."], {"5": "2"}) is None, "nothing is negative"


def test_a_result_that_happens_to_be_a_changed_number_stays():
    lines = ("The nails are 20*0.05 = $<<20*0.05=1>>1.", "With 1 more they are <<1+1=2>>2.")
    assert recalculated(lines, {"1": "3"}) == lines
    assert recalculated(["That is 5 x 1 = <<5*1=5>>5."], {"1": "3"}) == ("That is 5 x 3 = <<5*3=15>>15.",), "operand 5"
    assert recalculated(["So 5 of 3+2 = <<3+2=5>>5."], {"2": "3"}) == ("So 6 of 3+3 = <<3+3=6>>6.",), "told before"
    assert recalculated(["Of 1,200 half are 1,200/2 = <<1,200/2=600>>600."], {}) == (
        "Of 1,200 half are 1,200/2 = <<1,200/2=600>>600.",
    )
    again = ("He has 1+4 = <<1+4=5>>5.", "She has 2*3 = <<2*3=6>>6.", "Together 5+6 = <<5+6=11>>11.")
    wanted = ("He has 3+4 = <<3+4=7>>7.", "She has 2*3 = <<2*3=6>>6.", "Together 7+6 = <<7+6=13>>13.")
    assert recalculated(again, {"1": "3", "6": "8"}) == wanted


@settings(deadline=None, max_examples=60)
@given(solutions(), st.data())
def test_recalculated_lines_are_right(solution, data):
    numbers = same_numbers(solution.question)
    changed = {number: str(data.draw(st.integers(1, 400))) for number in numbers}
    again = recalculated(solution.lines, changed)
    assert again is None or all_right(again)
    assert recalculated(solution.lines, {number: number for number in numbers}) == solution.lines


# --------------------------------------------------------------------------------------- renumbered


@settings(deadline=None, max_examples=60)
@given(solutions(), SEEDS)
def test_renumbered_is_right_and_as_whole(solution, seed):
    again = renumbered(solution, rng(seed))
    assert all_right(solution.lines) and all_right(again.lines)
    assert again == renumbered(solution, rng(seed)), "the same draws, the same solution"
    assert len(again.lines) == len(solution.lines)
    for old, new in zip(results(solution.lines), results(again.lines), strict=True):
        assert "." in old or "." not in new
    before, numbers = same_numbers(solution.question), same_numbers(again.question)
    used = {n for line in solution.lines for calc in calculations(line) for n in same_numbers(calc.expression)}
    kept = [new for old, new in zip(before, numbers, strict=True) if old in used]
    assert len(set(kept)) == len(kept), "no two became one"
    assert all(number.isdigit() for number in numbers)


@settings(deadline=None, max_examples=60)
@given(solutions())
def test_renumbered_words_and_calculations_agree(solution):
    again = renumbered(solution, rng())
    for line in again.lines:
        (calc,) = calculations(line)
        assert same_numbers(without_calculations(line)) == [*same_numbers(calc.expression), calc.result]


def test_renumbered_changes_the_question_too():
    again = next(found for seed in itertools.count() if (found := renumbered(CLIPS, rng(seed))) != CLIPS)
    friends, part = same_numbers(again.question)
    assert calculations(again.lines[0])[0].expression == f"{friends}/{part}"
    assert "*5=" in again.lines[2], "5 is not in the question: a fact of the world"


def test_without_calculations_there_is_nothing_to_change():
    plain = Solution("Are 5 more than 4?", ("Yes, 5 is more.",))
    assert renumbered(plain, rng()) == plain
    assert with_error(plain, tuple(KINDS), rng()) is None
    assert without_calculations(plain.lines[0]) == plain.lines[0]
    assert without_calculations(CLIPS.lines[0]) == "Natalia sold 48/4 = 12 clips in May."


# --------------------------------------------------------------------------------------- with_error


@settings(deadline=None, max_examples=60)
@given(solutions(), st.sampled_from(ARITHMETIC), SEEDS)
def test_an_error_of_arithmetic(solution, kind, seed):
    flawed = with_error(solution, (kind,), rng(seed))
    assert flawed == with_error(solution, (kind,), rng(seed)), "the same draws, the same error"
    if flawed is None:
        assert kind != "digit", "another digit always fits; others may be negative or have too many decimals"
        return
    wrong, lines = flawed.wrong, flawed.solution.lines
    assert flawed.kind == kind and flawed.solution.question == solution.question
    assert lines[:wrong] == solution.lines[:wrong]
    assert [all_right([line]) for line in lines] == [number != wrong for number in range(len(lines))]
    (was,), (now,) = calculations(solution.lines[wrong]), calculations(lines[wrong])
    assert now.expression == was.expression and now.result != was.result
    assert lines[wrong] == replaced_at_the_end(solution.lines[wrong], was.result, now.result)


def replaced_at_the_end(line, old, new):
    assert line.endswith(f"={old}>>{old}.")
    return line.removesuffix(f"={old}>>{old}.") + f"={new}>>{new}."


@settings(deadline=None, max_examples=60)
@given(solutions(), SEEDS)
def test_another_operand_leaves_the_arithmetic_right(solution, seed):
    flawed = with_error(solution, ("operand",), rng(seed))
    if flawed is None:
        return
    wrong, lines = flawed.wrong, flawed.solution.lines
    assert lines[:wrong] == solution.lines[:wrong]
    assert all_right(lines)
    (was,), (now,) = calculations(solution.lines[wrong]), calculations(lines[wrong])
    assert now.result != was.result
    taken = set(same_numbers(now.expression)) - set(same_numbers(was.expression))
    assert len(taken) == 1 and taken <= set(same_numbers(solution.question))
    assert same_numbers(without_calculations(lines[wrong])) == [*same_numbers(now.expression), now.result]


POSSIBLE = {
    "slip": lambda old, new: 1 <= abs(new - old) <= 9,
    "digit": lambda old, new: len(f"{old}") == len(f"{new}") and differing(f"{old}", f"{new}") == 1,
    "transposed": lambda old, new: sorted(f"{old}") == sorted(f"{new}") and differing(f"{old}", f"{new}") == 2,
    "magnitude": lambda old, new: new in (10 * old, Fraction(old, 10)),
    "carry": lambda old, new: abs(new - old) in (10, 100),
    "operation": lambda old, new: new == 13 + 19,
}


def differing(one, other):
    return sum(a != b for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("kind", ARITHMETIC)
def test_every_kind_does_what_it_says(kind):
    """13 * 19 = 247, many times."""
    solution = Solution("What are 13 by 19?", ("They are <<13*19=247>>247.",))
    found = [with_error(solution, (kind,), rng(seed)) for seed in range(200)]
    found = [flawed for flawed in found if flawed is not None]  # 13 - 19 and 13 / 19 cannot be written
    values = {Fraction(calculations(flawed.solution.lines[0])[0].result) for flawed in found}
    assert all(POSSIBLE[kind](247, value) for value in values), values
    least = {"slip": 18, "digit": 20, "transposed": 2, "magnitude": 2, "carry": 4, "operation": 1}
    assert len(values) >= least[kind]


def test_the_error_is_carried_on():
    """12 that became another number is used from then on; where that cannot be written, nothing else changes."""
    found = [with_error(CLIPS, ("slip",), rng(seed)) for seed in range(50)]
    first = [flawed.solution.lines for flawed in found if flawed.wrong == 0]
    for lines in first:
        wrong = int(calculations(lines[0])[0].result)
        assert lines[1] == f"In all she sold 48+{wrong} = <<48+{wrong}={48 + wrong}>>{48 + wrong} clips."
        assert lines[2] == f"That is {48 + wrong}*5 = $<<{48 + wrong}*5={5 * (48 + wrong)}>>{5 * (48 + wrong)}."
    assert {flawed.wrong for flawed in found} == {0, 1, 2}
    tight = Solution("Take 9 and 8.", ("That is 9-8 = <<9-8=1>>1.", "Left are 2-1 = <<2-1=1>>1."))
    lines = next(f.solution.lines for f in (with_error(tight, ("slip",), rng(s)) for s in range(50)) if f.wrong == 0)
    assert int(calculations(lines[0])[0].result) <= 2 or lines[1] == tight.lines[1]


def test_a_wrong_calculation_gets_no_error():
    wrong = Solution("What are 2 and 3?", ("They are <<2+3=6>>6.",))
    assert with_error(wrong, tuple(KINDS), rng()) is None


# -------------------------------------------------------------------------------------- GSM8K itself


def test_solutions_of_gsm8k(shared_data):
    """Nearly all can be made wrong and most carried over; what was right stays so, and is wrong where it is said."""
    path = shared_data / "gsm8k" / "train.jsonl.xz"
    if not path.exists():
        pytest.skip(f"no {path}")
    found = itertools.islice(read_records(path, "gsm8k"), 400)
    given = [
        Solution(trace.prompt, tuple(step.text for step in trace.steps if final_answer(step.text) is None))
        for trace in found
    ]
    draws = rng()
    flawed = [with_error(solution, tuple(KINDS), draws) for solution in given]
    moved = [renumbered(solution, draws) for solution in given]
    assert np.mean([each is not None for each in flawed]) > 0.95
    assert np.mean([new != old for new, old in zip(moved, given, strict=True)]) > 0.6
    right = [all_right(solution.lines) for solution in given]
    assert np.mean(right) > 0.9
    for old, new, error in itertools.compress(zip(given, moved, flawed, strict=True), right):
        assert all_right(new.lines), (old, new)
        if error is not None:
            where = [number for number, line in enumerate(error.solution.lines) if not all_right([line])]
            assert where == ([] if error.kind == "operand" else [error.wrong]), (old, error)
