"""Messages about the options of `traceward run`: they name the option that the user typed, not a class and a field."""

import re
from collections.abc import Callable, Sequence
from typing import Any

from irl.types import InputError

_FIELD = re.compile(r"\w+\.(\w+)")
_TYPE = re.compile(r"Error parsing (--[\w.-]+).*Argument helptext: \S+ (.+?) \(")
_CHOICE = re.compile(r"invalid choice '(.*?)' for argument '(--[\w.-]+)'. Expected one of \((.*?)\)")


def naming_option(error: InputError, arguments: Sequence[str], parse: Callable[[list[str]], Any]) -> InputError:
    """The error with the option that causes it, where one of the options alone causes the same error.

    The option replaces "Class.field" if it sets that field, and precedes the message if it sets another one.

    Args:
        error: From a record: "Class.field: expected ..., got ...".
        arguments: The options with their values.
        parse: Applies some of the options; raises InputError.
    """
    place = _FIELD.match(str(error))
    if place is None:
        return error
    for option in sorted(_each(arguments), key=lambda option: _field(option) != place[1]):
        try:
            parse(option)
        except InputError as alone:
            if str(alone) == str(error):
                name = option[0].partition("=")[0]
                same = _field(option) == place[1]
                return InputError(name + str(error)[place.end() :] if same else f"{' '.join(option)}: {error}")
    return error


def _field(option: list[str]) -> str:
    """The name of the field that an option sets."""
    return option[0].partition("=")[0].replace("-", "_").split(".")[-1].strip("_")


def unreadable_option(box: str, arguments: Sequence[str]) -> InputError:
    """tyro's boxed message about a value of the wrong type, as one line that names the option."""
    line = " ".join("".join(character for character in box if character.isascii()).split())
    if choice := _CHOICE.search(line):
        return InputError(f"{choice[2]}: expected one of {choice[3]}, got {choice[1]!r}")
    if wrong := _TYPE.search(line):
        return InputError(f"{wrong[1]}: expected {wrong[2]}, got {_value(wrong[1], arguments)!r}")
    return InputError(f"options {' '.join(arguments)}: {line}")


def _value(name: str, arguments: Sequence[str]) -> str:
    """What follows the option of this name."""
    for first, *values in _each(arguments):
        option, _, value = first.partition("=")
        if option.replace("-", "_") == name.replace("-", "_"):
            return " ".join([value, *values]).strip()
    return ""


def _each(arguments: Sequence[str]) -> list[list[str]]:
    """Every option with its values."""
    options: list[list[str]] = []
    for argument in arguments:
        if argument.startswith("--") or not options:
            options.append([])
        options[-1].append(argument)
    return options
