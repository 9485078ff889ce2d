"""The boundary where JSON becomes typed records: configs, manifests, reports and every other file of ours.

A class decorated with `record` is a frozen, keyword-only dataclass whose fields are checked by pydantic whenever an
instance is built, in code, from the command line or from a file. Types are strict (no text becomes a number) and
ranges stand in the annotation:

    @record
    class Schedule:
        steps: Annotated[int, Ge(0)]

Every record is registered under its name (reward_models/registry.py): a config.json names classes so.

`parse_json` reads JSON text, `as_record` turns its values into a record, `read_record` does both for a file. All of
them raise `InputError` with the place, the field, what was expected and what was given.
"""

import dataclasses
import difflib
import functools
import json
import math
import os
import reprlib
from collections import Counter
from pathlib import Path
from typing import Any, TypeVar, dataclass_transform

import pydantic
from pydantic import ConfigDict, TypeAdapter
from pydantic.dataclasses import dataclass as checked_dataclass

Kind = TypeVar("Kind")
Class = TypeVar("Class", bound=type)

STRICT = ConfigDict(strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
_EXPECTED = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "less than {lt}",
    "finite_number": "a finite number",
    "int_type": "an integer",
    "int_from_float": "an integer",
    "int_parsing_size": "a smaller integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "an object",
    "dataclass_type": "an object",
    "dataclass_exact_type": "an object",
    "none_required": "null",
    "literal_error": "{expected}",
    "too_short": "at least {min_length} values",
    "too_long": "at most {max_length} values",
    "string_too_short": "at least {min_length} characters",
}


RECORDS: dict[str, dict[tuple[str, str], type]] = {}
"""Name of a record: the classes with this name, by module and qualified name. A class defined again replaces itself."""


class InputError(Exception):
    """An input of the user is invalid; the message names the input, the problem and the remedy.

    The command line prints the message without a traceback and exits with code 2.
    """


@dataclass_transform(kw_only_default=True, frozen_default=True)
def record(cls: Class) -> Class:
    """A frozen, keyword-only dataclass whose instances always satisfy their annotations.

    Raises:
        InputError: From the constructor, for a value of the wrong type or outside the range of its field.
    """
    checked: Any = checked_dataclass(cls, frozen=True, kw_only=True, config=STRICT)
    build = checked.__init__

    @functools.wraps(build)
    def initialise(self: Any, *args: Any, **fields: Any) -> None:
        try:
            build(self, *args, **fields)
        except pydantic.ValidationError as error:
            raise InputError(f"{cls.__name__}.{describe(error, checked)}") from None

    checked.__init__ = initialise
    RECORDS.setdefault(cls.__name__, {})[cls.__module__, cls.__qualname__] = checked
    return checked


def parse_json(text: str | bytes, where: str) -> Any:
    """The value of JSON text.

    Args:
        text: UTF-8 text.
        where: The place that messages name, such as a path with a line.

    Raises:
        InputError: Text that is not UTF-8 or not JSON, is nested too deeply, has numbers too long to read, a key
            twice in one object, or NaN or infinity.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        return DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise InputError(f"{where}, byte {error.start + 1}: not UTF-8 text; save it as UTF-8") from None
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in error.doc.rstrip() else ""
        raise InputError(f"{where}{line}, column {error.colno}: malformed JSON ({error.msg})") from None
    except UNREADABLE as error:
        raise unreadable(error, where) from None


def unreadable(error: Exception, where: str) -> InputError:
    """The error for JSON that is well-formed and refused all the same; `error` is one of `UNREADABLE`."""
    return InputError(f"{where}: {error if isinstance(error, _Refused) else f'JSON that cannot be read ({error})'}")


def as_record(kind: type[Kind], value: Any, where: str) -> Kind:
    """A record of `kind` from parsed JSON. Raises InputError that names place and field."""
    try:
        return _adapter(kind).validate_json(json.dumps(value))
    except RecursionError:
        raise InputError(f"{where}: nested too deeply; expected {kind.__name__}") from None
    except pydantic.ValidationError as error:
        raise InputError(f"{where}: {describe(error, kind)}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def as_part(kind: type[Kind], value: Any, where: str) -> Kind:
    """A record of an object that another program wrote: keys other than the fields of `kind` are left unread.

    Raises InputError as `as_record` does.
    """
    names = _field_names(kind)
    known = {name: value[name] for name in names if name in value} if isinstance(value, dict) else value
    return as_record(kind, known, where)


def read_record(kind: type[Kind], path: str | os.PathLike[str]) -> Kind:
    """The record of a JSON file. Raises InputError for a file that cannot be read, and as `as_record` does."""
    return as_record(kind, read_json(path), str(path))


def read_json(path: str | os.PathLike[str]) -> Any:
    """The value of a JSON file. Raises InputError."""
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    return parse_json(content, str(path))


def describe(error: pydantic.ValidationError, kind: Any) -> str:
    """The first problem as "field: expected ..., got ...", with the nearest field of `kind` for an unknown one."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error":  # from __post_init__, which names its field
        return f"{place}.{first['ctx']['error']}" if place else str(first["ctx"]["error"])
    field = place or "value"
    if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        near = difflib.get_close_matches(str(first["loc"][-1]), _field_names(kind), n=1)
        return f"{field}: unknown field; " + (f"did you mean {near[0]!r}?" if near else "remove it")
    if first["type"] in ("missing", "missing_keyword_only_argument", "missing_argument"):
        return f"{field}: missing"
    if (template := _EXPECTED.get(first["type"])) is not None:
        return f"{field}: expected {template.format(**first.get('ctx', {}))}, got {reprlib.repr(first['input'])}"
    return f"{field}: {first['msg']}, got {reprlib.repr(first['input'])}"


class _Refused(Exception):
    """JSON that has one key twice in an object, or a number that is not finite."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise _Refused(f"the key {reprlib.repr(key)} occurs twice in one object; keep one of the two")
    return value


def _no_constant(name: str) -> float:
    raise _Refused(f"{name} is not a JSON number; write a finite number or null")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _Refused(f"the number {reprlib.repr(text)} is out of range; write a finite number or null")
    return value


def _field_names(kind: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []


DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant, parse_float=_finite)
"""The strict decoder of `parse_json`, for text that holds more than one value (`raw_decode`)."""
UNREADABLE = (_Refused, ValueError, RecursionError, MemoryError)
"""Exceptions of `DECODER`: malformed JSON, numbers of thousands of digits, thousands of brackets, values too large."""
_adapter: Any = functools.lru_cache(maxsize=256)(TypeAdapter)
