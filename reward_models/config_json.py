"""Records <-> JSON in which every object names its class. Classes are looked up in a mapping; no code is imported."""

import dataclasses
import difflib
import math
from collections.abc import Mapping
from typing import Any

from reward_models.records import InputError

LISTED = 20
"""Names of classes in a message, at most: of a longer list only those that resemble the name in question."""


class UnknownClass(InputError):
    """JSON names a class that the reader does not know. `name` is the name as the JSON has it."""

    def __init__(self, name: Any, message: str):
        super().__init__(message)
        self.name = name


def encode(value: Any, where: str) -> Any:
    """Plain JSON values; a dataclass becomes {"class": name, fields...}. InputError names the field."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__} | {k: encode(v, f"{where}.{k}") for k, v in fields.items()}
    if isinstance(value, tuple | list):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise InputError(f"{where}: {value!r} cannot be saved; use finite numbers, texts, tuples and dataclasses")


def decode(value: Any, classes: Mapping[str, type], where: str) -> Any:
    """What `encode` was given, lists as tuples.

    Raises:
        InputError: Names the place, and the unknown class or the field that its record refuses.
    """
    try:
        return _decode(value, classes, where)
    except RecursionError:
        raise InputError(f"{where}: nested too deeply; expected an object with a class") from None


def _decode(value: Any, classes: Mapping[str, type], where: str) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, classes, f"{where}[{i}]") for i, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    kind = _class(value.get("class"), classes, where)
    fields = {key: _decode(item, classes, f"{where}.{key}") for key, item in value.items() if key != "class"}
    return _build(kind, fields, where)


def _class(name: Any, classes: Mapping[str, type], where: str) -> type:
    if not isinstance(name, str) or name not in classes:
        known = sorted(classes)
        if len(known) > LISTED:
            known = difflib.get_close_matches(str(name), known, n=3)
        raise UnknownClass(name, f"{where}: unknown class {name!r}" + (f"; known: {', '.join(known)}" if known else ""))
    try:
        return classes[name]
    except InputError as error:  # two classes have this name
        raise InputError(f"{where}: {error}") from None


def _build(kind: type, fields: Mapping[str, Any], where: str) -> Any:
    known = [field.name for field in dataclasses.fields(kind)]
    for name in sorted(fields.keys() - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        advice = f"did you mean {near[0]!r}?" if near else "a newer version may have written it: upgrade"
        raise InputError(f"{where}: unexpected field {name!r} of {kind.__name__}; {advice}")
    try:
        return kind(**fields)
    except (InputError, TypeError, ValueError) as error:  # a plain dataclass raises the other two
        raise InputError(f"{where}: {error}") from error
