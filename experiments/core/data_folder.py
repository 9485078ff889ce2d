"""Data sets of configs: files below the folder that the environment variable TRACEWARD_DATA names.

A config names its files by `data_file`, with where they come from. An option such as `--data.train FILE` replaces them.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from irl.types import InputError

VARIABLE = "TRACEWARD_DATA"
DATA = "data.json"
"""Digests of the data files in a run folder (frame.py)."""
_SOURCES: dict[str, tuple[str, str]] = {}
"""Name and source of the files of configs, by path."""


def data_file(name: str, source: str) -> str:
    """The path of a file of the data folder; the name itself without a data folder. `source` says how to get it."""
    path = str(Path(os.environ.get(VARIABLE, "")) / name)
    _SOURCES[path] = name, source
    return path


def require_data(config: Any) -> None:
    """InputError with the remedy for the first file of `data_file` in a config that is absent."""
    for option, path in _texts(config, ""):
        if path in _SOURCES and not Path(path).exists():
            name, source = _SOURCES[path]
            remedy = f"set {VARIABLE} to a folder with {name} ({source}), or name another file by --{option}"
            part = re.match(r".*\.\d+(?=\.)", option)
            remedy += f", or leave it out by --{part[0]} None" if part else ""
            raise InputError(f"{path}: no such file; {remedy}")


def _texts(value: Any, option: str) -> Iterator[tuple[str, str]]:
    """The strings of a config with their options; the strings of a tuple belong to one option."""
    if isinstance(value, str):
        yield option, value
    elif is_dataclass(value):
        for item in fields(value):
            yield from _texts(getattr(value, item.name), f"{option}.{item.name}".lstrip("."))
    elif isinstance(value, tuple):
        for index, part in enumerate(value):
            yield from _texts(part, option if isinstance(part, str) else f"{option}.{index}")
