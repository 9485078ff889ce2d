"""Nested dicts of arrays <-> safetensors. Every ValueError names the tensor; the caller knows the file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from reward_models.networks.base import Params


def write_tensors(file: Path, params: Params) -> None:
    """Write nested dicts of arrays; a/b/c becomes tensor `a.b.c`. ValueError for what cannot come back."""
    tensors = {name: _writable(leaf, name) for name, leaf in flatten(params).items()}
    try:
        safetensors.numpy.save_file(tensors, file, metadata={"format": "flax"})
    except safetensors.SafetensorError as error:
        raise OSError(str(error)) from error


def read_tensors(file: Path) -> Params:
    """What `write_tensors` was given. ValueError when the file is damaged or a value not finite."""
    try:
        tensors = safetensors.numpy.load_file(file)
    except (safetensors.SafetensorError, AttributeError) as error:  # AttributeError: numpy has no such dtype
        raise ValueError(f"truncated or damaged ({error}); copy or save the model again") from error
    return _unflatten({name: _finite(tensor, name) for name, tensor in tensors.items()})


def check_params(params: Params, expected: Params) -> None:
    """ValueError at the first tensor that is not as in `expected` (arrays or shapes): name, shape, dtype."""
    have, want = flatten(params), flatten(expected)
    for name in sorted(have.keys() | want.keys()):
        if name not in have:
            raise ValueError(f"tensor {name!r} is missing; the file is of another network config")
        if name not in want:
            raise ValueError(f"tensor {name!r} is none of this network's; the file is of another network config")
        found, needed = (f"{jnp.dtype(x.dtype).name}{list(x.shape)}" for x in (have[name], want[name]))
        if found != needed:
            raise ValueError(f"tensor {name!r}: expected {needed}, found {found}; use the config of its training")


def flatten(tree: Params, prefix: str = "") -> dict[str, Any]:
    """Nested dict -> {"a.b.c": leaf}. Integer keys (lists of modules) become digits and come back as such."""
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    if not tree:
        raise ValueError(f"nothing under {prefix or 'the root'!r}; leave the empty dict out")
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        index = isinstance(key, int) and key >= 0
        if not index and not (isinstance(key, str) and key and "." not in key and not key.isdigit()):
            raise ValueError(f"key {key!r} under {prefix!r}: expected a name without dots, or an index")
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _unflatten(tensors: Mapping[str, np.ndarray]) -> Params:
    tree: dict[str | int, Any] = {}
    for name, tensor in tensors.items():
        *parents, last = (int(part) if part.isdigit() else part for part in name.split("."))
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
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
