"""Multi-layer perceptrons, and the action distributions that they parametrise, as pure functions."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from irl.control.spaces import Discrete, Space
from reward_models.types import Array

Params = Any


class Perceptron(NamedTuple):
    """(init, apply) of a multi-layer perceptron; params are a list of {"w", "b"}."""

    init: Callable[[jax.Array], Params]
    apply: Callable[[Params, Float[Array, "batch in"]], Float[Array, "batch out"]]


def perceptron(
    widths: Sequence[int],
    activation: Callable[[Array], Array] = jnp.tanh,
    *,
    head_scale: float = 1.0,
    spectral_norm: bool = False,
) -> Perceptron:
    """Layers of `widths` = (in, hidden..., out); normal weights of variance 2/in, head_scale^2/in in the last.

    `spectral_norm` divides every matrix by its largest singular value (Miyato et al. 2018, arXiv 1802.05957). Weights
    are not orthogonal because the QR decomposition deadlocks under `jax.vmap` on a CPU with two cores (jaxlib 0.10.2).
    """
    gains = [2**0.5] * (len(widths) - 2) + [head_scale]
    shapes = list(itertools.pairwise(widths))

    def init(key: jax.Array) -> Params:
        """Draw all weights at once: random numbers are half of the compile time of a small training."""
        sizes = [inner * outer for inner, outer in shapes]
        drawn = jnp.split(jax.random.normal(key, (sum(sizes),)), list(itertools.accumulate(sizes[:-1])))
        return [
            {"w": gain / shape[0] ** 0.5 * weights.reshape(shape), "b": jnp.zeros(shape[1])}
            for weights, gain, shape in zip(drawn, gains, shapes, strict=True)
        ]

    def apply(params: Params, inputs: Float[Array, "batch in"]) -> Float[Array, "batch out"]:
        for layer in params[:-1]:
            inputs = activation(inputs @ matrix(layer["w"]) + layer["b"])
        return inputs @ matrix(params[-1]["w"]) + params[-1]["b"]

    def matrix(w: Float[Array, "in out"]) -> Float[Array, "in out"]:
        return w / spectral_norm_of(w) if spectral_norm else w

    return Perceptron(init, apply)


def spectral_norm_of(w: Float[Array, "in out"], iterations: int = 12) -> Float[Array, ""]:
    """A lower bound of the largest singular value, by power iteration that starts from the row of largest norm.

    Difference from Miyato et al.: several iterations from that start, instead of one iteration from a stored vector.
    """
    start = w[jnp.argmax(jnp.sum(w**2, axis=1))]
    v = jax.lax.stop_gradient(start / (jnp.linalg.norm(start) + 1e-12))
    fixed = jax.lax.stop_gradient(w)

    def improve(_, v: Float[Array, " out"]) -> Float[Array, " out"]:
        v = fixed.T @ (fixed @ v)
        return v / (jnp.linalg.norm(v) + 1e-12)

    v = jax.lax.fori_loop(0, iterations, improve, v)
    return jnp.maximum(jnp.linalg.norm(w @ v), 1e-6)


class Distribution(NamedTuple):
    """A distribution of actions: categorical (logits) or diagonal Gaussian (means, and a log std per coordinate).

    Gaussian actions are unbounded; environments clip them.
    """

    parameters: int
    """Number of network outputs."""
    extra: int
    """Number of parameters that do not depend on the observation: log standard deviations."""
    sample: Callable[[Array, Array, jax.Array], Array]
    """(outputs, extra, key) -> actions"""
    mode: Callable[[Array, Array], Array]
    """(outputs, extra) -> the most likely actions"""
    log_prob: Callable[[Array, Array, Array], Float[Array, " batch"]]
    """(outputs, extra, actions) -> nats"""
    entropy: Callable[[Array, Array], Float[Array, " batch"]]


def distribution(space: Space) -> Distribution:
    """The categorical of a discrete space, the Gaussian of a box."""
    return _categorical(space.n) if isinstance(space, Discrete) else _gaussian(space.shape, space.width)


def _categorical(n: int) -> Distribution:
    def log_prob(logits, extra, actions):
        return jnp.take_along_axis(jax.nn.log_softmax(logits), actions[..., None].astype(jnp.int32), axis=-1)[..., 0]

    def entropy(logits, extra):
        log_p = jax.nn.log_softmax(logits)
        return -jnp.sum(jnp.exp(log_p) * log_p, axis=-1)

    return Distribution(
        n,
        0,
        sample=lambda logits, extra, key: jax.random.categorical(key, logits).astype(jnp.int32),
        mode=lambda logits, extra: jnp.argmax(logits, axis=-1).astype(jnp.int32),
        log_prob=log_prob,
        entropy=entropy,
    )


def _gaussian(shape: tuple[int, ...], width: int) -> Distribution:
    def log_prob(mean, log_std, actions: Num[Array, "batch ..."]):
        z = (actions.reshape(mean.shape) - mean) / jnp.exp(log_std)
        return -0.5 * jnp.sum(z**2 + 2 * log_std + jnp.log(2 * jnp.pi), axis=-1)

    def sample(mean, log_std, key):
        values = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        return values.reshape(*mean.shape[:-1], *shape)

    def entropy(mean, log_std):
        each = jnp.sum(log_std + 0.5 * jnp.log(2 * jnp.pi * jnp.e))
        return jnp.broadcast_to(each, mean.shape[:-1])

    return Distribution(
        width,
        width,
        sample=sample,
        mode=lambda mean, log_std: mean.reshape(*mean.shape[:-1], *shape),
        log_prob=log_prob,
        entropy=entropy,
    )


def at_actions(values: Float[Array, "batch n"], actions: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """The value of the given action in each row."""
    chosen = jax.nn.one_hot(actions, values.shape[-1], dtype=bool)
    return jnp.where(chosen, values, 0.0).sum(axis=-1)
