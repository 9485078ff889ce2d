"""The contract of every learning algorithm: two pure functions on pytrees.

Parameters may have frozen parts (reward_models/frozen.py): they have no gradient and no optimiser moments.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, Float

from reward_models.frozen import join, split
from reward_models.networks.base import Params

Batch = Any
State = Any
"""A pytree; by convention a NamedTuple with at least `params` and `opt_state`."""
Info = dict[str, jax.Array]
"""Scalars of one step, only logged; nothing of the next step depends on them."""
Loss = Callable[[Params, Batch], tuple[Float[Array, ""], Info]]
"""(params, batch) -> (loss, info)"""


class Algorithm(NamedTuple):
    """`init` makes the state, `step` improves it by one batch. `step` is jit-compatible and traced once."""

    init: Callable[[jax.Array], State]
    """key -> state"""
    step: Callable[[State, Batch, jax.Array], tuple[State, Info]]
    """(state, batch, key) -> (state, info)"""


class GradientState(NamedTuple):
    """The state of an algorithm that minimises one loss."""

    params: Params
    opt_state: optax.OptState


def gradient_algorithm(
    init: Callable[[jax.Array], Params], loss: Loss, optimiser: optax.GradientTransformation
) -> Algorithm:
    """The algorithm that minimises a loss by one update of the optimiser per batch.

    Args:
        init: key -> initial parameters, such as `Network.init`.
        loss: (params, batch) -> (loss, info). Info gains `loss` and `grad_norm`, the norm before any clipping.
        optimiser: Transforms the gradient into the update.

    Returns:
        An algorithm with a `GradientState`. Its step ignores the key.
    """

    def start(key: jax.Array) -> GradientState:
        params = init(key)
        return GradientState(params, optimiser.init(split(params).trained))

    def step(state: GradientState, batch: Batch, key: jax.Array) -> tuple[GradientState, Info]:
        del key
        trained, frozen = split(state.params)
        (value, info), grads = jax.value_and_grad(lambda own: loss(join(own, frozen), batch), has_aux=True)(trained)
        return apply_gradient(optimiser, state, grads), {**info, "loss": value, "grad_norm": optax.tree.norm(grads)}

    return Algorithm(start, step)


def init_at(algorithm: Algorithm, key: jax.Array, params: Params) -> State:
    """The initial state at given parameters. The random ones of `algorithm.init` are never computed."""
    return jax.jit(lambda key: algorithm.init(key)._replace(params=None))(key)._replace(params=params)


def apply_gradient(optimiser: optax.GradientTransformation, state: State, grads: Params) -> State:
    """The state, which has `params` and `opt_state`, after one update. `grads` are those of the trained part."""
    trained, frozen = split(state.params)
    updates, opt_state = optimiser.update(grads, state.opt_state, trained)
    return state._replace(params=join(optax.apply_updates(trained, updates), frozen), opt_state=opt_state)


def with_l2(loss: Loss, weight: float) -> Loss:
    """The loss plus weight/2 * |trained params|^2."""

    def penalised(params: Params, batch: Batch) -> tuple[Float[Array, ""], Info]:
        value, info = loss(params, batch)
        return value + 0.5 * weight * optax.tree.norm(split(params).trained, squared=True), info

    return penalised
