"""Decision processes small enough for tables: exact soft and hard planning, evaluation and occupancy measures.

For times t = 0 .. T - 1 with V_T = 0, or without t where the horizon is infinite,

    Q_t(s, a) = r(s, a) + discount sum_s' P(s'|s, a) V_{t+1}(s')
    soft:  V_t(s) = log sum_a exp Q_t(s, a),    pi_t(a|s) = exp(Q_t(s, a) - V_t(s))
    hard:  V_t(s) = max_a Q_t(s, a),            pi_t = 1 on the first of the best actions
    occupancy(s, a) = sum_t discount^t P(s_t = s, a_t = a)

The soft policy maximises E sum_t discount^t [r + entropy of pi_t(.|s_t)], in nats: Ziebart, Bagnell & Dey 2010
(ICML, "Modeling Interaction via the Principle of Maximum Causal Entropy"); infinite horizons: Bloem & Bambos 2014
(CDC), and Gleave & Toyer 2022 (arXiv 2203.11409), whose conventions these are.

Rewards are tables r[s], r[s, a] or r[s, a, s'], told apart by their number of axes and aligned on the left: r[s] is
paid in s whatever is done there, r[s, a, s'] counts by its mean over s'. Nothing is paid in the state after the last
action. All functions are pure, work in the precision of the tables, and take a `TabularMdp` under jit and vmap; those
with loops are jitted already. Shapes are checked as they are traced, values by the `check` functions, on the host.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, Shaped

from irl.types import InputError

StateActions = Float[Array, "states actions"]


class TabularMdp(NamedTuple):
    """Dynamics without a reward. As a pytree, `horizon` is static."""

    transition: Float[Array, "states actions states"]
    """P(s'|s, a)"""
    initial: Float[Array, " states"]
    horizon: int | None = None
    """Number of actions T; None: infinite."""
    discount: float | Array = 1.0
    """Below 1 where the horizon is infinite."""

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
    """Dynamics, the true reward, and what can be seen of every state."""

    name: str
    mdp: TabularMdp
    reward: Float[Array, "..."]
    features: Float[Array, "states features"]


class Plan(NamedTuple):
    """Values of optimal behaviour and the policy itself; a time axis stands in front where the horizon is finite."""

    value: Float[Array, "*time states"]
    q: Float[Array, "*time states actions"]
    policy: Float[Array, "*time states actions"]


@jax.jit
def soft_value_iteration(
    mdp: TabularMdp,
    reward: Num[Array, "..."],
    *,
    tolerance: float | Array = 1e-10,
    max_iterations: int | Array = 100_000,
) -> Plan:
    """The maximum causal entropy policy. `tolerance` bounds the error of an infinite horizon's values, in nats.

    Iteration also ends where rounding hides all progress. Not differentiable over an infinite horizon: the derivative
    of the mean start value by the reward is the policy's occupancy (`irl.control.tabular.mce_irl` uses that).
    """
    value, q = _solve(mdp, reward, jax.nn.logsumexp, tolerance, max_iterations)
    return Plan(value, q, jax.nn.softmax(q, axis=-1))


@jax.jit
def value_iteration(
    mdp: TabularMdp,
    reward: Num[Array, "..."],
    *,
    tolerance: float | Array = 1e-10,
    max_iterations: int | Array = 100_000,
) -> Plan:
    """The policy of greatest expected return; of actions that are equally good, the first."""
    value, q = _solve(mdp, reward, jnp.max, tolerance, max_iterations)
    return Plan(value, q, jax.nn.one_hot(jnp.argmax(q, axis=-1), mdp.actions, dtype=q.dtype))


@jax.jit
def policy_value(
    mdp: TabularMdp, reward: Num[Array, "..."], policy: Float[Array, "*time states actions"]
) -> Float[Array, "*steps states"]:
    """Expected discounted return from each state (and time, where the horizon is finite) on."""
    table = expected_reward(mdp, reward)
    if mdp.horizon is None:
        check_policy_shape(mdp, policy)
        paid = jnp.sum(policy * table, axis=1)
        return jnp.linalg.solve(_identity(mdp) - mdp.discount * _chain(mdp, policy), paid)

    def back(value: Array, policy: Array) -> tuple[Array, Array]:
        value = jnp.sum(policy * _q(mdp, table, value), axis=1)
        return value, value

    over_time = policy_over_time(mdp, policy)
    return jax.lax.scan(back, jnp.zeros(mdp.states, _dtype(table, over_time)), over_time, reverse=True)[1]


def start_value(mdp: TabularMdp, value: Float[Array, "*time states"]) -> Float[Array, ""]:
    """The mean of V_0 over initial states: of `policy_value` the expected return."""
    return jnp.dot(mdp.initial, value if mdp.horizon is None else value[0], precision="highest")


@jax.jit
def occupancy_by_time(
    mdp: TabularMdp, policy: Float[Array, "*time states actions"]
) -> Float[Array, "steps states actions"]:
    """P(s_t = s, a_t = a), undiscounted, for the times of a finite horizon."""

    def forth(state: Array, policy: Array) -> tuple[Array, Array]:
        both = state[:, None] * policy
        return jnp.einsum("sa,sap->p", both, mdp.transition, precision="highest"), both

    over_time = policy_over_time(mdp, policy)
    return jax.lax.scan(forth, mdp.initial.astype(_dtype(mdp.transition, over_time)), over_time)[1]


@jax.jit
def occupancy(mdp: TabularMdp, policy: Float[Array, "*time states actions"]) -> StateActions:
    """sum_t discount^t P(s_t = s, a_t = a); of states, its sum over actions. Infinite horizon: by a linear solve."""
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
    """The sum of every occupancy: of discount^t over the horizon."""
    if mdp.horizon is None:
        return 1 / (1 - jnp.asarray(mdp.discount, mdp.transition.dtype))
    return discounts(mdp, mdp.horizon).sum()


def expected_reward(mdp: TabularMdp, reward: Num[Array, "..."]) -> StateActions:
    """A reward of any of the three shapes as r(s, a): the mean over s' where it depends on s'."""
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
    """A policy for every time of a finite horizon; one without a time axis is the same at all times."""
    if mdp.horizon is None:
        raise InputError("policy: an infinite horizon has no times; use `occupancy`, or give the MDP a horizon")
    check_policy_shape(mdp, policy)
    return jnp.broadcast_to(policy, (mdp.horizon, mdp.states, mdp.actions))


def check(mdp: TabularMdp) -> None:
    """InputError: shapes that do not fit, rows that are no distributions, an endless sum of rewards."""
    transition, initial = np.asarray(mdp.transition), np.asarray(mdp.initial)
    if transition.ndim != 3 or transition.shape[0] != transition.shape[2] or not transition.size:
        raise InputError(f"TabularMdp.transition: expected shape [states, actions, states], got {transition.shape}")
    _check_distributions("TabularMdp.transition", transition)
    if initial.shape != (mdp.states,):
        raise InputError(f"TabularMdp.initial: expected shape ({mdp.states},), a row of states, got {initial.shape}")
    _check_distributions("TabularMdp.initial", initial)
    if mdp.horizon is not None and mdp.horizon < 1:
        raise InputError(f"TabularMdp.horizon: expected 1 action or more, or None for no end, got {mdp.horizon}")
    if not 0 <= mdp.discount <= 1:
        raise InputError(f"TabularMdp.discount: expected 0 to 1, got {mdp.discount}")
    if mdp.horizon is None and mdp.discount == 1:
        raise InputError("TabularMdp.discount: expected less than 1 where horizon is None, got 1; or set a horizon")


def check_reward(mdp: TabularMdp, reward: Shaped[Array, "..."]) -> None:
    """InputError: no floats, not finite, or none of the three shapes."""
    _check_reward_shape(mdp, reward)
    _check_finite("reward", np.asarray(reward))


def check_policy(mdp: TabularMdp, policy: Shaped[Array, "..."]) -> None:
    """InputError: a shape that does not fit, or rows that are no distributions over actions."""
    check_policy_shape(mdp, policy)
    _check_distributions("policy", np.asarray(policy))


def check_policy_shape(mdp: TabularMdp, policy: Shaped[Array, "..."]) -> None:
    """InputError: neither [states, actions] nor, where the horizon is finite, [horizon, states, actions]."""
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


def _check_rows(name: str, good: np.ndarray | np.generic, found: np.ndarray | np.generic, expected: str) -> None:
    bad = np.argwhere(~np.asarray(good))
    if len(bad):
        where = f"[{', '.join(map(str, bad[0]))}]" if bad.shape[1] else ""
        raise InputError(f"{name}{where}: expected {expected} {np.asarray(found)[tuple(bad[0])]:.6g}")


def _solve(
    mdp: TabularMdp, reward: Array, best: Callable[..., Array], tolerance: float | Array, max_iterations: int | Array
) -> tuple[Array, Array]:
    """(V, Q) of the Bellman equation that takes the `best` over actions."""
    table = expected_reward(mdp, reward)
    nothing = jnp.zeros(mdp.states, _dtype(table, mdp.transition))
    if mdp.horizon is None:
        value = _fixed_point(
            mdp, lambda value: best(_q(mdp, table, value), axis=-1), nothing, tolerance, max_iterations
        )
        q = _q(mdp, table, value)
        return best(q, axis=-1), q

    def back(value: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        q = _q(mdp, table, value)
        value = best(q, axis=-1)
        return value, (value, q)

    return jax.lax.scan(back, nothing, None, length=mdp.horizon, reverse=True)[1]


def _fixed_point(
    mdp: TabularMdp,
    backup: Callable[[Array], Array],
    start: Array,
    tolerance: float | Array,
    max_iterations: int | Array,
) -> Array:
    """V = backup(V). A change of c leaves an error of at most c discount / (1 - discount)."""
    rounding = 4 * float(jnp.finfo(start.dtype).eps)

    def unfinished(carry: tuple[Array, Array, Array]) -> Array:
        value, change, count = carry
        far = mdp.discount * change > (1 - mdp.discount) * tolerance
        return far & (change > rounding * jnp.abs(value).max()) & (count < max_iterations)

    def improve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        value, _, count = carry
        following = backup(value)
        return following, jnp.abs(following - value).max(), count + 1

    return jax.lax.while_loop(unfinished, improve, (start, jnp.asarray(jnp.inf, start.dtype), jnp.int32(0)))[0]


def _q(mdp: TabularMdp, table: StateActions, value: Float[Array, " states"]) -> StateActions:
    return table + mdp.discount * jnp.einsum("sap,p->sa", mdp.transition, value, precision="highest")


def _chain(mdp: TabularMdp, policy: StateActions) -> Float[Array, "states states"]:
    return jnp.einsum("sa,sap->sp", policy, mdp.transition, precision="highest")


def _identity(mdp: TabularMdp) -> Float[Array, "states states"]:
    return jnp.eye(mdp.states, dtype=mdp.transition.dtype)


def _dtype(*tables: Array) -> jnp.dtype:
    return jnp.result_type(*tables)
