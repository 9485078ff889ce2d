"""Maximum entropy IRL on paths, not causal, in tables: demonstrations made likely among all paths.

    P(tau|s_0) = exp(R(tau)) prod_t P(s_{t+1}|s_t, a_t) / Z(s_0),    R(tau) = sum_t discount^t r(s_t, a_t, s_{t+1})
    L(theta) = E_{s ~ p_0} log Z(s) - E_E R(tau),    grad L = sum (mu_P - mu_E)(s, a, s') grad r(s, a, s')    (nats)

with mu the discounted counts of transitions, under P and of the expert. log Z comes backwards, W_T = 0,

    Q_t(s, a) = log sum_s' P(s'|s, a) exp(discount^t r(s, a, s') + W_{t+1}(s')),    W_t(s) = log sum_a exp Q_t(s, a)

Ziebart, Maas, Bagnell & Dey, "Maximum Entropy Inverse Reinforcement Learning", AAAI 2008. Information level:
demonstrations, and the dynamics.

Unlike `mce_irl`, P is a distribution over paths, and a path gains when its *outcomes* were lucky, as if
they were chosen too. P's own dynamics are tilted, P(s'|s, a) exp(... + W(s')), and Q takes the log-mean-exp over s'
where the soft Bellman equation takes the mean. In stochastic dynamics that overrates risky actions, no policy makes P,
and the reward of a soft-optimal expert is not recovered; maximum causal entropy mends this. Where dynamics are
deterministic and nothing is discounted both losses are the same. With a discount they are not: the causal loss
discounts entropy as well. Differences from the paper:

1. The paper rolls the policy of its backward pass forward through the true dynamics, an approximation of mu_P in
   stochastic worlds; here mu_P is that of P, the exact gradient of L.
2. One partition function per initial state, so that initial states are not tilted too. Finite horizons only.
3. L-BFGS on the exact loss; a discount; a reward of any shape.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Shaped

from irl.algorithms.base import Algorithm, Info
from irl.control.tabular.demonstrations import check_occupancy
from irl.control.tabular.full_batch import (
    Fitted,
    FullBatchOptimiser,
    Lbfgs,
    Params,
    full_batch,
    minimise,
    with_gradient,
)
from irl.control.tabular.mdp import TabularMdp, check, discounts, start_value, transition_reward
from irl.control.tabular.rewards import TabularReward
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
    """By one pass backwards and one forwards. InputError: an infinite horizon."""
    if mdp.horizon is None:
        raise InputError("maxent_irl: expected a finite horizon, got None; use mce_irl, or give the MDP a horizon")
    table = transition_reward(mdp, reward)
    weights, log_transition = discounts(mdp, mdp.horizon), jnp.log(mdp.transition)

    def outcomes(weight: Array, after: Array) -> Transitions:
        return log_transition + weight * table + after

    def back(after: Array, weight: Array) -> tuple[Array, tuple[Array, Array, Array]]:
        q = jax.nn.logsumexp(outcomes(weight, after), axis=-1)
        value = jax.nn.logsumexp(q, axis=-1)
        return value, (value, jax.nn.softmax(q, axis=-1), after)

    def forth(carry: tuple[Array, Array], now: tuple[Array, Array, Array]) -> tuple[tuple[Array, Array], None]:
        (state, counts), (weight, policy, after) = carry, now
        chosen = state[:, None] * policy
        moved = chosen[..., None] * jax.nn.softmax(outcomes(weight, after), axis=-1)
        return (moved.sum(axis=(0, 1)), counts + weight * moved), None

    dtype = jnp.result_type(table, mdp.transition)
    _, (value, policy, after) = jax.lax.scan(back, jnp.zeros(mdp.states, dtype), weights, reverse=True)
    start = mdp.initial.astype(dtype), jnp.zeros(table.shape, dtype)
    (_, counts), _ = jax.lax.scan(forth, start, (weights, policy, after))
    return PathDistribution(value, policy, counts)


@record
class MaxEntIrl:
    """Settings of MaxEnt IRL; the batch of a step is the expert's counts of transitions [states, actions, states].

    They are `tabular_demonstrations.empirical_transitions`, or `tabular.transition_occupancy` of a known policy.
    """

    optimiser: FullBatchOptimiser = Lbfgs()
    l2: Weight = 0.0
    """Adds l2/2 * |params|^2."""

    def make(self, mdp: TabularMdp, reward: TabularReward) -> Algorithm:
        check(mdp)

        def loss(params: Params, expert: Float[Array, "..."]) -> tuple[Array, Info]:
            value, info = maxent_path_loss(mdp, reward.apply(params), expert)
            return value + 0.5 * self.l2 * optax.tree.norm(params, squared=True), info

        return full_batch(reward.init, loss, self.optimiser)

    def fit(
        self,
        mdp: TabularMdp,
        reward: TabularReward,
        expert: Shaped[Array, "..."],
        key: jax.Array,
        *,
        steps: int = 500,
        tolerance: float = 1e-8,
    ) -> Fitted:
        """At most `steps` of them, until the gradient's norm is within the tolerance. InputError: bad counts."""
        algorithm = self.make(mdp, reward)
        check_occupancy(mdp, expert, mdp.transition.shape)
        return minimise(algorithm, expert, key, steps=steps, tolerance=tolerance)


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
