"""Readings by their names: each domain has its own."""

from irl.text.readings import Endings, readings
from irl.text.windows import ENDING


def test_readings_of_all_domains_are_found_by_name():
    assert set(readings()) == {"ending", "equations", "mistakes"}
    for name, reading in readings().items():
        assert reading.name == name
        assert set(reading.judged) <= set(reading.tokenizer().get_vocab())


def test_the_end_is_read_from_the_last_characters_of_the_last_step():
    first, last = Endings().read("problem", ["first", "x" * 100 + "So it is 5."])
    assert first == () and len(last) == 1
    (window,) = last
    assert len(window.prompt) == ENDING and window.prompt.endswith("xSo it is 5") and window.closes
    assert Endings().read("problem", ['"answer": "5"', "}", "```"])[-1][0].prompt == '"answer": "5"'
    assert Endings().read("problem", ["..."])[0][0].prompt == ""
    assert Endings().read("problem", []) == []
