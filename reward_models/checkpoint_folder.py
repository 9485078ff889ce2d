"""The portable folder of a reward model: weights, config, tokenizer and a note on where it comes from.

    model.safetensors   weights; the nested dict a/b/c is the tensor `a.b.c`, an index is a number
    config.json         {"format": 1, "network": {"class": name, fields...}, "spec": {...}}
    tokenizer.json      text given by the caller and handed back unread
    manifest.json       {"format": 1, "information": ..., "encoding": sha256 of tokenizer.json,
                        "created_with": {...}, and the caller's: trained_on, metrics, ...}

No pickle and no code: class names are looked up in a mapping that the *reader* gives. A folder appears under
its name only when complete; the one it replaces stays beside it (`.NAME.old`) until then, and is read when a
kill fell between the two renames. Of several processes let one save, with the weights gathered on its host.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors

from reward_models import config_json, tensor_file
from reward_models.networks.base import Params
from reward_models.records import InputError
from reward_models.types import INFORMATION_LEVELS, ScoreSpec

FORMAT = 1
WEIGHTS, CONFIG, TOKENIZER, MANIFEST = FILES = (
    "model.safetensors",
    "config.json",
    "tokenizer.json",
    "manifest.json",
)
CARD = "model_card.md"
"""Not read here; it speaks of the weights beside it, so saving others drops it."""


class ModelFolderError(InputError, ValueError):
    """A model folder cannot be written or read; the message names file, tensor or field, and what to do."""


class ModelFolder(NamedTuple):
    """What a folder holds. `network` is the frozen config that was saved; `network.make()` builds it."""

    params: Params
    network: Any
    spec: ScoreSpec
    tokenizer_json: str
    manifest: dict[str, Any]


def encoding_of(tokenizer_json: str) -> str:
    """The name of an encoding: sha256 of the tokenizer's JSON. A model reads only the one of its training."""
    return hashlib.sha256(tokenizer_json.encode()).hexdigest()


def save_folder(
    path: str | os.PathLike[str],
    *,
    params: Params,
    network: Any,
    spec: ScoreSpec,
    tokenizer_json: str,
    manifest: Mapping[str, Any],
) -> None:
    """Write a model folder; an earlier one at `path` is replaced once the new one is complete and on disk.

    `network` is a frozen dataclass of numbers, texts, tuples and further such dataclasses. `manifest` is free
    but for the keys written here; NaN and infinity in it become null. Raises ModelFolderError for weights not
    finite, for values that cannot come back, and for a `path` that holds anything but a model.
    """
    folder = Path(path).resolve()
    _refuse_to_replace_other_things(folder)
    with _about(f"{folder}: not saved"):
        _check_spec(spec)
        config = {"format": FORMAT, "network": config_json.encode(network, "network"), "spec": spec._asdict()}
        note = _manifest(manifest, spec, tokenizer_json)
        texts = {CONFIG: _json(config), TOKENIZER: tokenizer_json, MANIFEST: _json(note)}
        new = _sibling(folder, "new")
        try:
            _write(new, params, texts)
            _swap(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def load_folder(
    path: str | os.PathLike[str],
    *,
    classes: Mapping[str, type],
    expect_encoding: str | None = None,
    expected: Params | None = None,
) -> ModelFolder:
    """Read a model folder.

    `classes` maps the class names that may stand in config.json to frozen dataclasses. `expect_encoding` is
    the `encoding_of` the tokenizer in use. `expected`, arrays or shapes, tells what the weights must be:
    names, shapes and dtypes. Raises ModelFolderError.
    """
    folder = _complete(Path(path).resolve())
    manifest, config = _read_json(folder / MANIFEST), _read_json(folder / CONFIG)
    with _about(folder / TOKENIZER):
        tokenizer_json = (folder / TOKENIZER).read_text(encoding="utf-8")
        _check_encoding(manifest.get("encoding"), tokenizer_json, expect_encoding)
    with _about(folder / CONFIG):
        network = config_json.decode(config.get("network"), classes, "network")
        spec = config_json.build(ScoreSpec, ScoreSpec._fields, config.get("spec"), "spec")
        _check_spec(spec)
    with _about(folder / WEIGHTS):
        params = tensor_file.read_tensors(folder / WEIGHTS)
        if expected is not None:
            tensor_file.check_params(params, expected)
    return ModelFolder(params, network, spec, tokenizer_json, manifest)


@contextmanager
def _about(what: Path | str) -> Iterator[None]:
    """Turn an error of a value or of the disk into one that says which file it is about."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise ModelFolderError(f"{what}: {error}") from error


def _check_spec(spec: ScoreSpec) -> None:
    if spec.information not in INFORMATION_LEVELS:
        known = ", ".join(map(repr, INFORMATION_LEVELS))
        raise ValueError(f"spec.information: {spec.information!r} is none of {known}")


def _check_encoding(encoding: Any, tokenizer_json: str, expect: str | None) -> None:
    actual = encoding_of(tokenizer_json)
    if encoding != actual:
        raise ValueError(f"changed: sha256 {actual[:12]}, {MANIFEST} says {str(encoding)[:12]}; copy the folder again")
    if expect is not None and expect != actual:
        advice = "encode with this tokenizer.json, or take a model of your encoding"
        raise ValueError(f"a folder of another encoding: {actual[:12]}, expected {expect[:12]}; {advice}")


def _manifest(given: Mapping[str, Any], spec: ScoreSpec, tokenizer_json: str) -> dict[str, Any]:
    ours = {"format": FORMAT, "information": spec.information, "encoding": encoding_of(tokenizer_json)}
    for key in ours.keys() & given.keys():
        raise ValueError(f"manifest.{key} is written by save_folder; choose another name")
    versions = {module.__name__: module.__version__ for module in (jax, np, safetensors)}
    return ours | {"created_with": versions} | config_json.plain(given)


def _json(value: Any) -> str:
    try:
        return json.dumps(value, indent=2, allow_nan=False) + "\n"
    except TypeError as error:
        raise ValueError(f"manifest: {error}; use numbers, texts, lists and objects") from error


def _read_json(file: Path) -> dict[str, Any]:
    with _about(file):
        try:
            value = json.loads(file.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"no JSON ({error}); copy or save the model again") from error
        found = value.get("format") if isinstance(value, dict) else value
        if found != FORMAT:
            raise ValueError(f"format {found!r}, this version reads {FORMAT}; upgrade, or save the model again")
    return value


def _sibling(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _complete(folder: Path) -> Path:
    """The folder to read: `folder`, or the one it replaces if a kill fell between the renames of `_swap`."""
    old = _sibling(folder, "old")
    folder = old if old.is_dir() and not folder.exists() else folder
    if not folder.is_dir():
        raise ModelFolderError(f"{folder}: no such folder; expected a model folder, as a run writes to RUN/model")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        told = f"{', '.join(missing)} missing: half copied, or no model folder"
        raise ModelFolderError(f"{folder}: {told}; copy it again, or save the model again")
    return folder


def _refuse_to_replace_other_things(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ModelFolderError(f"{folder}: is a file; give a folder")
    others = {entry.name for entry in folder.iterdir()} - set(FILES) if folder.exists() else set()
    if others:
        some = ", ".join(sorted(others)[:3])
        raise ModelFolderError(f"{folder}: holds {some}, and would be replaced whole; give a folder for the model")


def _write(folder: Path, params: Params, texts: Mapping[str, str]) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    tensor_file.write_tensors(folder / WEIGHTS, params)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
    for entry in (*folder.iterdir(), folder):
        _sync(entry)


def _swap(new: Path, folder: Path) -> None:
    """Put the complete `new` in the place of `folder`."""
    old = _sibling(folder, "old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    new.rename(folder)
    _sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _sync(entry: Path) -> None:
    descriptor = os.open(entry, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
