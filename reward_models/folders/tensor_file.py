"""Nested dicts of arrays <-> safetensors. Every ValueError names the tensor; the caller knows the file."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from reward_models.networks.base import Params, flatten

READABLE = ("F32", "BF16", "F16", "I32", "I16", "I8", "U32", "U16", "U8", "BOOL")
"""Types that jax keeps as they are; 64-bit numbers and types that numpy lacks, such as F8_E4M3, are refused."""


def write_tensors(file: Path, params: Params) -> None:
    """Write nested dicts of arrays; a/b/c becomes tensor `a.b.c`. ValueError for what cannot come back."""
    tensors = {name: _writable(leaf, name) for name, leaf in flatten(params).items()}
    save_arrays(file, tensors, {"format": "flax"})


def save_arrays(file: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file with the permissions that any new file gets here. Raises OSError.

    safetensors itself writes a file that only its owner can read.
    """
    file.touch()
    mode = stat.S_IMODE(file.stat().st_mode)
    try:
        safetensors.numpy.save_file(dict(tensors), file, metadata=None if metadata is None else dict(metadata))
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error
    os.chmod(file, mode)


def read_tensors(file: Path) -> Params:
    """What `write_tensors` was given. ValueError when the file is damaged or a value not finite."""
    try:
        with safetensors.safe_open(file, framework="numpy") as tensors:
            kinds = {name: tensors.get_slice(name).get_dtype() for name in tensors.keys()}
            for name, kind in sorted(kinds.items()):
                if kind not in READABLE:
                    known = ", ".join(READABLE)
                    raise ValueError(f"tensor {name!r}: {kind} is not read, only {known}; save the model again")
            return _unflatten({name: _finite(tensors.get_tensor(name), name) for name in sorted(kinds)})
    except safetensors.SafetensorError as error:
        raise ValueError(f"truncated or damaged ({error}); copy or save the model again") from error


def check_params(params: Params, expected: Params) -> None:
    """ValueError at the first tensor that is not as in `expected` (arrays or shapes): name, shape, dtype."""
    have, want = flatten(params), flatten(expected)
    for name in sorted(have.keys() | want.keys()):
        if name not in have:
            raise ValueError(f"tensor {name!r} is missing; the file is of another network config")
        if name not in want:
            raise ValueError(f"tensor {name!r} is none of this network's; the file is of another network config")
        present, needed = (f"{jnp.dtype(x.dtype).name}{list(x.shape)}" for x in (have[name], want[name]))
        if present != needed:
            raise ValueError(f"tensor {name!r}: expected {needed}, found {present}; use the config of its training")


def _unflatten(tensors: Mapping[str, np.ndarray]) -> Params:
    tree: dict[str | int, Any] = {}
    for name, tensor in tensors.items():
        *parents, last = (int(part) if part.isascii() and part.isdigit() else part for part in name.split("."))
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"tensor {name!r}: a tensor of the file has the name of its part; save it again")
        if last in node:
            raise ValueError(f"tensor {name!r}: another tensor of the file has this name too; save the model again")
        node[last] = jnp.asarray(tensor)
    return tree


def _writable(leaf: Any, name: str) -> np.ndarray:
    """A finite array in row-major order: safetensors writes the buffer as it lies, whatever its strides."""
    if not name or not isinstance(leaf, jax.Array | np.ndarray):
        raise ValueError(f"tensor {name!r}: expected nested dicts of arrays, got {type(leaf).__name__}")
    array = np.asarray(leaf, order="C")
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise ValueError(f"tensor {name!r}: {array.dtype} would not come back as such; convert it to 32 bits")
    return _finite(array, name)


def _finite(array: np.ndarray, name: str) -> np.ndarray:
    bad = int((~np.isfinite(array)).sum()) if jnp.issubdtype(array.dtype, jnp.inexact) else 0
    if bad:
        advice = "training diverged: take an earlier checkpoint, or train with a lower learning rate"
        raise ValueError(f"tensor {name!r}: {bad} of {array.size} values are NaN or infinite; {advice}")
    return array
