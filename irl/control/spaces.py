"""Spaces of observations and actions: `Discrete` or `Box`, both hashable.

The bridge to Gymnasium flattens Dict and Tuple spaces to one vector (environments/gymnasium_env.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Num

from irl.types import InputError
from reward_models.types import Array


@dataclass(frozen=True)
class Discrete:
    """Integers 0 to n - 1."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def width(self) -> int:
        """Length of the one-hot encoding."""
        return self.n

    dtype = np.int32


@dataclass(frozen=True)
class Box:
    """Float arrays between `low` and `high`, each one number or one per coordinate, finite or infinite."""

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf

    @property
    def width(self) -> int:
        return math.prod(self.shape)

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low).all() and np.isfinite(self.high).all())

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """(low, high), each of the space's shape."""
        low, high = (np.asarray(edge, np.float32).reshape(-1) for edge in (self.low, self.high))
        return tuple(np.broadcast_to(e, self.width).reshape(self.shape) for e in (low, high))  # type: ignore[return-value]

    dtype = np.float32


Space = Discrete | Box


def features(space: Space, values: Num[Array, "..."]) -> Float[Array, "... width"]:
    """Values as vectors, the inputs of networks: one-hot, or flattened floats."""
    if isinstance(space, Discrete):
        return jax.nn.one_hot(values, space.n)
    lead = values.shape[: values.ndim - len(space.shape)]
    return values.reshape(*lead, space.width).astype(jnp.float32)


def box(low: np.ndarray, high: np.ndarray) -> Box:
    """The Box with these bounds. The largest float32, in Gymnasium 0.29 and gymnax, means unbounded."""
    largest = np.finfo(np.float32).max
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    low, high = np.where(low <= -largest, -np.inf, low), np.where(high >= largest, np.inf, high)
    return Box(low.shape, _edge(low), _edge(high))


def _edge(values: np.ndarray) -> float | tuple[float, ...]:
    flat = [float(v) for v in values.reshape(-1)]
    return flat[0] if flat and len(set(flat)) == 1 else tuple(flat)


def check_values(name: str, space: Space, values: np.ndarray, lead: Sequence[int]) -> None:
    """Raise InputError unless `values` are finite elements of the space, with the leading axes `lead`."""
    expected = (*lead, *space.shape)
    if values.shape != expected:
        raise InputError(f"{name}: expected shape {expected} of {space}, got {values.shape}")
    if isinstance(space, Discrete):
        if values.dtype.kind not in "iu":
            raise InputError(f"{name}: expected integers below {space.n}, got dtype {values.dtype}")
        if values.size and not (0 <= values.min() and values.max() < space.n):
            raise InputError(f"{name}: expected 0 to {space.n - 1}, got {values.min()} to {values.max()}")
        return
    if values.dtype.kind != "f":
        raise InputError(f"{name}: expected floats, got dtype {values.dtype}")
    bad = ~np.isfinite(values.reshape(values.shape[0], -1)).all(axis=1) if values.size else np.zeros(0, bool)
    if bad.any():
        raise InputError(f"{name}[{int(np.argmax(bad))}]: NaN or infinite, as {int(bad.sum())} of {len(bad)} rows are")


def random_values(space: Space, key: jax.Array, count: int) -> Num[Array, "count ..."]:
    """Uniformly random elements; of a box without finite bounds, standard normal ones."""
    if isinstance(space, Discrete):
        return jax.random.randint(key, (count,), 0, space.n, jnp.int32)
    if space.bounded:
        low, high = space.bounds()
        return jax.random.uniform(key, (count, *space.shape), jnp.float32, low, high)
    return jax.random.normal(key, (count, *space.shape), jnp.float32)
