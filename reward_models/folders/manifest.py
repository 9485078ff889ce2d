"""manifest.json of a model folder: where the model comes from, and a sha256 of every file that the loader reads.

    {
      "trained_on": "steps of 400 expert traces", "seed": 0, "environment": "Countdown", "windows": "states", ...,
      "format": 2,
      "created_with": {"jax": "0.8.1", ...},
      "files": {"config.json": sha256, "model.safetensors": sha256, "tokenizer.json": sha256},
      "digest": sha256 of this file with 64 zeros in the place of the digest
    }

Digests are of bytes, not of values: a change of a space is found too. They find damage and edits by mistake. They are
no signature: whoever can write the folder can write its digests.
"""

import dataclasses
import hashlib
import json
import reprlib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen
from pydantic import StringConstraints

from reward_models.networks.base import TokenId
from reward_models.records import InputError, as_record, parse_json, record

FORMAT = 2
MANIFEST = "manifest.json"
_ZEROS = "0" * 64

Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Windows = Annotated[str, StringConstraints(pattern="^[a-z][a-z -]{0,39}$")]
"""What a step is judged by: "whole trace", the windows of its domain such as "states" (irl/text/windows.py), or a
reading (irl/text/readings.py), such as what it claims or whether it ends the trace."""


@record
class TextRules:
    """How the texts of a domain are read (irl/domains/files.py): names or patterns."""

    steps: Annotated[str, MinLen(1)]
    answer: Annotated[str, MinLen(1)]
    equivalence: Literal["form", "math"] = "form"
    """When two answers are equal."""


@record
class TokenRules:
    """How the tokenizer of a Hugging Face folder writes a prompt and a trace (irl/text/hugging_face.py)."""

    begin: list[TokenId]
    """Tokens in front of every text that no chat template writes."""
    end: TokenId
    pad: TokenId
    chat_template: str | None = None
    special_tokens: dict[str, str] = field(default_factory=dict)
    """The variables of the chat template: bos_token and the like."""


@record
class Provenance:
    """Where a model comes from, and what its scores are of."""

    trained_on: str | None = None
    """The training data in words, for the model card."""
    metrics: dict[str, float | None] = field(default_factory=dict)
    """Numbers of the training, without intervals."""
    seed: Annotated[int, Ge(0)] | None = None
    environment: str | None = None
    """The domain that knows where steps end and what state they are taken in."""
    text: TextRules | None = None
    """For a domain without a class of its own: where steps end, and what an answer is."""
    tokens: TokenRules | None = None
    """For a tokenizer that is not one of our own."""
    windows: Windows = "whole trace"
    base: str | None = None
    """The model whose weights are under low-rank adapters. The folder holds the adapters alone."""


@record
class Manifest(Provenance):
    """manifest.json of a folder."""

    windows: Windows = field()  # no default: a manifest without it is incomplete
    format: Literal[2]
    created_with: dict[str, str]
    """Versions of libraries."""
    files: dict[str, Sha256]
    digest: Sha256


def manifest_text(provenance: Provenance, created_with: Mapping[str, str], files: Mapping[str, str]) -> str:
    """The text of manifest.json for files with these digests."""
    facts = {f.name: getattr(provenance, f.name) for f in dataclasses.fields(provenance)}
    given = {name: _json(value) for name, value in facts.items() if value is not None and value != {}}
    ours = {"format": FORMAT, "created_with": dict(created_with), "files": dict(files), "digest": _ZEROS}
    text = json.dumps(given | ours, indent=2, allow_nan=False) + "\n"
    before, after = text.rsplit(_ZEROS, 1)
    return before + digest_of(text.encode()) + after


def _json(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value


def read_manifest(file: Path) -> Manifest:
    """A manifest.json, checked against its own digest. Raises InputError, and OSError where it cannot be read."""
    content = file.read_bytes()
    try:
        value = parse_json(content, str(file))
        _check_format(value, file)
        manifest = as_record(Manifest, value, str(file))
    except InputError as error:
        raise InputError(f"{error}; copy or save the model again") from None
    check_digest(file, digest_of(content.replace(manifest.digest.encode(), _ZEROS.encode())), manifest.digest)
    return manifest


def is_older(folder: Path) -> bool:
    """Whether a folder was saved in an earlier format: it has to be saved again."""
    try:
        value = parse_json((folder / MANIFEST).read_bytes(), MANIFEST)
    except (OSError, InputError):
        return False
    version = value.get("format") if isinstance(value, dict) else None
    return type(version) is int and version < FORMAT


def digest_of(content: bytes) -> str:
    """sha256 of bytes, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def digest_of_file(file: Path) -> str:
    """sha256 of a file, which is not held in memory."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_digest(file: Path, actual: str, expected: str) -> None:
    """InputError for a file that changed since it was saved."""
    if actual != expected:
        differs = f"sha256 {actual[:12]}, but {MANIFEST} has {expected[:12]}"
        raise InputError(f"{file}: damaged or edited since it was saved ({differs}); copy or save the model again")


def _check_format(value: Any, file: Path) -> None:
    version = value.get("format") if isinstance(value, dict) else None
    if type(version) is int and 0 < version < FORMAT:
        again = "run the same `traceward run` command again (with --overwrite to train anew), or save the model again"
        raise InputError(f"{file}: format {version} of an earlier version, this version reads {FORMAT}; {again}")
    if version != FORMAT:
        advice = "upgrade traceward, or save the model again"
        raise InputError(f"{file}: format {reprlib.repr(version)}, this version reads {FORMAT}; {advice}")
