"""Matrix products that accumulate in float32.

Matrix units multiply bfloat16 factors and accumulate in float32. On a CPU with AVX512-BF16 such a product takes half
the time of a float32 product; a bfloat16 product that also accumulates in bfloat16 saves no time (LOG.md).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def matmul(a: Float[Array, "*batch rows inner"], b: Any) -> Float[Array, "*batch rows columns"]:
    """a b, accumulated in float32.

    Args:
        a: The left factor.
        b: The right factor with the same leading dimensions, or an object that defines `__rmatmul__`.

    Returns:
        The product, in float32 where both factors are bfloat16. Gradients have the types of the factors.
    """
    return _narrow(-2, a, b) if _are_narrow(a, b) else a @ b


def matmul_transposed(
    a: Float[Array, "*batch rows inner"], b: Float[Array, "*batch columns inner"]
) -> Float[Array, "*batch rows columns"]:
    """a b^T, accumulated and returned as by `matmul`."""
    return _narrow(-1, a, b) if _are_narrow(a, b) else a @ b.mT


def _are_narrow(a: Any, b: Any) -> bool:
    return a.dtype == getattr(b, "dtype", None) == jnp.bfloat16


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow(axis, a, b):
    """Sums over the last axis of `a` and `axis` of `b`."""
    return _contract(a, b, (-1, axis))


def _forward(axis, a, b):
    return _narrow(axis, a, b), (a, b)


def _backward(axis, factors, grad):
    a, b = factors
    grad = grad.astype(a.dtype)  # keeps the factors of the two products below narrow
    of_b = (a, grad) if axis == -2 else (grad, a)
    return _contract(grad, b, (-1, -3 - axis)).astype(a.dtype), _contract(*of_b, (-2, -2)).astype(b.dtype)


def _contract(a, b, axes: tuple[int, int]):
    """Contract one of the last two axes of each factor; a transpose instead makes XLA convert the factor to float32."""
    leading = tuple(range(a.ndim - 2))
    contracted = ((axes[0] % a.ndim,), (axes[1] % b.ndim,))
    return jax.lax.dot_general(a, b, (contracted, (leading, leading)), preferred_element_type=jnp.float32)


_narrow.defvjp(_forward, _backward)
