"""Maximum causal entropy IRL in tables: the reward whose soft-optimal policy visits what the expert visits.

    L(theta) = E_{s ~ p_0} V_0(s) - sum_{s, a} mu_E(s, a) r(s, a)                                       (nats)
    grad L = sum_{s, a} (mu_pi - mu_E)(s, a) grad r(s, a)

V and pi solve the soft Bellman equation of mdp.py for r = r_theta, mu are discounted occupancies of pi
and of the expert. Where mu_E is that of a policy in the same dynamics, L is exactly the expert's expected negative
causal log-likelihood, - E_E sum_t discount^t log pi_t(a_t|s_t). For theta . phi it is convex, and its minimum matches
the expert's feature counts.

Ziebart, Bagnell & Dey, "Modeling Interaction via the Principle of Maximum Causal Entropy", ICML 2010; Ziebart's thesis
(CMU, 2010); infinite horizons: Bloem & Bambos, CDC 2014; discounts: Gleave & Toyer 2022 (arXiv 2203.11409).
Information level: demonstrations, and the dynamics. Differences from the papers:

1. L-BFGS on the exact loss in place of (exponentiated) gradient steps.
2. The reward is any differentiable table, linear or not.
3. Demonstrations enter as their empirical occupancy (`tabular_demonstrations.empirical_occupancy`) alone. In stochastic
   dynamics L then differs from the likelihood of those very demonstrations by how their luck differs from the dynamics.
4. An expert that never takes some action has its reward at infinity; `l2` makes the minimum finite.
"""

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
from irl.control.tabular.mdp import (
    Plan,
    TabularMdp,
    check,
    expected_reward,
    occupancy,
    soft_value_iteration,
    start_value,
)
from irl.control.tabular.rewards import TabularReward
from irl.types import InputError
from reward_models.ranges import Positive, Weight
from reward_models.records import record


@record
class MceIrl:
    """Settings of MCE-IRL; the batch of a step is the expert's occupancy [states, actions]."""

    optimiser: FullBatchOptimiser = Lbfgs()
    l2: Weight = 0.0
    """Adds l2/2 * |params|^2."""
    planning_tolerance: Positive = 1e-10
    """Error of values over an infinite horizon, in nats."""

    def make(self, mdp: TabularMdp, reward: TabularReward) -> Algorithm:
        check(mdp)

        def loss(params: Params, expert: Float[Array, "..."]) -> tuple[Array, Info]:
            value, info = mce_loss(mdp, reward.apply(params), expert, tolerance=self.planning_tolerance)
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
        """At most `steps` of them, until the gradient's norm is within the tolerance. InputError: a bad occupancy."""
        algorithm = self.make(mdp, reward)
        check_occupancy(mdp, expert, (mdp.states, mdp.actions))
        return minimise(algorithm, expert, key, steps=steps, tolerance=tolerance)


def mce_loss(
    mdp: TabularMdp, reward: Float[Array, "..."], expert: Float[Array, "..."], *, tolerance: float | Array = 1e-10
) -> tuple[Float[Array, ""], Info]:
    """L of the module docstring, `expert` [states, actions]; info: the largest difference of the occupancies.

    First derivatives only.
    """
    if expert.shape != (mdp.states, mdp.actions):
        raise InputError(f"occupancy: expected shape {(mdp.states, mdp.actions)}, got {expert.shape}")
    table = expected_reward(mdp, reward)
    plan: Plan = soft_value_iteration(mdp, jax.lax.stop_gradient(table), tolerance=tolerance)
    gap = occupancy(mdp, plan.policy) - expert
    value = start_value(mdp, plan.value) - jnp.vdot(expert, table)
    return with_gradient(value, table, gap), {"occupancy_gap": jnp.abs(gap).max()}
