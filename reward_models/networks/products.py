"""Matrix products whose sums are kept in float32, whatever the type of the factors.

Products of bfloat16 factors with float32 sums are what matrix units compute. On a CPU with AVX512-BF16 they take half
the time of float32 products; a product with bfloat16 sums takes as long as those (LOG.md).
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def matmul(a: Float[Array, "*batch rows inner"], b: Any) -> Float[Array, "*batch rows columns"]:
    """a b; in float32 where both are bfloat16, and their gradients are bfloat16.

    Args:
        a: The left factor.
        b: The right factor with the same leading dimensions, or an object that multiplies with arrays from the right.

    Returns:
        The product in the type of its sums.
    """
    return _narrow(-2, a, b) if _are_narrow(a, b) else a @ b


def matmul_transposed(
    a: Float[Array, "*batch rows inner"], b: Float[Array, "*batch columns inner"]
) -> Float[Array, "*batch rows columns"]:
    """a b^T, in the types of `matmul`."""
    return _narrow(-1, a, b) if _are_narrow(a, b) else a @ b.mT


def _are_narrow(a: Any, b: Any) -> bool:
    return isinstance(b, jax.Array) and a.dtype == b.dtype == jnp.bfloat16


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _narrow(axis, a, b):
    """Sums over the last axis of `a` and `axis` of `b`."""
    return _contract(a, b, (-1, axis))


def _forward(axis, a, b):
    return _narrow(axis, a, b), (a, b)


def _backward(axis, factors, grad):
    a, b = factors
    grad = grad.astype(a.dtype)  # or the products below would have float32 factors
    of_b = (a, grad) if axis == -2 else (grad, a)
    return _contract(grad, b, (-1, -3 - axis)).astype(a.dtype), _contract(*of_b, (-2, -2)).astype(b.dtype)


def _contract(a, b, axes: tuple[int, int]):
    """Sums over one of the two last axes of each side, in float32. XLA widens factors that come from a transpose."""
    leading = tuple(range(a.ndim - 2))
    contracted = ((axes[0] % a.ndim,), (axes[1] % b.ndim,))
    return jax.lax.dot_general(a, b, (contracted, (leading, leading)), preferred_element_type=jnp.float32)


_narrow.defvjp(_forward, _backward)
