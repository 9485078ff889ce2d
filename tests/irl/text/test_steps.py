"""Where steps end: every rule cuts its own joined steps into the same steps."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from irl.text.steps import step_rule
from irl.types import InputError

TEXT = "First. We do A.\n\nThen x = 3.\ny = 2\n\n\nSo \\boxed{1}."
RULES = ["lines", "paragraphs", "sentences", r"\n(?=Then)", r"\s*;\s*", r"(?<=;)"]
PIECES = st.sampled_from(["a", "B", ". ", "\n", " ", "Then", "!\n", "\n\n", " ; ", "1", '"', "  "])


@pytest.mark.parametrize(
    ("rule", "steps"),
    [
        ("lines", ("First. We do A.", "Then x = 3.", "y = 2", "So \\boxed{1}.")),
        ("paragraphs", ("First. We do A.\n", "Then x = 3.\ny = 2\n\n", "So \\boxed{1}.")),
        ("sentences", ("First. ", "We do A.\n", "Then x = 3.", "y = 2\n\n", "So \\boxed{1}.")),
        (r"\n(?=Then)", ("First. We do A.\n", "Then x = 3.\ny = 2\n\n\nSo \\boxed{1}.")),
    ],
)
def test_steps_by_hand(rule, steps):
    assert step_rule(rule)(TEXT) == steps


@pytest.mark.parametrize("rule", RULES)
@given(text=st.lists(PIECES, max_size=12).map("".join))
def test_steps_survive_being_joined(rule, text):
    cut = step_rule(rule)
    steps = cut(text)
    assert cut("\n".join(steps)) == steps
    assert all(step.strip() for step in steps)
    assert "".join("".join(steps).split()) == "".join(text.split()) or rule in (r"\s*;\s*",)


@pytest.mark.parametrize(
    ("rule", "message"), [("(", "'\\(' is not a regular expression"), (r"\d*", "matches the empty text")]
)
def test_bad_rules(rule, message):
    with pytest.raises(InputError, match=message):
        step_rule(rule)
