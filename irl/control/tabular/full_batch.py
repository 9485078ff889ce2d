"""Minimise exact losses to a tolerance, with full-batch optimisers.

L-BFGS: Liu & Nocedal 1989 with the zoom line search of optax. Convex losses of a few thousand parameters take tens of
steps. Adam is for rewards with a rough loss.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from irl.algorithms.base import Algorithm, Info
from irl.types import InputError
from reward_models.ranges import Few, Rate
from reward_models.records import record

Params = Any
Loss = Callable[[Params, Any], tuple[Array, Info]]
"""(params, batch) -> (loss, info)"""


class FullBatchOptimiser(ABC):
    """The config class of an optimiser."""

    @abstractmethod
    def make(self) -> optax.GradientTransformationExtraArgs: ...


@record
class Lbfgs(FullBatchOptimiser):
    """L-BFGS with a line search in place of a learning rate."""

    memory: Few = 50
    """Number of stored curvature pairs; rewards of rarely visited states need many."""
    line_search_steps: Few = 30

    def make(self) -> optax.GradientTransformationExtraArgs:
        search = optax.scale_by_zoom_linesearch(self.line_search_steps, initial_guess_strategy="one")
        return optax.lbfgs(memory_size=self.memory, linesearch=search)


@record
class Adam(FullBatchOptimiser):
    """Kingma & Ba 2015 (arXiv 1412.6980)."""

    learning_rate: Rate = 0.05

    def make(self) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(optax.adam(self.learning_rate))


class FullBatchState(NamedTuple):
    params: Params
    opt_state: optax.OptState


class Fitted(NamedTuple):
    """Parameters, their info, the number of steps, and whether the gradient norm is within the tolerance."""

    params: Params
    info: Info
    steps: Int[Array, ""]
    converged: Array


def full_batch(init: Callable[[jax.Array], Params], loss: Loss, optimiser: FullBatchOptimiser) -> Algorithm:
    """(init, step) that minimise `loss`; info belongs to the parameters before the step."""
    transformation = optimiser.make()

    def start(key: jax.Array) -> FullBatchState:
        params = init(key)
        return jax.tree.map(_strong, FullBatchState(params, transformation.init(params)))

    def step(state: FullBatchState, batch: Any, key: jax.Array) -> tuple[FullBatchState, Info]:
        del key
        (value, info), grad = jax.value_and_grad(loss, has_aux=True)(state.params, batch)
        updates, opt_state = transformation.update(
            grad, state.opt_state, state.params, value=value, grad=grad, value_fn=lambda p: loss(p, batch)[0]
        )
        info = {"loss": value, "grad_norm": optax.tree.norm(grad), **info}
        return FullBatchState(optax.apply_updates(state.params, updates), opt_state), info

    return Algorithm(start, step)


def _strong(leaf: Any) -> Array:
    """Remove the weak type, so that a step is traced once."""
    leaf = jnp.asarray(leaf)
    return jnp.asarray(leaf, leaf.dtype)


def minimise(algorithm: Algorithm, batch: Any, key: jax.Array, *, steps: int, tolerance: float) -> Fitted:
    """Train in one compiled program until the gradient norm is within `tolerance`. Raises InputError if it diverges."""
    fitted = _descend(algorithm, batch, key, steps, tolerance)
    if not np.isfinite(float(fitted.info["loss"]) + float(fitted.info["grad_norm"])):
        raise InputError(
            f"step {int(fitted.steps)}: the loss is {float(fitted.info['loss'])}, its gradient's norm "
            f"{float(fitted.info['grad_norm'])}; scale features to about 1, or set l2"
        )
    return fitted


@partial(jax.jit, static_argnums=0)
def _descend(algorithm: Algorithm, batch: Any, key: jax.Array, steps: Array | int, tolerance: Array | float) -> Fitted:
    """Returns the state before the last step, which the last info belongs to."""
    init_key, step_key = jax.random.split(key)
    start = algorithm.init(init_key)
    shapes = jax.eval_shape(algorithm.step, start, batch, step_key)[1]
    unknown = jax.tree.map(lambda info: jnp.full(info.shape, jnp.inf, info.dtype), shapes)

    def unfinished(carry: tuple[Any, Any, Info, Array]) -> Array:
        _, _, info, count = carry
        return (info["grad_norm"] > tolerance) & (count <= steps)

    def advance(carry: tuple[Any, Any, Info, Array]) -> tuple[Any, Any, Info, Array]:
        _, state, _, count = carry
        next_state, info = algorithm.step(state, batch, jax.random.fold_in(step_key, count))
        return state, next_state, info, count + 1

    state, _, info, count = jax.lax.while_loop(unfinished, advance, (start, start, unknown, jnp.int32(0)))
    return Fitted(state.params, info, count - 1, info["grad_norm"] <= tolerance)


def with_gradient(
    value: Float[Array, ""], table: Float[Array, "*table"], gradient: Float[Array, "*table"]
) -> Float[Array, ""]:
    """`value` with the given derivative with respect to `table`. First derivatives only."""
    slope = jnp.vdot(jax.lax.stop_gradient(gradient), table)
    return slope + jax.lax.stop_gradient(value - slope)
