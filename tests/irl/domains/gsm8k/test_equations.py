"""Calculations found in text, and the two ways they are read."""

import time
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from irl.domains.gsm8k.calculations import evaluate
from irl.domains.gsm8k.equations import Equation, equation_windows, equations
from irl.domains.gsm8k.exercises import Exercise, drawn, exercises

WRITTEN = [
    ("Natalia sold 48/2 = <<48/2=24>>24 clips and 48 + 24 = 72 in all", [("48/2", "24")]),  # annotations first
    ("That is 5 x $2.50 = $12.5 a day.", [("5*2.50", "12.5")]),
    ("1,200 + 80 = 1,280 clips", [("1200+80", "1280")]),
    ("(3 + 4) × 2 = 14, and 10 ÷ 4 = 2.5", [("(3+4)*2", "14"), ("10/4", "2.5")]),
    ("7 − 2 = 5.", [("7-2", "5")]),
    ("60*6 + 40*4 = 360 + 160 = 520", [("360+160", "520")]),  # 360 is not the result of the first
    ("9 liters * (2/3) = 6 liters", []),  # the 9 stands apart
    ("so 20% * 30 = 6", []),
    ("12 - 5 = 7%", []),
    ("x = 3 and 2x + 10 = 16", []),
    ("There are 24 clips = 2 dozen", []),
    ("", []),
]


@pytest.mark.parametrize(("text", "found"), WRITTEN)
def test_equations_of_text(text, found):
    assert equations(text) == [Equation(*each) for each in found]


@given(st.integers(0, 10**6), st.integers(1, 10**6), st.sampled_from("+-*/"), st.sampled_from(["", " "]))
def test_what_is_written_is_found(first, second, sign, space):
    result = 7 * first
    expected = Equation(f"{first}{sign}{second}", f"{result}")
    assert equations(f"so {first:,}{space}{sign}{space}{second:,} = ${result:,} in all") == [expected]
    assert equations(f"so <<{first}{sign}{second}={result}>>{result}") == [expected]


@pytest.mark.parametrize(
    "text", ["1+" * 50_000, "(" * 50_000, "1" + " " * 50_000 + "+", "1 " * 50_000, "1+1=2 " * 9_000]
)
def test_time_is_linear_in_the_text(text):
    begun = time.process_time()
    assert len(equations(text)) == (9_000 if "=" in text else 0)
    assert time.process_time() - begun < 2, "seconds; quadratic time takes minutes"


def test_two_readings():
    forward, back = equation_windows(Equation("48/2", "24"))
    assert (forward.prompt, forward.step) == ("48/2=", "24")
    assert (back.prompt, back.step) == ("=48/2", "42")
    assert forward.closes and back.closes and forward.before == back.before == ()


def test_exercises_are_the_right_calculations():
    lines = ["a <<48/2=24>>24 and <<10/4=3>>3", "b <<0.5*4=2>>2", "nothing"]
    assert exercises(lines) == [Exercise("48/2", Fraction(24)), Exercise("0.5*4", Fraction(2))]


def test_drawn_exercises_are_right_and_whole_where_they_were():
    pool, rng = exercises(["<<48/2=24>>", "<<15-4=11>>", "<<7*0.5=3.5>>"]), np.random.default_rng(0)
    made = drawn(pool, 300, 0.8, rng)
    assert len(made) == 300 and len(set(made)) > 100
    for expression, result in made:
        assert evaluate(expression) == Fraction(result) >= 0, expression
        assert "." not in result or "." in expression, "whole results stay whole"
    assert set(drawn(pool, 50, 0.0, rng)) == {Equation("48/2", "24"), Equation("15-4", "11"), Equation("7*0.5", "3.5")}
