"""Fields of a row, checked. Messages name the field; whoever knows the file and the row puts them in front."""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from irl.traces.json_lines import kind
from irl.types import InputError

Row = Mapping[str, Any]


def expect(condition: bool, field: str, expected: str, got: str) -> None:
    """InputError that names the field, what was expected and what is there."""
    if not condition:
        raise InputError(f"field {field}: expected {expected}, got {got}")


def required(row: Row, name: str, inside: str = "") -> Any:
    """The value of a field that must be there; null counts as a value."""
    if name in row:
        return row[name]
    near = difflib.get_close_matches(name, row, n=1)
    hint = f"present: {', '.join(sorted(row)) or 'nothing'}"
    hint = f"the nearest field present is {near[0]!r}, rename it" if near else hint
    raise InputError(f"field {inside}{name}: missing; {hint}")


def text(value: Any, field: str, *, blank: bool = False) -> str:
    """A string, with something in it unless `blank`."""
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
    """An integer; true and false are none."""
    expect(type(value) is int, field, "an integer", repr(value))
    return value


def number(value: Any, field: str) -> float:
    """A finite number; true and false are none."""
    finite = type(value) in (int, float) and math.isfinite(value)
    expect(finite, field, "a finite number", repr(value))
    return float(value)


def truth(value: Any, field: str) -> bool:
    """true, false, or their 1 and 0."""
    expect(type(value) in (bool, int) and value in (0, 1), field, "true or false", repr(value))
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
