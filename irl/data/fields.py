"""Fields of a row, checked. Messages name the field; whoever knows the file and the row puts them in front."""

import difflib
import reprlib
import sys
from collections.abc import Mapping
from typing import Any

from irl.data.json_lines import kind
from irl.types import InputError

Row = Mapping[str, Any]


def expect(condition: bool, field: str, expected: str, got: str) -> None:
    """InputError that names the field, what was expected and what is there."""
    if not condition:
        raise InputError(f"field {field}: expected {expected}, got {_short(got)}")


def brief(value: Any) -> str:
    """A value in a message, shortened."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer with more digits than Python writes
        return f"an integer of {value.bit_length()} bits"


def _unexpected(field: str, expected: str, value: Any) -> InputError:
    return InputError(f"field {field}: expected {expected}, got {brief(value)}")


def _short(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:200]}..."


def required(row: Row, name: str, inside: str = "") -> Any:
    """The value of a field that must be there; null counts as a value."""
    if name in row:
        return row[name]
    near = difflib.get_close_matches(name, row, n=1)
    hint = f"present: {_short(', '.join(sorted(map(str, row)))) or 'nothing'}"
    hint = f"the nearest field present is {brief(near[0])}, rename it" if near else hint
    raise InputError(f"field {inside}{name}: missing; {hint}")


def text(value: Any, field: str, *, blank: bool = False) -> str:
    """A string, with something in it unless `blank`."""
    if isinstance(value, str) and value.isascii() and (blank or value.strip()):
        return value
    expect(isinstance(value, str), field, "a string", kind(value))
    expect(blank or bool(value.strip()), field, "text", "an empty string")
    expect(value.encode(errors="ignore").decode() == value, field, "Unicode", "half a surrogate pair")
    return value


def entries(value: Any, field: str) -> list[Any]:
    """A list with at least one entry."""
    expect(isinstance(value, list), field, "a list", kind(value))
    expect(bool(value), field, "at least one entry", "an empty list")
    return value


def texts(value: Any, field: str, *, blank: bool = False) -> tuple[str, ...]:
    """A list of strings."""
    return tuple(text(each, f"{field}[{i}]", blank=blank) for i, each in enumerate(entries(value, field)))


def record(value: Any, field: str) -> Row:
    """A JSON object inside a row."""
    expect(isinstance(value, dict), field, "an object", kind(value))
    return value


def whole(value: Any, field: str) -> int:
    """An integer of 64 bits; true and false are none."""
    if type(value) is not int:
        raise _unexpected(field, "an integer", value)
    if abs(value) >= 2**63:
        raise _unexpected(field, "an integer of at most 64 bits", value)
    return value


def number(value: Any, field: str) -> float:
    """A finite number that fits a float64; true and false are none."""
    if type(value) not in (int, float) or not abs(value) <= sys.float_info.max:
        raise _unexpected(field, "a finite number", value)
    return float(value)


def truth(value: Any, field: str) -> bool:
    """true, false, or their 1 and 0."""
    if type(value) not in (bool, int) or value not in (0, 1):
        raise _unexpected(field, "true or false", value)
    return bool(value)


def optional_truth(value: Any, field: str) -> bool | None:
    """true, false, or null for not known."""
    return None if value is None else truth(value, field)


def name_of(row: Row, name: str, default: str) -> str:
    """An identifier, written as text or as an integer; `default` where there is none."""
    value = row.get(name)
    if value is None:
        return default
    return str(value) if type(value) is int else text(value, name)
