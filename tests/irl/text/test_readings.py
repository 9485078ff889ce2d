"""Readings by their names: each domain registers its own."""

import pytest

from irl.text.readings import ENDINGS, reading_of, readings, register
from irl.text.windows import ENDING


def test_readings_of_all_domains_are_found_by_name():
    assert set(readings()) == {"ending", "equations", "mistakes"}
    for name, reading in readings().items():
        assert reading_of(name) is reading and reading.name == name
        assert set(reading.judged) <= set(reading.tokenizer().get_vocab())
    assert reading_of("whole trace") is None


def test_a_name_belongs_to_one_reading():
    assert register(ENDINGS) is ENDINGS
    with pytest.raises(ValueError, match="'ending': registered before"):
        register(ENDINGS._replace(longest=1))
    assert reading_of("ending") is ENDINGS


def test_the_end_is_read_from_the_last_characters_of_the_last_step():
    first, last = ENDINGS.read("problem", ["first", "x" * 100 + "So it is 5."])
    assert first == () and len(last) == 1
    (window,) = last
    assert len(window.prompt) == ENDING and window.prompt.endswith("xSo it is 5") and window.closes
    assert ENDINGS.read("problem", ['"answer": "5"', "}", "```"])[-1][0].prompt == '"answer": "5"'
    assert ENDINGS.read("problem", ["..."])[0][0].prompt == ""
    assert ENDINGS.read("problem", []) == []
