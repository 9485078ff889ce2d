"""Options of `traceward run` that exchange a class: `--reward.critic airl` puts an Airl in the place of the critic.

A field takes every registered class that its type admits, and None where the type admits it. A class is named in
kebab-case, without the ending `Config`. The new value is the default of its class; required fields are those of the
value before it. The parts of a tuple have numbers (`--judges.0 fit-windows`), and None removes a part
(`--judges.1 None`); all other options use the numbers of the parts that remain. The values of fields
(`--reward.critic.learning-rate 1e-4`) are applied afterwards.
"""

import copy
import dataclasses
import re
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from experiments.core.kinds import import_offered
from irl.types import InputError
from reward_models.registry import REGISTERED, classes


def exchange(config: Any, arguments: Sequence[str]) -> tuple[Any, list[str]]:
    """The config with other classes in it, and the arguments that remain.

    The result may break a rule between its fields, which the remaining arguments may restore: build it again.

    Raises:
        InputError: A name of no class that the field takes, or a class with a required field that has no value.
    """
    options, rest = _split(arguments)
    for name, value in sorted(options, key=_order):
        path = _path(name)
        slot = _slot(config, path)
        if slot is None:
            rest += [name] if value is None else [name, value]
        else:
            config = _with(config, path, _instance(slot, name, value))
    return config, rest


def class_name(kind: type) -> str:
    """The name of a class on the command line."""
    return _kebab(kind.__name__.removesuffix("Config"))


def candidates(hint: Any) -> dict[str, type]:
    """The registered classes that a type admits, by their names on the command line."""
    import_offered()
    admitted = tuple(kind for kind in _members(hint) if kind is not NoneType)
    found: dict[str, type] = {}
    for kind in classes():
        if not kind.__name__.startswith("_") and _is_admitted(kind, admitted):
            short = class_name(kind)
            found[_kebab(kind.__name__) if short in found else short] = kind
    return found


class _Slot(NamedTuple):
    """A field or a part of a tuple that holds a record, or may hold one."""

    hint: Any
    value: Any


def _split(arguments: Sequence[str]) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Options with one value, which may name a class, and all other arguments."""
    options: list[tuple[str, str | None]] = []
    rest: list[str] = []
    groups: list[list[str]] = []
    for argument in arguments:
        if argument.startswith("--") or not groups:
            groups.append([])
        groups[-1].append(argument)
    for group in groups:
        name, equals, value = group[0].partition("=")
        if name.startswith("--") and len(group) + bool(equals) == 2:
            options.append((name, value if equals else group[1]))
        else:
            rest += group
    return options, rest


def _path(name: str) -> list[str]:
    return name.removeprefix("--").replace("-", "_").split(".")


def _order(option: tuple[str, str | None]) -> tuple[bool, int, int]:
    """Removals come first, the last part before the others; then outer fields come before inner ones."""
    *parents, last = _path(option[0])
    removes = option[1] == "None" and last.isdecimal()
    return not removes, len(parents), -int(last) if removes else 0


def _slot(config: Any, path: Sequence[str]) -> _Slot | None:
    """What a path leads to, where its value or its type is a record; None otherwise and for an unknown path."""
    hint: Any = None
    for name in path:
        hint, config = _hint(config, hint, name), _at(config, name)
        if hint is None:
            return None
    holds = dataclasses.is_dataclass(config) or (config is None and bool(candidates(hint)))
    return _Slot(hint, config) if holds else None


def _hint(holder: Any, hint: Any, name: str) -> Any:
    """The type of a field of a record, or of a part of a tuple, which may also be None; None where there is no such."""
    if isinstance(holder, tuple):
        parts = next((get_args(each) for each in _members(hint) if get_origin(each) is tuple), ())
        variadic = len(parts) == 2 and parts[1] is Ellipsis
        return (parts[0] | None) if variadic and _at(holder, name) is not None else None
    if not dataclasses.is_dataclass(holder) or name not in {field.name for field in dataclasses.fields(holder)}:
        return None
    return get_type_hints(type(holder), include_extras=True)[name]


def _at(value: Any, name: str) -> Any:
    """The part of a record or a tuple with a name or a number; None where there is none."""
    if isinstance(value, tuple):
        return value[int(name)] if name.isdecimal() and int(name) < len(value) else None
    return getattr(value, name, None) if dataclasses.is_dataclass(value) else None


def _instance(slot: _Slot, option: str, value: str | None) -> Any:
    """What the option puts into the slot."""
    optional = NoneType in _members(slot.hint)
    if value == "None" and optional:
        return None
    known = candidates(slot.hint)
    kind = {_plain(name): kind for name, kind in known.items()}.get(_plain(str(value)))
    kind = kind or {_plain(found.__name__): found for found in known.values()}.get(_plain(str(value)))
    if kind is None:
        expected = f"{'None, or ' if optional else ''}one of its fields: {option}.FIELD"
        raise InputError(f"{option} {value}: expected {expected}, or a class: {', '.join(sorted(known))}")
    _ = REGISTERED[kind.__name__]  # refuses a name of two classes
    return _default(kind, slot.value, option)


def _default(kind: type, before: Any, option: str) -> Any:
    """The default of a class, with the required fields of the value before."""
    required = [
        field.name
        for field in dataclasses.fields(kind)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in required if not hasattr(before, name)]
    if missing:
        needs = f"{kind.__name__} has no default for {', '.join(missing)}"
        raise InputError(f"{option}: {needs}; write the config as a .py file")
    return kind(**{name: getattr(before, name) for name in required})


def _with(config: Any, path: Sequence[str], value: Any) -> Any:
    """A copy with another value at a path, or without the part of a tuple whose new value is None.

    Nothing is checked: the fields that remain to be set may be needed.
    """
    first, *others = path
    part = _with(_at(config, first), others, value) if others else value
    if isinstance(config, tuple):
        return (*config[: int(first)], *(() if part is None else (part,)), *config[int(first) + 1 :])
    changed = copy.copy(config)
    object.__setattr__(changed, first, part)
    return changed


def _members(hint: Any) -> tuple[Any, ...]:
    """The members of a union; the type itself where it is none."""
    if get_origin(hint) is Annotated:
        return _members(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return tuple(member for each in get_args(hint) for member in _members(each))
    return (hint,)


def _is_admitted(kind: type, admitted: tuple[Any, ...]) -> bool:
    return any(isinstance(each, type) and issubclass(kind, each) for each in admitted)


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _plain(name: str) -> str:
    return name.replace("-", "").replace("_", "").lower()
