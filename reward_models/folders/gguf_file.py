"""The content of a GGUF file: metadata by key and tensors by name. Every read is checked against the end of the file.

The layout, little-endian: "GGUF", version, number of tensors, number of metadata; the metadata (key, type, value);
name, dimensions (fastest first), type and offset of every tensor; the data of the tensors, aligned. The package `gguf`
defines the quantised types and dequantises them; tensors are mapped into memory and dequantised one at a time.
"""

import math
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from reward_models.folders.hugging_face_tensors import finite
from reward_models.folders.native import ModelFolderError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
AT_ONCE = 2**20
"""Values that are dequantised in one step, which bounds the memory beside the tensor."""
_SCALARS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "u1 i1 u2 i2 u4 i4 f4 b1 u8 i8 f8".split(), strict=True))
_STRING, _ARRAY = 8, 9
_AGAIN = "download the file again"


class GgufTensor(NamedTuple):
    """A tensor of a file, still quantised."""

    file: Path
    name: str
    kind: Any
    """The gguf.GGMLQuantizationType."""
    shape: tuple[int, ...]
    """Slowest dimension first, as in safetensors."""
    data: np.ndarray
    """Bytes, [rows, bytes of a row]."""
    heads: int = 0
    """Number of attention heads whose rows alternate between the halves of a head; 0: rows are in order.

    llama.cpp stores queries and keys of the architecture `llama` so, for rotary embeddings of neighbouring pairs.
    """

    def check(self, shape: tuple[int, ...], by: str = "by the metadata") -> None:
        """ModelFolderError for another shape."""
        if self.shape != shape:
            where = f"{self.file}: tensor {self.name!r}"
            raise ModelFolderError(f"{where}: expected {list(shape)} {by}, got {list(self.shape)}; {_AGAIN}")

    def read(self) -> np.ndarray:
        """Its values in float32, all finite, with the rows of queries and keys in order."""
        dequantize, rows = package().quants.dequantize, len(self.data)
        values = np.empty((rows, self.shape[-1]), np.float32)
        step = max(1, AT_ONCE // self.shape[-1])
        with np.errstate(all="ignore"):
            for start in range(0, rows, step):
                values[start : start + step] = dequantize(self.data[start : start + step], self.kind)
        values = values.reshape(self.shape)
        finite(values, f"{self.file}: tensor {self.name!r}")
        if not self.heads:
            return values
        return values.reshape(self.heads, -1, 2, *self.shape[1:]).swapaxes(1, 2).reshape(self.shape)


class GgufFile(NamedTuple):
    """What a file holds."""

    path: Path
    metadata: Mapping[str, Any]
    """Numbers, texts, and arrays of them: numpy arrays of numbers, lists of texts."""
    tensors: Mapping[str, GgufTensor]

    def get(self, key: str, kind: Any, default: Any = None) -> Any:
        """A value of the metadata. ModelFolderError for one of another type; and for none without a default."""
        value = self.metadata.get(key, default)
        if value is None:
            raise ModelFolderError(f"{self.path}: {key}: missing in the metadata; convert the model to GGUF again")
        if isinstance(value, np.ndarray) and kind is list:
            return value.tolist()
        if type(value) is not kind and not (kind is float and type(value) is int):
            got = f"expected {kind.__name__}, got {type(value).__name__}"
            raise ModelFolderError(f"{self.path}: {key}: {got}; convert the model to GGUF again")
        return kind(value)


def package() -> Any:
    """The package `gguf`. ModelFolderError where it is not installed."""
    try:
        import gguf
        import gguf.quants
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise ModelFolderError("GGUF files need the package gguf: pip install 'traceward[gguf]'") from None
    return gguf


def read_gguf(path: str | os.PathLike[str]) -> GgufFile:
    """Metadata and tensors of a file, whose data are not read yet. Raises ModelFolderError."""
    file = Path(path)
    package()
    try:
        with open(file, "rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                expected = "a model folder or a GGUF file, which begins with 'GGUF'"
                raise ModelFolderError(f"{file}: expected {expected}; check the path")
            content = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ModelFolderError(f"{file}: cannot be read ({error.strerror}); check its permissions") from error
    cursor = _Cursor(file, content)
    version = cursor.number("u4")
    if version not in VERSIONS:
        known = " and ".join(map(str, VERSIONS))
        raise ModelFolderError(f"{file}: version {version} of GGUF is not read, only {known} (little-endian)")
    tensors, pairs = cursor.number("u8"), cursor.number("u8")
    metadata: dict[str, Any] = {}
    for _ in range(pairs):
        key = cursor.text()
        if key in metadata:
            raise ModelFolderError(f"{file}: {key}: occurs twice in the metadata; convert the model to GGUF again")
        metadata[key] = cursor.value(cursor.number("u4"), key)
    headers = [cursor.header() for _ in range(tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise ModelFolderError(f"{file}: general.alignment: expected a power of two, got {alignment!r}")
    start = -(-cursor.at // alignment) * alignment
    return GgufFile(file, metadata, _tensors(file, content, headers, start))


class _Header(NamedTuple):
    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


class _Cursor:
    """A position in the file."""

    def __init__(self, file: Path, content: mmap.mmap) -> None:
        self.file, self._content, self.at = file, content, len(MAGIC)

    def take(self, size: int) -> bytes:
        """The next bytes."""
        end = self.at + size
        if end > len(self._content):
            where = f"the header needs byte {end}, the file has {len(self._content)}"
            raise ModelFolderError(f"{self.file}: truncated or damaged ({where}); {_AGAIN}")
        taken, self.at = self._content[self.at : end], end
        return taken

    def numbers(self, kind: str, count: int) -> np.ndarray:
        return np.frombuffer(self.take(count * int(kind[1])), f"<{kind}")

    def number(self, kind: str) -> Any:
        return self.numbers(kind, 1)[0].item()

    def text(self) -> str:
        start = self.at
        try:
            return self.take(int.from_bytes(self.take(8), "little")).decode("utf-8")
        except UnicodeDecodeError:
            raise ModelFolderError(f"{self.file}: the text at byte {start} is not UTF-8; {_AGAIN}") from None

    def value(self, kind: int, key: str) -> Any:
        """A value of the metadata. An array holds numbers or texts; arrays of arrays occur in no model."""
        if kind == _STRING:
            return self.text()
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _ARRAY:
            inner, count = self.number("u4"), self.number("u8")
            if inner in _SCALARS:
                return self.numbers(_SCALARS[inner], count)
            if inner == _STRING:
                return [self.text() for _ in range(count)]
        raise ModelFolderError(f"{self.file}: {key}: a value of an unknown type ({kind}); {_AGAIN}")

    def header(self) -> _Header:
        """Name, shape, type and offset of a tensor."""
        name = self.text()
        shape = tuple(self.numbers("u8", self.number("u4")).tolist()[::-1])
        return _Header(name, shape, self.number("u4"), self.number("u8"))


def _tensors(file: Path, content: mmap.mmap, headers: list[_Header], start: int) -> dict[str, GgufTensor]:
    """The tensors by name. Raises ModelFolderError for types that are not dequantised and for data beyond the end."""
    tensors: dict[str, GgufTensor] = {}
    sizes: dict[int, tuple[Any, int, int]] = {}
    for name, shape, number, offset in headers:
        where = f"{file}: tensor {name!r}"
        if name in tensors:
            raise ModelFolderError(f"{where} occurs twice; convert the model to GGUF again")
        if number not in sizes:
            sizes[number] = _quantisation(number, where)
        kind, block, size = sizes[number]
        if not shape or shape[-1] % block or not all(shape):
            raise ModelFolderError(f"{where}: shape {list(shape)} is none of {kind.name}; {_AGAIN}")
        rows, row, first = math.prod(shape[:-1]), shape[-1] // block * size, start + offset
        if first + rows * row > len(content):
            ends = f"it ends at byte {first + rows * row}, the file has {len(content)}"
            raise ModelFolderError(f"{where}: truncated ({ends}); {_AGAIN}")
        data = np.frombuffer(content, np.uint8, rows * row, first).reshape(rows, row)
        tensors[name] = GgufTensor(file, name, kind, shape, data)
    return tensors


def _quantisation(number: int, where: str) -> tuple[Any, int, int]:
    """A type with the values and the bytes of its blocks."""
    gguf = package()
    try:
        kind = gguf.GGMLQuantizationType(number)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        with np.errstate(all="ignore"):
            gguf.quants.dequantize(np.zeros((1, size), np.uint8), kind)
    except (ValueError, KeyError, NotImplementedError):
        name = kind.name if number in list(gguf.GGMLQuantizationType) else f"type {number}"
        advice = "take a file in Q8_0, Q4_K_M or another common type, or upgrade gguf"
        raise ModelFolderError(f"{where}: the quantisation {name} is not supported by gguf; {advice}") from None
    return kind, block, size
