"""What observations and actions look like: `Discrete` or `Box`, hashable, as arrays of one shape.

Dict and tuple spaces are flattened to one vector where an environment is bridged (gymnasium.spaces.flatten), so that
nothing behind the bridge knows of them.
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
        """Numbers in its encoding: one-hot."""
        return self.n

    dtype = np.int32


@dataclass(frozen=True)
class Box:
    """Float arrays; `low` and `high` are one number each, or one per coordinate, and may be infinite."""

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
    """Values as vectors that a network can read: one-hot, or flattened floats."""
    if isinstance(space, Discrete):
        return jax.nn.one_hot(values, space.n)
    lead = values.shape[: values.ndim - len(space.shape)]
    return values.reshape(*lead, space.width).astype(jnp.float32)


def box(low: np.ndarray, high: np.ndarray) -> Box:
    """A Box of arrays of bounds."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    return Box(low.shape, _edge(low), _edge(high))


def _edge(values: np.ndarray) -> float | tuple[float, ...]:
    flat = [float(v) for v in values.reshape(-1)]
    return flat[0] if flat and len(set(flat)) == 1 else tuple(flat)


def check_values(name: str, space: Space, values: np.ndarray, lead: Sequence[int]) -> None:
    """InputError: values are not `lead` many of the space, of its kind, finite and inside."""
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
