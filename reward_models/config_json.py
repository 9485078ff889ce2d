"""Frozen dataclasses of plain values <-> JSON. Classes are looked up in a mapping; no code is imported."""

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from reward_models.records import InputError


def encode(value: Any, where: str) -> Any:
    """Plain JSON values; a dataclass becomes {"class": name, fields...}. ValueError names the field."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        return {"class": type(value).__name__} | {k: encode(v, f"{where}.{k}") for k, v in fields.items()}
    if isinstance(value, tuple | list):
        return [encode(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"{where}: {value!r} cannot be saved; use finite numbers, texts, tuples and dataclasses")


def decode(value: Any, classes: Mapping[str, type], where: str) -> Any:
    """What `encode` was given, lists as tuples. ValueError names an unknown class or an unexpected field."""
    if isinstance(value, list):
        return tuple(decode(item, classes, f"{where}[{i}]") for i, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    name = str(value.get("class"))
    if name not in classes:
        raise ValueError(f"{where}: unknown network class {name!r}; known: {', '.join(sorted(classes))}")
    fields = [f.name for f in dataclasses.fields(classes[name])]
    given = {k: decode(v, classes, f"{where}.{k}") for k, v in value.items() if k != "class"}
    return build(classes[name], fields, given, where)


def build(make: type, fields: Sequence[str], given: Any, where: str) -> Any:
    """`make(**given)`, where `given` must be a dict of some of `fields`."""
    if not isinstance(given, dict):
        raise ValueError(f"{where}: expected an object with {', '.join(fields)}; found {given!r}")
    for name in sorted(given.keys() - set(fields)):
        near = difflib.get_close_matches(name, fields, n=1)
        advice = f"did you mean {near[0]!r}?" if near else "a newer version may have written it: upgrade"
        raise ValueError(f"{where}: unexpected field {name!r} of {make.__name__}; {advice}")
    try:
        return make(**given)
    except InputError as error:
        raise ValueError(f"{where}: {error}") from error
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: no {make.__name__} can be made of it: {error}") from error


def plain(value: Any) -> Any:
    """Metrics as JSON has them: array scalars become numbers, NaN and infinity null."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray | jax.Array) and value.ndim == 0:
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
