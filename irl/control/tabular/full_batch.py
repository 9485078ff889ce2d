"""Exact losses minimised to the end: every step sees all there is, so a line search and a tolerance make sense.

L-BFGS: Liu & Nocedal 1989 with the zoom line search of optax. Convex losses of a few thousand parameters need some
tens of steps; Adam is for rewards whose loss is rough.
"""

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


@record
class Lbfgs:
    """No learning rate: a line search finds every step's."""

    memory: Few = 50
    """Steps whose curvature is remembered; rewards of rarely visited states need many."""
    line_search_steps: Few = 30

    def make(self) -> optax.GradientTransformationExtraArgs:
        search = optax.scale_by_zoom_linesearch(self.line_search_steps, initial_guess_strategy="one")
        return optax.lbfgs(memory_size=self.memory, linesearch=search)


@record
class Adam:
    """Kingma & Ba 2015 (arXiv 1412.6980)."""

    learning_rate: Rate = 0.05

    def make(self) -> optax.GradientTransformationExtraArgs:
        return optax.with_extra_args_support(optax.adam(self.learning_rate))


FullBatchOptimiser = Lbfgs | Adam


class FullBatchState(NamedTuple):
    params: Params
    opt_state: optax.OptState


class Fitted(NamedTuple):
    """Parameters, what was said of them, and after how many steps; `converged`: within the tolerance."""

    params: Params
    info: Info
    steps: Int[Array, ""]
    converged: Array


def full_batch(init: Callable[[jax.Array], Params], loss: Loss, optimiser: FullBatchOptimiser) -> Algorithm:
    """(init, step) that minimise `loss`; info is of the parameters before the step."""
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
    """With the fixed type it has after a step, so that a step is traced once."""
    leaf = jnp.asarray(leaf)
    return jnp.asarray(leaf, leaf.dtype)


def minimise(algorithm: Algorithm, batch: Any, key: jax.Array, *, steps: int, tolerance: float) -> Fitted:
    """Steps of one compiled program until the gradient's norm is at most `tolerance`. InputError: it diverges."""
    fitted = _descend(algorithm, batch, key, steps, tolerance)
    if not np.isfinite(float(fitted.info["loss"]) + float(fitted.info["grad_norm"])):
        raise InputError(
            f"step {int(fitted.steps)}: the loss is {float(fitted.info['loss'])}, its gradient's norm "
            f"{float(fitted.info['grad_norm'])}; bring features to a scale of about 1, or set l2"
        )
    return fitted


@partial(jax.jit, static_argnums=0)
def _descend(algorithm: Algorithm, batch: Any, key: jax.Array, steps: Array | int, tolerance: Array | float) -> Fitted:
    """The state before the last step is the one its info speaks of, so that one is carried along and returned."""
    of_init, of_steps = jax.random.split(key)
    start = algorithm.init(of_init)
    shapes = jax.eval_shape(algorithm.step, start, batch, of_steps)[1]
    unknown = jax.tree.map(lambda info: jnp.full(info.shape, jnp.inf, info.dtype), shapes)

    def unfinished(carry: tuple[Any, Any, Info, Array]) -> Array:
        _, _, info, count = carry
        return (info["grad_norm"] > tolerance) & (count <= steps)

    def go_on(carry: tuple[Any, Any, Info, Array]) -> tuple[Any, Any, Info, Array]:
        _, state, _, count = carry
        following, info = algorithm.step(state, batch, jax.random.fold_in(of_steps, count))
        return state, following, info, count + 1

    state, _, info, count = jax.lax.while_loop(unfinished, go_on, (start, start, unknown, jnp.int32(0)))
    return Fitted(state.params, info, count - 1, info["grad_norm"] <= tolerance)


def with_gradient(
    value: Float[Array, ""], table: Float[Array, "*table"], gradient: Float[Array, "*table"]
) -> Float[Array, ""]:
    """`value`, whose derivative by `table` is declared to be `gradient`. First derivatives only."""
    slope = jnp.vdot(jax.lax.stop_gradient(gradient), table)
    return slope + jax.lax.stop_gradient(value - slope)
