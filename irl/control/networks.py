"""Small networks as pairs of pure functions: perceptrons, and the distributions over actions they parametrise."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Num

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

    With `spectral_norm` every matrix is divided by its largest singular value (Miyato et al. 2018, arXiv 1802.05957).
    Orthogonal weights would be the habit: but their QR decomposition under `jax.vmap`, on a CPU of two cores, waits for
    ever (jaxlib 0.10.2: the threads of a batch wait for threads of the same pool).
    """
    gains = [2**0.5] * (len(widths) - 2) + [head_scale]
    shapes = list(itertools.pairwise(widths))

    def init(key: jax.Array) -> Params:
        """All weights are drawn at once: random numbers are half of what is compiled of a small training."""
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
    """The largest singular value, from below, by power iteration from the row of greatest norm.

    Difference from Miyato et al.: more steps from the same start each time in place of one step from a kept vector.
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
    """Of actions, given what a network says: a categorical (logits) or a diagonal Gaussian (means; one log std each).

    Gaussian actions are not bounded: an environment clips what it is given.
    """

    parameters: int
    """Outputs that the network needs."""
    extra: int
    """Free parameters beside the network: log standard deviations."""
    sample: Callable[[Array, Array, jax.Array], Array]
    """(outputs, extra, key) -> actions"""
    best: Callable[[Array, Array], Array]
    log_prob: Callable[[Array, Array, Array], Float[Array, " batch"]]
    """(outputs, extra, actions) -> nats"""
    entropy: Callable[[Array, Array], Float[Array, " batch"]]


def distribution(space: Space) -> Distribution:
    """The usual one of a space."""
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
        best=lambda logits, extra: jnp.argmax(logits, axis=-1).astype(jnp.int32),
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
        best=lambda mean, log_std: mean.reshape(*mean.shape[:-1], *shape),
        log_prob=log_prob,
        entropy=entropy,
    )
