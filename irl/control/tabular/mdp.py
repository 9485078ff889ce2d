"""Tabular Markov decision processes: exact soft planning, policy evaluation and occupancy measures.

For times t = 0 .. T - 1 with V_T = 0, or without t if the horizon is infinite,

    Q_t(s, a) = r(s, a) + discount sum_s' P(s'|s, a) V_{t+1}(s')
    V_t(s) = log sum_a exp Q_t(s, a),    pi_t(a|s) = exp(Q_t(s, a) - V_t(s))
    occupancy(s, a) = sum_t discount^t P(s_t = s, a_t = a)

The soft policy maximises E sum_t discount^t [r + entropy of pi_t(.|s_t)], in nats: Ziebart, Bagnell & Dey 2010
(ICML, "Modeling Interaction via the Principle of Maximum Causal Entropy"); infinite horizons: Bloem & Bambos 2014
(CDC), and Gleave & Toyer 2022 (arXiv 2203.11409), whose conventions these are.

Rewards are tables r[s], r[s, a] or r[s, a, s'], distinguished by their number of axes. r[s] applies to all actions in
s; r[s, a, s'] is averaged over s'. The state after the last action has no reward. All functions are pure, compute in
the precision of the tables, and accept a `TabularMdp` under jit and vmap; functions with loops are jitted. Shapes are
checked during tracing, values by the `check` functions on the host.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from irl.types import InputError

StateActions = Float[Array, "states actions"]

MOST_ITERATIONS = 100_000
"""Of value iteration over an infinite horizon."""


class TabularMdp(NamedTuple):
    """Dynamics without a reward. As a pytree, `horizon` is static."""

    transition: Float[Array, "states actions states"]
    """P(s'|s, a)"""
    initial: Float[Array, " states"]
    horizon: int | None = None
    """Number of actions T; None: infinite."""
    discount: float | Array = 1.0
    """Below 1 if the horizon is infinite."""

    @property
    def states(self) -> int:
        return self.transition.shape[0]

    @property
    def actions(self) -> int:
        return self.transition.shape[1]


jax.tree_util.register_pytree_node(
    TabularMdp,
    lambda mdp: ((mdp.transition, mdp.initial, mdp.discount), mdp.horizon),
    lambda horizon, leaves: TabularMdp(leaves[0], leaves[1], horizon, leaves[2]),
)


class TabularWorld(NamedTuple):
    """Dynamics, the true reward, and features of every state."""

    name: str
    mdp: TabularMdp
    reward: Float[Array, "..."]
    features: Float[Array, "states features"]
    width: int = 0
    """Columns of a map of the states; 0: one row."""


class WorldConfig(ABC):
    """The config class of a tabular world. A new world is one file with one registered subclass."""

    @abstractmethod
    def make(self) -> TabularWorld: ...


class Plan(NamedTuple):
    """Soft-optimal values and policy, with a leading time axis if the horizon is finite."""

    value: Float[Array, "*time states"]
    q: Float[Array, "*time states actions"]
    policy: Float[Array, "*time states actions"]


@jax.jit
def soft_value_iteration(mdp: TabularMdp, reward: Num[Array, "..."], *, tolerance: float | Array = 1e-10) -> Plan:
    """The maximum causal entropy policy. `tolerance` bounds the error of values over an infinite horizon, in nats.

    Iteration also stops when rounding errors hide further progress. It is not differentiable over an infinite horizon;
    the gradient of the mean initial value with respect to the reward is the occupancy of the policy (see mce_irl.py).
    """
    table = expected_reward(mdp, reward)
    zeros = jnp.zeros(mdp.states, _dtype(table, mdp.transition))
    if mdp.horizon is None:
        value = _fixed_point(mdp, table, zeros, tolerance)
        q = _q(mdp, table, value)
        return Plan(jax.nn.logsumexp(q, axis=-1), q, jax.nn.softmax(q, axis=-1))

    def back(value: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        q = _q(mdp, table, value)
        value = jax.nn.logsumexp(q, axis=-1)
        return value, (value, q)

    value, q = jax.lax.scan(back, zeros, None, length=mdp.horizon, reverse=True)[1]
    return Plan(value, q, jax.nn.softmax(q, axis=-1))


@jax.jit
def policy_value(
    mdp: TabularMdp, reward: Num[Array, "..."], policy: Float[Array, "*time states actions"]
) -> Float[Array, "*steps states"]:
    """Expected discounted return from each state (and time, if the horizon is finite)."""
    table = expected_reward(mdp, reward)
    if mdp.horizon is None:
        check_policy_shape(mdp, policy)
        mean_reward = jnp.sum(policy * table, axis=1)
        return jnp.linalg.solve(_identity(mdp) - mdp.discount * _chain(mdp, policy), mean_reward)

    def back(value: Array, policy: Array) -> tuple[Array, Array]:
        value = jnp.sum(policy * _q(mdp, table, value), axis=1)
        return value, value

    over_time = policy_over_time(mdp, policy)
    return jax.lax.scan(back, jnp.zeros(mdp.states, _dtype(table, over_time)), over_time, reverse=True)[1]


def start_value(mdp: TabularMdp, value: Float[Array, "*time states"]) -> Float[Array, ""]:
    """The mean of V_0 over initial states; of `policy_value`, the expected return."""
    return jnp.dot(mdp.initial, value if mdp.horizon is None else value[0], precision="highest")


@jax.jit
def occupancy_by_time(
    mdp: TabularMdp, policy: Float[Array, "*time states actions"]
) -> Float[Array, "steps states actions"]:
    """P(s_t = s, a_t = a), undiscounted, at each time of a finite horizon."""

    def forth(state: Array, policy: Array) -> tuple[Array, Array]:
        both = state[:, None] * policy
        return jnp.einsum("sa,sap->p", both, mdp.transition, precision="highest"), both

    over_time = policy_over_time(mdp, policy)
    return jax.lax.scan(forth, mdp.initial.astype(_dtype(mdp.transition, over_time)), over_time)[1]


@jax.jit
def occupancy(mdp: TabularMdp, policy: Float[Array, "*time states actions"]) -> StateActions:
    """sum_t discount^t P(s_t = s, a_t = a). Infinite horizon: by a linear solve."""
    if mdp.horizon is not None:
        visits = occupancy_by_time(mdp, policy)
        return jnp.tensordot(discounts(mdp, mdp.horizon).astype(visits.dtype), visits, 1, precision="highest")
    check_policy_shape(mdp, policy)
    state = jnp.linalg.solve(_identity(mdp) - mdp.discount * _chain(mdp, policy).T, mdp.initial)
    return state[:, None] * policy


def transition_occupancy(
    mdp: TabularMdp, policy: Float[Array, "*time states actions"]
) -> Float[Array, "states actions states"]:
    """sum_t discount^t P(s_t = s, a_t = a, s_{t+1} = s')."""
    return occupancy(mdp, policy)[..., None] * mdp.transition


def discounts(mdp: TabularMdp, steps: int) -> Float[Array, " steps"]:
    """discount^t for t = 0 .. steps - 1."""
    return jnp.asarray(mdp.discount, mdp.transition.dtype) ** jnp.arange(steps)


def total_occupancy(mdp: TabularMdp) -> Float[Array, ""]:
    """The sum of an occupancy: that of discount^t over the horizon."""
    if mdp.horizon is None:
        return 1 / (1 - jnp.asarray(mdp.discount, mdp.transition.dtype))
    return discounts(mdp, mdp.horizon).sum()


def expected_reward(mdp: TabularMdp, reward: Num[Array, "..."]) -> StateActions:
    """A reward of any of the three shapes as r(s, a), averaged over s'."""
    _check_reward_shape(mdp, reward)
    if reward.ndim == 3:
        return jnp.einsum("sap,sap->sa", mdp.transition, reward, precision="highest")
    return jnp.broadcast_to(reward.reshape(mdp.states, -1), (mdp.states, mdp.actions))


def transition_reward(mdp: TabularMdp, reward: Num[Array, "..."]) -> Float[Array, "states actions states"]:
    """A reward of any of the three shapes as r(s, a, s')."""
    _check_reward_shape(mdp, reward)
    return jnp.broadcast_to(reward.reshape(*reward.shape, *[1] * (3 - reward.ndim)), mdp.transition.shape)


def policy_over_time(
    mdp: TabularMdp, policy: Float[Array, "*time states actions"]
) -> Float[Array, "steps states actions"]:
    """A policy with a time axis of a finite horizon; one without a time axis is stationary."""
    if mdp.horizon is None:
        raise InputError("policy: expected a finite horizon; use `occupancy`, or set a horizon")
    check_policy_shape(mdp, policy)
    return jnp.broadcast_to(policy, (mdp.horizon, mdp.states, mdp.actions))


def check(mdp: TabularMdp) -> None:
    """Raise InputError unless shapes match, rows are distributions, and sums of rewards are finite."""
    transition, initial = np.asarray(mdp.transition), np.asarray(mdp.initial)
    if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or not transition.size:
        raise InputError(f"TabularMdp.transition: expected shape [states, actions, states], got {transition.shape}")
    _check_distributions("TabularMdp.transition", transition)
    if initial.shape != (mdp.states,):
        raise InputError(f"TabularMdp.initial: expected shape ({mdp.states},), got {initial.shape}")
    _check_distributions("TabularMdp.initial", initial)
    if mdp.horizon is not None and mdp.horizon < 1:
        raise InputError(f"TabularMdp.horizon: expected 1 action or more, or None (infinite), got {mdp.horizon}")
    if not 0 <= mdp.discount <= 1:
        raise InputError(f"TabularMdp.discount: expected 0 to 1, got {mdp.discount}")
    if mdp.horizon is None and mdp.discount == 1:
        raise InputError("TabularMdp.discount: expected less than 1 if horizon is None, got 1; or set a horizon")


def check_reward(mdp: TabularMdp, reward: Shaped[Array, "..."]) -> None:
    """Raise InputError unless the reward has finite floats and one of the three shapes."""
    _check_reward_shape(mdp, reward)
    _check_finite("reward", np.asarray(reward))


def check_policy_shape(mdp: TabularMdp, policy: Shaped[Array, "..."]) -> None:
    """Raise InputError unless the shape is [states, actions] or, for a finite horizon, [horizon, states, actions]."""
    shapes: list[tuple[int, ...]] = [(mdp.states, mdp.actions)]
    if mdp.horizon is not None:
        shapes.append((mdp.horizon, mdp.states, mdp.actions))
    if policy.shape not in shapes:
        raise InputError(f"policy: expected shape {' or '.join(map(str, shapes))}, got {policy.shape}")


def _check_reward_shape(mdp: TabularMdp, reward: Shaped[Array, "..."]) -> None:
    full = (mdp.states, mdp.actions, mdp.states)
    if not 1 <= reward.ndim <= 3 or reward.shape != full[: reward.ndim]:
        raise InputError(f"reward: expected shape {full[:1]}, {full[:2]} or {full}, got {reward.shape}")
    if not jnp.issubdtype(reward.dtype, jnp.floating):
        raise InputError(f"reward: expected floats, got dtype {reward.dtype}; convert it with .astype(float)")


def _check_distributions(name: str, table: np.ndarray) -> None:
    _check_finite(name, table)
    _check_rows(name, (table >= 0).all(axis=-1), table.min(axis=-1), "probabilities of 0 or more, got")
    total = table.sum(axis=-1, dtype=np.float64)
    close = np.abs(total - 1) <= max(1e-9, 100 * float(np.finfo(table.dtype).eps))
    _check_rows(name, close, total, "probabilities that sum to 1 (divide them by their sum), got a sum of")


def _check_finite(name: str, table: np.ndarray) -> None:
    if table.dtype.kind != "f":
        raise InputError(f"{name}: expected floats, got dtype {table.dtype}")
    _check_rows(name, np.isfinite(table), table, "finite numbers, got")


def _check_rows(name: str, valid: np.ndarray | np.generic, values: np.ndarray | np.generic, expected: str) -> None:
    bad = np.argwhere(~np.asarray(valid))
    if len(bad):
        where = f"[{', '.join(map(str, bad[0]))}]" if bad.shape[1] else ""
        raise InputError(f"{name}{where}: expected {expected} {np.asarray(values)[tuple(bad[0])]:.6g}")


def _fixed_point(mdp: TabularMdp, table: StateActions, start: Array, tolerance: float | Array) -> Array:
    """V of the soft Bellman equation. A change of c leaves an error of at most c discount / (1 - discount)."""
    rounding = 4 * float(jnp.finfo(start.dtype).eps)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        value, change, count = carry
        inaccurate = mdp.discount * change > (1 - mdp.discount) * tolerance
        return inaccurate & (change > rounding * jnp.abs(value).max()) & (count < MOST_ITERATIONS)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        value, _, count = carry
        new_value = jax.nn.logsumexp(_q(mdp, table, value), axis=-1)
        return new_value, jnp.abs(new_value - value).max(), count + 1

    return jax.lax.while_loop(unfinished, improve, (start, jnp.asarray(jnp.inf, start.dtype), jnp.int32(0)))[0]


def _q(mdp: TabularMdp, table: StateActions, value: Float[Array, " states"]) -> StateActions:
    return table + mdp.discount * jnp.einsum("sap,p->sa", mdp.transition, value, precision="highest")


def _chain(mdp: TabularMdp, policy: StateActions) -> Float[Array, "states states"]:
    return jnp.einsum("sa,sap->sp", policy, mdp.transition, precision="highest")


def _identity(mdp: TabularMdp) -> Float[Array, "states states"]:
    return jnp.eye(mdp.states, dtype=mdp.transition.dtype)


def _dtype(*tables: Array) -> jnp.dtype:
    return jnp.result_type(*tables)
