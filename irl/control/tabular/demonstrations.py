"""Demonstrations in a tabular MDP: sampling, and empirical occupancies."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from irl.control.tabular.mdp import TabularMdp, check_policy_shape, discounts, total_occupancy
from irl.types import InputError


class Trajectories(NamedTuple):
    """Trajectories of equal length; `states` includes the state after the last action."""

    states: Int[Array, "count states"]
    actions: Int[Array, "count steps"]


@partial(jax.jit, static_argnames=("count", "steps"))
def sample(
    mdp: TabularMdp,
    policy: Float[Array, "*time states actions"],
    key: jax.Array,
    count: int,
    *,
    steps: int | None = None,
) -> Trajectories:
    """`count` trajectories of the policy over the horizon, or of `steps` actions if it is infinite."""
    check_policy_shape(mdp, policy)
    time = length("sample: steps", mdp, steps)
    log_policy, log_transition = jnp.log(policy), jnp.log(mdp.transition)
    log_policy = jnp.broadcast_to(log_policy, (time, mdp.states, mdp.actions))

    def move(state: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        action_key, state_key = jax.random.split(now[1])
        action = jax.random.categorical(action_key, now[0][state])
        next_state = jax.random.categorical(state_key, log_transition[state, action])
        return next_state, (next_state, action)

    initial_key, move_key = jax.random.split(key)
    first = jax.random.categorical(initial_key, jnp.log(mdp.initial), shape=(count,))
    _, (later, actions) = jax.lax.scan(move, first, (log_policy, jax.random.split(move_key, time)))
    return Trajectories(jnp.concatenate([first[:, None], later.T], axis=1), actions.T)


def length(name: str, mdp: TabularMdp, steps: int | None) -> int:
    """The horizon, or `steps` if it is infinite. Raises InputError for both, or neither."""
    lengths = [n for n in (mdp.horizon, steps) if n is not None]
    if len(lengths) != 1:
        raise InputError(f"{name}: expected only with an infinite horizon; got {steps} with horizon {mdp.horizon}")
    return lengths[0]


def empirical_transitions(mdp: TabularMdp, trajectories: Trajectories) -> Float[Array, "states actions states"]:
    """Mean over trajectories of sum_t discount^t [s_t = s, a_t = a, s_{t+1} = s'].

    Trajectories of an infinite horizon are truncated; the result is scaled to the sum of an occupancy,
    1 / (1 - discount).
    """
    count, steps = trajectories.actions.shape
    weight = discounts(mdp, steps)
    weight = weight * (total_occupancy(mdp) / (weight.sum() * count))
    index = trajectories.states[:, :-1], trajectories.actions, trajectories.states[:, 1:]
    return jnp.zeros_like(mdp.transition).at[index].add(jnp.broadcast_to(weight, (count, steps)))


def check_occupancy(mdp: TabularMdp, expert: Shaped[Array, "..."], shape: tuple[int, ...]) -> None:
    """Raise InputError unless the table has this shape, values of 0 or more, and the sum of an occupancy."""
    table, total = np.asarray(expert), float(total_occupancy(mdp))
    if table.shape != shape:
        raise InputError(f"occupancy: expected shape {shape}, got {table.shape}")
    if table.dtype.kind != "f":
        raise InputError(f"occupancy: expected floats, got dtype {table.dtype}")
    bad = ~(np.isfinite(table) & (table >= 0))
    if bad.any():
        raise InputError(f"occupancy{np.argwhere(bad)[0].tolist()}: expected 0 or more, got {table[bad][0]}")
    if abs(table.sum() - total) > 1e-3 * total:
        raise InputError(
            f"occupancy: expected a sum of {total:.6g}, that of discount^t over the horizon, got {table.sum():.6g}; "
            "were discount and horizon the same?"
        )
