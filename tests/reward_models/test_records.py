"""Records: types and ranges are checked whenever one is built, and every message names the field."""

import dataclasses
from typing import Annotated

import pytest
from annotated_types import Ge, Gt

from reward_models.records import InputError, as_record, parse_json, read_record, record


@record
class Inner:
    steps: Annotated[int, Ge(0)] = 3
    rate: Annotated[float, Gt(0)] = 1.0
    names: tuple[str, ...] = ()


@record
class Outer:
    inner: Inner = dataclasses.field(default_factory=Inner)
    other: Inner | None = None


def test_a_record_is_a_frozen_dataclass_with_values_and_a_hash():
    made = Inner(steps=4)
    assert dataclasses.is_dataclass(made) and made == dataclasses.replace(Inner(), steps=4)
    assert hash(made) == hash(Inner(steps=4))
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        made.steps = 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": -1}, "Inner.steps: expected at least 0, got -1"),
        ({"steps": "1"}, "Inner.steps: expected an integer, got '1'"),
        ({"steps": True}, "Inner.steps: expected an integer, got True"),
        ({"rate": float("nan")}, "Inner.rate: expected a finite number, got nan"),
        ({"rate": 0.0}, "Inner.rate: expected more than 0.0, got 0.0"),
        ({"names": "ab"}, "Inner.names: expected a list, got 'ab'"),
        ({"stepz": 1}, "Inner.stepz: unknown field; did you mean 'steps'?"),
    ],
)
def test_the_constructor_names_the_field(fields, message):
    with pytest.raises(InputError) as error:
        Inner(**fields)
    assert str(error.value) == message


def test_replace_checks_too():
    with pytest.raises(InputError, match=r"Inner\.steps: expected at least 0, got -2"):
        dataclasses.replace(Inner(), steps=-2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "a": 2}', "f: the key 'a' occurs twice in one object"),
        ("[" * 200_000, "f: JSON that cannot be read"),
        ("9" * 5000, "f: JSON that cannot be read"),
        ("[NaN]", "f: NaN is not a JSON number"),
        ("[1e999]", "f: the number '1e999' is out of range"),
        ('{"a": ', "f, column 7: malformed JSON"),
        ('{\n"a": ', "f, line 2, column 6: malformed JSON"),
        (b'{"a": "\xff"}', "f, byte 8: not UTF-8 text"),
    ],
)
def test_json_that_is_ambiguous_or_too_large_is_refused_with_its_place(text, message):
    with pytest.raises(InputError) as error:
        parse_json(text, "f")
    assert str(error.value).startswith(message)


def test_a_file_becomes_a_record_with_tuples_and_inner_records(tmp_path):
    file = tmp_path / "a.json"
    file.write_text('{"inner": {"steps": 7, "names": ["x", "y"]}, "other": null}')
    assert read_record(Outer, file) == Outer(inner=Inner(steps=7, names=("x", "y")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"inner": {"steps": -7}}, "x: inner.steps: expected at least 0, got -7"),
        ({"inner": 3}, "x: inner: expected an object, got 3"),
        ({"iner": {}}, "x: iner: unknown field; did you mean 'inner'?"),
        ([], "x: value: expected an object, got []"),
    ],
)
def test_a_value_that_is_no_such_record_is_named_by_place_and_field(value, message):
    with pytest.raises(InputError) as error:
        as_record(Outer, value, "x")
    assert str(error.value) == message


def test_a_missing_file_and_a_folder_in_its_place_are_named(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_record(Inner, tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_record(Inner, tmp_path)
