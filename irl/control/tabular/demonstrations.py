"""Demonstrations in a tabular world: drawn from a policy, checked, and counted as empirical occupancies."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from irl.control.tabular.mdp import TabularMdp, check_policy_shape, discounts, total_occupancy
from irl.types import InputError


class Trajectories(NamedTuple):
    """`states` are one more than `actions`: the last is where the last action led."""

    states: Int[Array, "count states_seen"]
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
    """`count` trajectories of the policy, over the horizon, or of `steps` actions where it is infinite."""
    check_policy_shape(mdp, policy)
    time = length("sample: steps", mdp, steps)
    log_policy, log_transition = jnp.log(policy), jnp.log(mdp.transition)
    log_policy = jnp.broadcast_to(log_policy, (time, mdp.states, mdp.actions))

    def move(state: Array, now: tuple[Array, Array]) -> tuple[Array, tuple[Array, Array]]:
        of_action, of_state = jax.random.split(now[1])
        action = jax.random.categorical(of_action, now[0][state])
        after = jax.random.categorical(of_state, log_transition[state, action])
        return after, (after, action)

    of_start, of_moves = jax.random.split(key)
    first = jax.random.categorical(of_start, jnp.log(mdp.initial), shape=(count,))
    _, (later, actions) = jax.lax.scan(move, first, (log_policy, jax.random.split(of_moves, time)))
    return Trajectories(jnp.concatenate([first[:, None], later.T], axis=1), actions.T)


def length(name: str, mdp: TabularMdp, steps: int | None) -> int:
    """The horizon, or `steps` where it is infinite. InputError: both, or neither."""
    lengths = [n for n in (mdp.horizon, steps) if n is not None]
    if len(lengths) != 1:
        raise InputError(f"{name}: needed where the world has no horizon, and only there; got {steps} at {mdp.horizon}")
    return lengths[0]


def empirical_transitions(mdp: TabularMdp, trajectories: Trajectories) -> Float[Array, "states actions states"]:
    """Mean over trajectories of sum_t discount^t [s_t = s, a_t = a, s_{t+1} = s'].

    Of an infinite horizon only a beginning was seen: it is scaled to the occupancy's sum, 1 / (1 - discount).
    """
    count, steps = trajectories.actions.shape
    weight = discounts(mdp, steps)
    weight = weight * (total_occupancy(mdp) / (weight.sum() * count))
    where = trajectories.states[:, :-1], trajectories.actions, trajectories.states[:, 1:]
    return jnp.zeros_like(mdp.transition).at[where].add(jnp.broadcast_to(weight, (count, steps)))


def empirical_occupancy(mdp: TabularMdp, trajectories: Trajectories) -> Float[Array, "states actions"]:
    """`empirical_transitions`, wherever they led."""
    return empirical_transitions(mdp, trajectories).sum(axis=-1)


def empirical_initial(mdp: TabularMdp, trajectories: Trajectories) -> Float[Array, " states"]:
    """Shares of the states in which trajectories begin: an `initial` that fits few demonstrations better."""
    first = trajectories.states[:, 0]
    return jnp.zeros_like(mdp.initial).at[first].add(1 / len(first))


def check_trajectories(mdp: TabularMdp, trajectories: Trajectories) -> None:
    """InputError: none, of other shapes or types, outside the tables, or with a transition that cannot happen."""
    states, actions = np.asarray(trajectories.states), np.asarray(trajectories.actions)
    if actions.ndim != 2 or not actions.size:
        raise InputError(f"actions: expected at least one demonstration, [count, steps], got shape {actions.shape}")
    if mdp.horizon is not None and actions.shape[1] != mdp.horizon:
        raise InputError(f"actions: expected {mdp.horizon} per demonstration, the horizon, got {actions.shape[1]}")
    expected = (actions.shape[0], actions.shape[1] + 1)
    if states.shape != expected:
        raise InputError(f"states: expected shape {expected}, one more than actions, got {states.shape}")
    for name, values, size in (("states", states, mdp.states), ("actions", actions, mdp.actions)):
        if values.dtype.kind not in "iu":
            raise InputError(f"{name}: expected integers below {size}, got dtype {values.dtype}")
        if values.min() < 0 or values.max() >= size:
            raise InputError(f"{name}: expected 0 to {size - 1}, got {values.min()} to {values.max()}")
    impossible = np.asarray(mdp.transition)[states[:, :-1], actions, states[:, 1:]] == 0
    if impossible.any():
        row, step = np.argwhere(impossible)[0]
        s, a, after = states[row, step], actions[row, step], states[row, step + 1]
        raise InputError(
            f"demonstration {row}, step {step}: action {a} in state {s} never leads to state {after}; "
            "is it a demonstration of another world?"
        )


def check_occupancy(mdp: TabularMdp, expert: Shaped[Array, "..."], shape: tuple[int, ...]) -> None:
    """InputError: another shape, not finite, negative, or of another sum than discount and horizon make."""
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
            "was it made with another discount or horizon?"
        )
