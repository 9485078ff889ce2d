"""Scored lines that an interrupted run left, and the lines of the present run, by the content of their rows.

    OUTPUT.part           lines of the present run in the order of its input; it becomes OUTPUT
    OUTPUT.part.json      JSON lines: what the scores depend on besides the rows, then a record per block of lines;
                          stays beside OUTPUT where rows have no score, so that only mended rows are scored later
    OUTPUT.part.old, ...  the same two files for the lines of all interrupted runs

A record holds the place and the digest of a block and a key per row: a digest of the prompt, its turns and the answer.
A row with the same key has the same score, whatever its place and its id. A block whose digest does not match is
scored again. Both files only grow, so a run may be stopped at any moment. In memory a row takes 16 bytes.
"""

import functools
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from annotated_types import Ge

from irl.data.json_lines import Row, json_line
from irl.rewards.questions import Question
from irl.types import InputError
from reward_models.records import as_record, parse_json, record

ADVICE = "give --overwrite to start anew, or delete it, or take another --output"
NO_KEY = 0
"""The key of a row without a score: it is always tried again."""


def row_keys(questions: Sequence[Question]) -> np.ndarray:
    """uint64[answers]: what the score of each answer depends on, the model aside."""
    keys = []
    for question in questions:
        turns = [(message.role, message.content) for message in question.messages]
        prompt = hashlib.blake2b(json.dumps([question.prompt, turns]).encode(), digest_size=8)
        for answer in question.answers:
            digest = prompt.copy()
            digest.update(json.dumps([answer.text, answer.parts]).encode())
            keys.append(digest.digest())
    return np.maximum(np.frombuffer(b"".join(keys), "<u8"), NO_KEY + 1)


@record
class _Block:
    """A line of a note."""

    start: Annotated[int, Ge(0)]
    size: Annotated[int, Ge(0)]
    sha256: str
    keys: str
    """16 hexadecimal digits per line of the block."""


class ScoredLines:
    """A file of scored lines and its note, each of which may be missing, cut off or damaged."""

    def __init__(self, path: Path, note: Path | None = None):
        self.path, self.note = path, note or path.with_name(f"{path.name}.json")

    def check(self, identity: Row) -> None:
        """InputError where the lines were scored in another way."""
        if not self.path.exists():
            return
        found = self._identity()
        if not found:
            raise InputError(f"{self.path}: {self.note.name} does not tell what it belongs to; {ADVICE}")
        other = [name for name, value in identity.items() if found.get(name) != value]
        if other:
            raise InputError(f"{self.path}: was begun with another {' and '.join(other)}; {ADVICE}")

    def belongs_to(self, identity: Row) -> bool:
        """Whether there are lines, scored in this way."""
        return self.path.exists() and self._identity() == json.loads(json_line(identity))

    def _identity(self) -> Row:
        """What the note says that the scores depend on; empty where it does not."""
        try:
            with open(self.note, "rb") as note:
                found = parse_json(note.readline(), str(self.note))
        except (FileNotFoundError, InputError):
            return {}
        return found if isinstance(found, dict) else {}

    def append(self, identity: Row, keys: np.ndarray, lines: bytes) -> None:
        """Add a block; `identity` is written with the first one."""
        if not self.path.exists():
            self.note.write_bytes(json_line(identity))
        with open(self.path, "ab") as file:
            start = file.tell()
            file.write(lines)
        digits = keys.astype(">u8").tobytes().hex()
        block = {"start": start, "size": len(lines), "sha256": hashlib.sha256(lines).hexdigest(), "keys": digits}
        with open(self.note, "ab") as note:
            note.write(json_line(block))

    def blocks(self) -> Iterator[tuple[int, np.ndarray, bytes]]:
        """Place, keys and lines of every intact block."""
        if not self.path.exists():
            return
        size = self.path.stat().st_size
        with open(self.path, "rb") as file, open(self.note, "rb") as note:
            note.readline()
            for line in note:
                block, keys = _block(line)
                if block is None or block.start + block.size > size:
                    continue
                file.seek(block.start)
                lines = file.read(block.size)
                if hashlib.sha256(lines).hexdigest() == block.sha256 and lines.count(b"\n") == len(keys):
                    yield block.start, keys, lines

    def finish(self, target: Path, *, keep_note: bool) -> None:
        """Give the lines the name of the output; the note goes, unless it is wanted for rows that are mended later."""
        with open(self.path, "ab") as file:
            os.fsync(file.fileno())
        os.replace(self.path, target)
        if not keep_note:
            self.note.unlink(missing_ok=True)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


def _block(line: bytes) -> tuple[_Block | None, np.ndarray]:
    """A line of a note and its keys; None for a damaged one."""
    try:
        block = as_record(_Block, parse_json(line, "note"), "note")
        return block, np.frombuffer(bytes.fromhex(block.keys), ">u8").astype(np.uint64)
    except (InputError, ValueError):
        return None, np.zeros(0, np.uint64)


class Kept:
    """The lines of interrupted runs."""

    def __init__(self, lines: ScoredLines):
        self._path = lines.path
        keys, places = [np.zeros(0, np.uint64)], []
        for start, block, data in lines.blocks():
            keys.append(block)
            places.append((start, len(data), len(block)))
        together = np.concatenate(keys)
        self._order = np.argsort(together, kind="stable")
        self._keys = together[self._order]
        self._places = np.array(places, np.int64).reshape(-1, 3)
        self._first = np.concatenate([[0], np.cumsum(self._places[:, 2])])
        self._block = functools.lru_cache(maxsize=8)(self._read)

    def __len__(self) -> int:
        return int((self._keys != NO_KEY).sum())

    def has(self, keys: np.ndarray) -> np.ndarray:
        """Bool[rows]: which rows have a line."""
        return self._find(keys)[1]

    def lines(self, keys: np.ndarray) -> list[bytes | None]:
        """The line of every row, None where there is none."""
        rows, known = self._find(keys)
        blocks = np.searchsorted(self._first, rows, side="right") - 1
        return [
            self._block(int(block))[row - self._first[block]] if there else None
            for row, block, there in zip(rows, blocks, known, strict=True)
        ]

    def _find(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self._keys.size:
            return np.zeros(len(keys), int), np.zeros(len(keys), bool)
        place = np.minimum(np.searchsorted(self._keys, keys), self._keys.size - 1)
        return self._order[place], self._keys[place] == keys

    def _read(self, block: int) -> list[bytes]:
        start, size, _ = self._places[block]
        with open(self._path, "rb") as file:
            file.seek(start)
            return file.read(size).splitlines(keepends=True)


def resume(part: ScoredLines, old: ScoredLines, output: Path, identity: Row) -> Kept:
    """Copy to `old` what `part` holds, or a finished output in its place, and open it; `part` is removed."""
    for lines in (part, old):
        lines.check(identity)
    known, finished = Kept(old), ScoredLines(output, part.note)
    source = finished if not part.path.exists() and finished.belongs_to(identity) else part
    for _, keys, data in source.blocks():
        if not known.has(keys[keys != NO_KEY]).all():
            old.append(identity, keys, data)
    part.remove()
    return Kept(old)


def renamed(line: bytes, id: str, name: int | str) -> bytes:
    """A line with the id and the candidate of its row."""
    if line.startswith(json_line({"id": id, "candidate": name})[:-2] + b", "):
        return line
    return json_line(json.loads(line) | {"id": id, "candidate": name})
