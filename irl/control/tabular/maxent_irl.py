"""Maximum entropy IRL: maximise the likelihood of demonstrated paths under a distribution over all paths.

    P(tau|s_0) = exp(R(tau)) prod_t P(s_{t+1}|s_t, a_t) / Z(s_0),    R(tau) = sum_t discount^t r(s_t, a_t, s_{t+1})
    L(theta) = E_{s ~ p_0} log Z(s) - E_E R(tau),    grad L = sum (mu_P - mu_E)(s, a, s') grad r(s, a, s')    (nats)

where mu are the discounted counts of transitions, under P and of the expert. log Z follows backwards from W_T = 0,

    Q_t(s, a) = log sum_s' P(s'|s, a) exp(discount^t r(s, a, s') + W_{t+1}(s')),    W_t(s) = log sum_a exp Q_t(s, a)

Ziebart, Maas, Bagnell & Dey, "Maximum Entropy Inverse Reinforcement Learning", AAAI 2008. Information level:
demonstrations, and the dynamics.

Unlike in mce_irl.py, P is a distribution over paths: favourable *outcomes* raise the probability of a path as if the
policy had chosen them. P has tilted dynamics P(s'|s, a) exp(... + W(s')), and Q is the log-mean-exp over s' instead of
the mean. In stochastic dynamics this overrates risky actions, no policy generates P, and the reward of a soft-optimal
expert is not recovered; maximum causal entropy solves this. In deterministic dynamics without discount both losses are
equal. With a discount they differ: the causal loss also discounts entropy. Differences from the paper:

1. The paper runs the policy of its backward pass through the true dynamics, an approximation of mu_P in stochastic
   dynamics; here mu_P is that of P, which gives the exact gradient of L.
2. One partition function per initial state, so initial states are not tilted. Finite horizons only.
3. L-BFGS on the exact loss; a discount; a reward of any shape.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.algorithms.base import Info
from irl.control.tabular.base import TabularIrl
from irl.control.tabular.full_batch import FullBatchOptimiser, Lbfgs, with_gradient
from irl.control.tabular.mdp import TabularMdp, discounts, start_value, transition_reward
from irl.types import InputError
from reward_models.ranges import Weight
from reward_models.records import record

Transitions = Float[Array, "states actions states"]


class PathDistribution(NamedTuple):
    """P of the module docstring."""

    log_partition: Float[Array, "time states"]
    """W_t; W_0 is log Z."""
    policy: Float[Array, "time states actions"]
    """P(a_t|s_t)"""
    transitions: Transitions
    """mu_P: sum_t discount^t P(s_t = s, a_t = a, s_{t+1} = s')"""


@jax.jit
def path_distribution(mdp: TabularMdp, reward: Float[Array, "..."]) -> PathDistribution:
    """P, by a backward and a forward pass. Raises InputError for an infinite horizon."""
    if mdp.horizon is None:
        raise InputError("maxent_irl: expected a finite horizon, got None; use mce_irl, or set a horizon")
    table = transition_reward(mdp, reward)
    weights, log_transition = discounts(mdp, mdp.horizon), jnp.log(mdp.transition)

    def outcomes(weight: Array, next_value: Array) -> Transitions:
        return log_transition + weight * table + next_value

    def back(next_value: Array, weight: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        q = jax.nn.logsumexp(outcomes(weight, next_value), axis=-1)
        value = jax.nn.logsumexp(q, axis=-1)
        return value, (value, jax.nn.softmax(q, axis=-1), next_value)

    def forth(carry: tuple[Array, Array], now: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (state, counts), (weight, policy, next_value) = carry, now
        chosen = state[:, None] * policy
        moved = chosen[..., None] * jax.nn.softmax(outcomes(weight, next_value), axis=-1)
        return (moved.sum(axis=(0, 1)), counts + weight * moved), None

    dtype = jnp.result_type(table, mdp.transition)
    _, (value, policy, next_value) = jax.lax.scan(back, jnp.zeros(mdp.states, dtype), weights, reverse=True)
    start = mdp.initial.astype(dtype), jnp.zeros(table.shape, dtype)
    (_, counts), _ = jax.lax.scan(forth, start, (weights, policy, next_value))
    return PathDistribution(value, policy, counts)


@record
class MaxEntIrl(TabularIrl):
    """Settings of MaxEnt IRL; the batch of a step is the expert's counts of transitions [states, actions, states]."""

    optimiser: FullBatchOptimiser = Lbfgs()
    l2: Weight = 0.0
    """Weight of the penalty |params|^2 / 2."""

    def statistics(self, counts: Transitions) -> Transitions:
        return counts

    def loss(
        self, mdp: TabularMdp, reward: Float[Array, "..."], expert: Float[Array, "..."]
    ) -> tuple[Float[Array, ""], Info]:
        return maxent_path_loss(mdp, reward, expert)


def maxent_path_loss(
    mdp: TabularMdp, reward: Float[Array, "..."], expert: Float[Array, "..."]
) -> tuple[Float[Array, ""], Info]:
    """L of the module docstring, `expert` [states, actions, states]; info: the largest difference of counts of (s, a).

    First derivatives only.
    """
    if expert.shape != mdp.transition.shape:
        raise InputError(f"transitions: expected shape {mdp.transition.shape}, got {expert.shape}")
    table = transition_reward(mdp, reward)
    paths = path_distribution(mdp, jax.lax.stop_gradient(table))
    gap = paths.transitions - expert
    value = start_value(mdp, paths.log_partition) - jnp.vdot(expert, table)
    return with_gradient(value, table, gap), {"occupancy_gap": jnp.abs(gap.sum(axis=-1)).max()}
