"""Prompts that differ in spelling alone have one canonical form; others keep theirs."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from irl.canonical import canonical_text

QUESTION = "Natalia's 48 clips cost $2.50 - how much is each?"


@pytest.mark.parametrize(
    "variant",
    [
        f" {QUESTION}\n",
        QUESTION.replace(" ", "  "),
        QUESTION.replace(" ", "\t"),
        QUESTION.replace(" ", "\r\n"),
        QUESTION.replace(" ", "\u00a0"),
        QUESTION.replace(" ", "\u3000"),
        QUESTION.upper(),
        QUESTION.replace("48", "\uff14\uff18"),
        QUESTION.replace("48", "\u0664\u0668"),
        QUESTION.replace("'", "\u2019").replace("-", "\u2013"),
        QUESTION.replace("-", "\u2212"),
        QUESTION.replace("clips", "cl\u200bi\u00adps\ufeff"),
        f"\u200e{QUESTION}\u2060",
        QUESTION.replace("clips", "cli\x00ps\x1b"),
        f"\n\nHuman: {QUESTION}\n\nAssistant:",
        f"User: {QUESTION}",
    ],
)
def test_spellings_of_a_prompt(variant):
    assert canonical_text(variant) == canonical_text(QUESTION) == QUESTION.lower()


@pytest.mark.parametrize(
    ("first", "second"),
    [("stra\u00dfe", "STRASSE"), ("caf\u00e9", "cafe\u0301"), ("o\ufb03ce", "office"), ("\u1e9e", "ss")],
)
def test_unicode_forms(first, second):
    assert canonical_text(first) == canonical_text(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [("1 2", "12"), ("3 + 5", "3 - 5"), ("What is 3?", "What is 4?"), ("a b", "b a"), ("Human: a", "Human: b")],
)
def test_other_prompts_stay_apart(first, second):
    assert canonical_text(first) != canonical_text(second)


@given(st.text())
def test_any_text_has_a_form_that_whitespace_and_repetition_do_not_change(text):
    form = canonical_text(text)
    assert canonical_text(f"\t{text}\r\n") == form == " ".join(form.split())
    assert canonical_text(form) == form


def test_a_hundred_thousand_prompts_take_a_second():
    prompts = [f"{QUESTION} {number} " * 4 for number in range(100_000)]
    begun = time.process_time()
    assert len({canonical_text(prompt) for prompt in prompts}) == len(prompts)
    assert time.process_time() - begun < 3
