"""The portable folder of a reward model: weights, config, tokenizer and where it comes from.

    model.safetensors   weights; the nested dict a/b/c is the tensor `a.b.c`, an index is a number
    config.json         {"network": {"class": name, fields...}, "spec": {"kind", "aggregate", "information"}}
    tokenizer.json      text given by the caller and handed back unread
    manifest.json       where the model comes from, and a sha256 of each of these files and of itself (manifest.py)
    model_card.md       for people; it is not read, has no digest, and may be edited or written again

Every load checks every digest, so no damaged or edited file is read. No pickle and no code: class names are looked up
in a mapping that the *reader* gives, by default among the registered records. A folder appears under its name only when
complete; the one it replaces stays beside it (`.NAME.old`) until then, and is read when a kill fell between the two
renames. Of several processes let one save, with the weights gathered on its host.
"""

import json
import os
import reprlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors

from reward_models import config_json
from reward_models.folders import tensor_file
from reward_models.folders.manifest import (
    MANIFEST,
    Manifest,
    Provenance,
    check_digest,
    digest_of,
    digest_of_file,
    manifest_text,
    read_manifest,
)
from reward_models.frozen import without_frozen
from reward_models.networks.base import Params
from reward_models.records import InputError, as_record, parse_json, record
from reward_models.registry import REGISTERED, import_all
from reward_models.types import Aggregate, Information, Kind, ScoreSpec

WEIGHTS, CONFIG, TOKENIZER = CONTENTS = ("model.safetensors", "config.json", "tokenizer.json")
CARD = "model_card.md"
"""Not read here; it speaks of the weights beside it, so saving others drops it."""
FILES = (*CONTENTS, MANIFEST)


class ModelFolderError(InputError, ValueError):
    """A model folder cannot be written or read; the message names file, tensor or field, and what to do."""


@record
class SavedSpec:
    """A ScoreSpec in config.json."""

    kind: Kind
    aggregate: Aggregate
    information: Information


@record
class FolderConfig:
    """config.json."""

    network: dict[str, Any]
    """Class and fields, for `config_json.decode`."""
    spec: SavedSpec


class ModelFolder(NamedTuple):
    """What a folder holds. `network` is the frozen config that was saved; `network.make()` builds it."""

    params: Params
    network: Any
    spec: ScoreSpec
    tokenizer_json: str
    manifest: Manifest


def encoding_of(tokenizer_json: str) -> str:
    """The name of an encoding: sha256 of the tokenizer's JSON. A model reads only the one of its training."""
    return digest_of(tokenizer_json.encode())


def save_folder(
    path: str | os.PathLike[str],
    *,
    params: Params,
    network: Any,
    spec: ScoreSpec,
    tokenizer_json: str,
    manifest: Provenance,
) -> None:
    """Write a model folder; an earlier one at `path` is replaced once the new one is complete and on disk.

    The frozen part of `params` is not written. `network` is a record of numbers, texts, tuples and further records.
    Raises ModelFolderError for weights not finite, for values that cannot come back, and for a `path` that holds
    anything but a model.
    """
    folder = Path(path).resolve()
    _refuse_to_replace_other_things(folder)
    with _about(f"{folder}: not saved"):
        as_record(SavedSpec, spec._asdict(), f"{folder}: not saved: spec")
        saved = config_json.encode(network, f"{folder}: not saved: network")
        config = {"network": saved, "spec": spec._asdict()}
        texts = {CONFIG: json.dumps(config, indent=2, allow_nan=False) + "\n", TOKENIZER: tokenizer_json}
        new = _sibling(folder, "new")
        try:
            _write(new, without_frozen(params), texts, manifest)
            _swap(new, folder)
        finally:
            shutil.rmtree(new, ignore_errors=True)


def load_folder(
    path: str | os.PathLike[str],
    *,
    classes: Mapping[str, type] = REGISTERED,
    expect_encoding: str | None = None,
    expected: Params | None = None,
) -> ModelFolder:
    """Read a model folder.

    `classes` maps the class names that may stand in config.json to records; a class of your own is registered once
    its module is imported. `expect_encoding` is the `encoding_of` the
    tokenizer in use. `expected`, arrays or shapes, tells what the weights must be: names, shapes and dtypes. Raises
    ModelFolderError, also for a file whose digest is not that of the manifest.
    """
    folder = _complete(Path(path).resolve())
    manifest, config = read_config(folder)
    with _about(folder / TOKENIZER):
        tokenizer_json = _verified(folder, TOKENIZER, manifest).decode("utf-8")
        _check_encoding(encoding_of(tokenizer_json), expect_encoding)
    with _about(folder / CONFIG):
        network = _network(config, classes, f"{folder / CONFIG}: network")
    with _about(folder / WEIGHTS):
        check_digest(folder / WEIGHTS, digest_of_file(folder / WEIGHTS), manifest.files[WEIGHTS])
        params = tensor_file.read_tensors(folder / WEIGHTS)
        if expected is not None:
            tensor_file.check_params(params, expected)
    spec = ScoreSpec(config.spec.kind, config.spec.aggregate, config.spec.information)
    return ModelFolder(params, network, spec, tokenizer_json, manifest)


def _network(config: FolderConfig, classes: Mapping[str, type], where: str) -> Any:
    if classes is REGISTERED:
        import_all("reward_models.networks")
    try:
        return config_json.decode(config.network, classes, where)
    except config_json.UnknownClass as error:
        advice = f"import the module that defines {error.name}, then read the folder with load_folder"
        raise InputError(f"{error}; {advice}") from None


def read_config(folder: Path) -> tuple[Manifest, FolderConfig]:
    """Manifest and config of a folder without its weights, with their digests checked. Raises ModelFolderError."""
    with _about(folder / MANIFEST):
        manifest = read_manifest(folder / MANIFEST)
        if sorted(manifest.files) != sorted(CONTENTS):
            names = ", ".join(CONTENTS)
            raise ValueError(f"files: expected the digests of {names}, got {reprlib.repr(sorted(manifest.files))}")
    with _about(folder / CONFIG):
        content = _verified(folder, CONFIG, manifest)
        return manifest, as_record(FolderConfig, parse_json(content, str(folder / CONFIG)), str(folder / CONFIG))


def _verified(folder: Path, name: str, manifest: Manifest) -> bytes:
    """The bytes of a file that has the digest in the manifest."""
    content = (folder / name).read_bytes()
    check_digest(folder / name, digest_of(content), manifest.files[name])
    return content


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Where to create a folder in a foreign format; it becomes `folder` at the end, or is removed after an error.

    Raises:
        ModelFolderError: `folder` exists, its content cannot be written in this format, or the disk refuses it.
    """
    if folder.exists():
        raise ModelFolderError(f"{folder}: exists; give a new folder")
    new = folder.with_name(f".{folder.name}.new")
    try:
        shutil.rmtree(new, ignore_errors=True)
        yield new
        new.rename(folder)
    except (InputError, ValueError, OSError) as error:
        raise ModelFolderError(f"{folder}: not saved: {error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


@contextmanager
def folder_errors() -> Iterator[None]:
    """InputErrors as ModelFolderErrors, with the same message."""
    try:
        yield
    except ModelFolderError:
        raise
    except InputError as error:
        raise ModelFolderError(str(error)) from error


@contextmanager
def _about(what: Path | str) -> Iterator[None]:
    """Errors as ModelFolderError: those of values and of the disk get the name of the file, InputErrors have it."""
    try:
        with folder_errors():
            yield
    except ModelFolderError:
        raise
    except OSError as error:
        raise ModelFolderError(f"{what}: {error.strerror or error}; check the path and its permissions") from error
    except ValueError as error:
        raise ModelFolderError(f"{what}: {error}") from error


def _check_encoding(actual: str, expect: str | None) -> None:
    if expect is not None and expect != actual:
        advice = "encode with this tokenizer.json, or take a model of your encoding"
        raise ValueError(f"a folder of another encoding: {actual[:12]}, expected {expect[:12]}; {advice}")


def _sibling(folder: Path, what: str) -> Path:
    return folder.with_name(f".{folder.name}.{what}")


def _complete(folder: Path) -> Path:
    """The folder to read: `folder`, or the one it replaces if a kill fell between the renames of `_swap`."""
    if not os.path.exists(folder) and os.path.isdir(old := _sibling(folder, "old")):
        folder = old
    if not os.path.isdir(folder):
        raise ModelFolderError(f"{folder}: no such folder; expected a model folder, as a run writes to RUN/model")
    missing = [name for name in FILES if not (folder / name).is_file()]
    if missing:
        names = ", ".join(missing)
        raise ModelFolderError(f"{folder}: {names} missing: half copied, or no model folder; copy or save it again")
    return folder


def _refuse_to_replace_other_things(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise ModelFolderError(f"{folder}: is a file; give a folder")
    others = {entry.name for entry in folder.iterdir()} - {*FILES, CARD} if folder.exists() else set()
    if others:
        some = ", ".join(sorted(others)[:3])
        raise ModelFolderError(f"{folder}: holds {some}, and would be replaced whole; give a folder for the model")


def _write(folder: Path, params: Params, texts: Mapping[str, str], provenance: Provenance) -> None:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    tensor_file.write_tensors(folder / WEIGHTS, params)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8", newline="")
    versions = {module.__name__: module.__version__ for module in (jax, np, safetensors)}
    manifest = manifest_text(provenance, versions, {name: digest_of_file(folder / name) for name in CONTENTS})
    (folder / MANIFEST).write_text(manifest, encoding="utf-8", newline="")
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
