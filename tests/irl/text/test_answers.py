"""Answers of texts, and the form in which they are compared."""

import pytest

from irl.text.answers import answer_rule, boxed, normal_form
from irl.types import InputError


@pytest.mark.parametrize(
    ("rule", "text", "answer"),
    [
        ("marked", r"so $x$. The answer is 3. \boxed{\frac{1}{2}}", "1/2"),
        ("marked", "5 apples\n#### 1,200.50", "2401/2"),
        ("marked", "The final answer is: $42$.", "42"),
        ("marked", "Answer: The Dog.", "the dog"),
        ("marked", "no mark at all 7", None),
        ("boxed", "the answer is 3", None),
        ("hashes", "#### 3\nmore", "3"),
        ("last number", "from 3 to 4 or -5", "-5"),
        ("last number", "none", None),
        ("none", "#### 3", None),
        (r"x = (\d+)", "x = 3, x = 12", "12"),
        (r"yes|no", "no, Yes, yes", "yes"),
    ],
)
def test_answers(rule, text, answer):
    assert answer_rule(rule)(text) == answer


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("$1,200.50.", "1200.5"),
        (r"\frac{1}{2}", "0.5"),
        (r"\dfrac{3}{6}", "1/2"),
        ("50%", "50"),
        (" The  Dog. ", "the dog"),
        (r"\frac12", "1/2"),
        (r"\tfrac{3}4", "0.75"),
        ("1,000", "1000"),
        ("18 dollars", "18"),
        (r"5\text{ cm}", "5"),
        (r"$60 \, \text{miles per hour}$", "60"),
        ("x = 3", "3"),
        (r"90^\circ", "90"),
        (r"\$12", "12"),
        (r"25\%", "25"),
        (r"\left(1, 2\right)", "(1, 2)"),
    ],
)
def test_equal_answers(left, right):
    assert normal_form(left) == normal_form(right)


def test_answers_that_differ_or_are_no_numbers():
    assert normal_form("x+1") != normal_form("1+x")
    assert normal_form("3/0") == "3/0"
    assert normal_form("3 and 4") != normal_form("3") != normal_form("2x")
    assert normal_form("5 or more") != normal_form("5")
    assert normal_form("x = y = 3") != normal_form("3")
    assert normal_form("1" * 200) == "1" * 200


def test_boxes_nest_and_an_open_box_is_none():
    assert boxed(r"\boxed{a{b}c} then \boxed{d{e}}") == "d{e}"
    assert boxed(r"\boxed{a") is None


def test_a_bad_pattern():
    with pytest.raises(InputError, match="is not a regular expression"):
        answer_rule("(")
