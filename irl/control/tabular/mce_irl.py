"""Maximum causal entropy IRL: a reward whose soft-optimal policy has the occupancy of the expert.

    L(theta) = E_{s ~ p_0} V_0(s) - sum_{s, a} mu_E(s, a) r(s, a)                                       (nats)
    grad L = sum_{s, a} (mu_pi - mu_E)(s, a) grad r(s, a)

V and pi solve the soft Bellman equation of mdp.py for r = r_theta; mu are the discounted occupancies of pi and of the
expert. If mu_E is the occupancy of a policy in the same dynamics, L is exactly the expert's expected negative causal
log-likelihood, - E_E sum_t discount^t log pi_t(a_t|s_t). For r = theta . phi it is convex, and its minimum matches the
expert's feature counts.

Ziebart, Bagnell & Dey, "Modeling Interaction via the Principle of Maximum Causal Entropy", ICML 2010; Ziebart's thesis
(CMU, 2010); infinite horizons: Bloem & Bambos, CDC 2014; discounts: Gleave & Toyer 2022 (arXiv 2203.11409).
Information level: demonstrations, and the dynamics. Differences from the papers:

1. L-BFGS on the exact loss in place of (exponentiated) gradient steps.
2. The reward is any differentiable table, linear or not.
3. The loss depends on demonstrations only through their empirical occupancy. In stochastic dynamics it differs from
   their likelihood by the deviation of the empirical from the true transition probabilities.
4. The reward of an action that the expert never takes has its optimum at infinity; `l2` makes it finite.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.algorithms.base import Info
from irl.control.tabular.base import TabularIrl
from irl.control.tabular.full_batch import FullBatchOptimiser, Lbfgs, with_gradient
from irl.control.tabular.mdp import TabularMdp, expected_reward, occupancy, soft_value_iteration, start_value
from irl.types import InputError
from reward_models.ranges import Positive, Weight
from reward_models.records import record


@record
class MceIrl(TabularIrl):
    """Settings of MCE-IRL; the batch of a step is the expert's occupancy [states, actions]."""

    optimiser: FullBatchOptimiser = Lbfgs()
    l2: Weight = 0.0
    """Weight of the penalty |params|^2 / 2."""
    planning_tolerance: Positive = 1e-10
    """Error of values over an infinite horizon, in nats."""

    def statistics(self, counts: Float[Array, "states actions states"]) -> Float[Array, "states actions"]:
        return counts.sum(axis=-1)

    def loss(
        self, mdp: TabularMdp, reward: Float[Array, "..."], expert: Float[Array, "..."]
    ) -> tuple[Float[Array, ""], Info]:
        return mce_loss(mdp, reward, expert, tolerance=self.planning_tolerance)


def mce_loss(
    mdp: TabularMdp, reward: Float[Array, "..."], expert: Float[Array, "..."], *, tolerance: float | Array = 1e-10
) -> tuple[Float[Array, ""], Info]:
    """L of the module docstring, `expert` [states, actions]; info: the largest difference of the occupancies.

    First derivatives only.
    """
    if expert.shape != (mdp.states, mdp.actions):
        raise InputError(f"occupancy: expected shape {(mdp.states, mdp.actions)}, got {expert.shape}")
    table = expected_reward(mdp, reward)
    plan = soft_value_iteration(mdp, jax.lax.stop_gradient(table), tolerance=tolerance)
    gap = occupancy(mdp, plan.policy) - expert
    value = start_value(mdp, plan.value) - jnp.vdot(expert, table)
    return with_gradient(value, table, gap), {"occupancy_gap": jnp.abs(gap).max()}
