"""IQ-Learn: learn the expert's soft Q-function, which determines both policy and reward.

    max_Q  E_E[r] - (1 - discount) E[V(s0)] - E[r^2] / (4 alpha),    r(s, a, s') = Q(s, a) - discount V(s')

Garg et al., "IQ-Learn: Inverse soft-Q Learning for Imitation", NeurIPS 2021 (arXiv 2106.12142), algorithm 1, with the
chi^2 regulariser phi(x) = x - x^2 / (4 alpha). V is the soft value of soft Q-learning for discrete actions and of SAC
for boxes, whose policy follows Q by SAC's loss. The value of initial states telescopes over the steps of any policy mu:

    (1 - discount) E[V(s0)] = E_mu[V(s) - discount V(s')]

If mu is the expert's policy, the two linear terms add up to -T E_E[log pi(a|s)], behavioural cloning. If half of mu are
steps of the learned policy, they also lower the value of non-expert actions. Information level: demonstrations.
Differences from the paper:

1. `value_share` and `penalty_share` are the shares of policy steps in mu and in the regulariser (0: expert steps only).
2. After termination follows one absorbing state with a learned value v (`absorbing`) and reward (1 - discount) v. It
   enters each term in closed form, with the weight of all steps after termination, discount / (1 - discount). A fixed
   v of 0 would make the sign of the rewards decide when episodes end (Al-Hafez et al. 2023, arXiv 2303.00599).
3. Each of twin critics has its own r and V, and their losses are added; the policy maximises the lower one.
4. V has the temperature T of the learner, which is 1 in the equations of the paper.
5. `gradient_penalty` keeps the gradient norm of Q near 1 between expert steps and policy steps.
"""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.algorithms.base import Info
from irl.control.agent import Agent
from irl.control.algorithms.base import ImitationProblem, Imitator, LearnedReward
from irl.control.learners.off_policy import OffPolicyFunctions, State, imitating, inputs
from irl.control.learners.replay import Experience
from irl.control.learners.soft_q import SoftCritic, SoftLearner, SoftQ
from irl.control.networks import Params
from irl.control.spaces import Box, Space
from irl.control.types import Transitions
from reward_models.ranges import Scale, Share, Weight
from reward_models.records import record


@record
class IqLearn(Imitator):
    """Settings of IQ-Learn."""

    trains_learner: ClassVar[bool] = False

    learner: SoftLearner = SoftQ(discount=0.97)
    alpha: Scale = 0.5
    """Scale of the regulariser; larger values allow larger rewards."""
    value_share: Share = 0.5
    """Share of policy steps in mu."""
    penalty_share: Share = 0.5
    """Share of policy steps in the regulariser."""
    absorbing: bool = True
    """Learn the value after termination, instead of 0."""
    gradient_penalty: Weight = 0.0
    """lambda of E[(|grad Q| - 1)^2]."""

    def make(self, observation: Space, action: Space) -> Agent:
        """An agent whose step takes an `ImitationBatch`; `learner.training.batch` is the size of each half."""
        return imitating(self.learner.training, self.build(observation, action), observation, action)

    def imitate(self, learner: Agent, problem: ImitationProblem) -> tuple[Agent, LearnedReward]:
        spaces = problem.observation, problem.action
        return self.make(*spaces), self.reward(*spaces)

    def build(self, observation: Space, action: Space) -> OffPolicyFunctions:
        """The functions of its learner with the loss of IQ-Learn."""
        base, critic = self.learner.build(observation, action), self.learner.critic(observation, action)
        return base._replace(
            init=lambda key: base.init(key) | {"absorbing": jnp.zeros(())},
            loss=iq_loss(self, critic, continuous=isinstance(action, Box)),
        )

    def reward(self, observation: Space, action: Space) -> Callable[[State, Transitions], Float[Array, " batch"]]:
        """(state, transitions) -> the recovered reward Q(s, a) - discount V(s').

        V is 0 after termination: the transition into the absorbing state carries the reward of that state, so that any
        learner can use the reward. Twin critics are averaged. For boxes of actions, V is estimated from one action per
        state, drawn with a fixed key.
        """
        critic = self.learner.critic(observation, action)

        def reward(state: State, transitions: Transitions) -> Float[Array, " batch"]:
            now, following = (
                inputs(self.learner.training, observation, state.moments, each)
                for each in (transitions.observation, transitions.next_observation)
            )
            q = critic.q(state.params["critic"], now, transitions.action)
            next_value = critic.value(state.params, state.params["critic"], following, jax.random.key(0))
            return (q - self.learner.discount * jnp.where(transitions.terminated, 0.0, next_value)).mean(axis=0)

        return reward


def iq_loss(config: IqLearn, critic: SoftCritic, *, continuous: bool) -> Callable[..., tuple[Float[Array, ""], Info]]:
    """The loss on minibatches in which demonstrations have reward 1, and policy steps reward 0."""
    discount = config.learner.discount

    def loss(params: Params, target: Params, batch: Experience, key: jax.Array) -> tuple[Float[Array, ""], Info]:
        value_key, next_key, mixing_key = jax.random.split(key, 3)
        acting = jax.lax.stop_gradient({k: v for k, v in params.items() if k != "critic"})
        value = critic.value(acting, params["critic"], batch.observation, value_key)
        next_value = critic.value(acting, params["critic"], batch.next_observation, next_key)
        q = critic.q(params["critic"], batch.observation, batch.action)
        absorbed = params["absorbing"] if config.absorbing else jnp.zeros(())
        objective, info = iq_objective(config, batch, q, value, next_value, absorbed, discount=discount)
        policy, policy_info = critic.policy_loss(params, batch.observation, value_key)
        total = policy - objective
        if config.gradient_penalty:
            total += config.gradient_penalty * _gradient_penalty(critic, params, batch, mixing_key, continuous)
        return total, info | policy_info

    return loss


def iq_objective(
    config: IqLearn,
    batch: Experience,
    q: Float[Array, "critics batch"],
    value: Float[Array, "critics batch"],
    next_value: Float[Array, "critics batch"],
    absorbed: Float[Array, ""],
    *,
    discount: float,
) -> tuple[Float[Array, ""], Info]:
    """The maximised objective, summed over critics; `absorbed` is the value of the absorbing state."""
    expert = batch.reward / batch.reward.sum()
    policy = (1 - batch.reward) / (1 - batch.reward).sum()
    ends = batch.terminated
    after = discount * jnp.where(ends, absorbed, next_value)
    reward = q - after
    tail = discount * absorbed * ends
    tail_square = discount * (1 - discount) * absorbed**2 * ends
    first = (value - after + tail) @ _mixed(expert, policy, config.value_share)
    square = (reward**2 + tail_square) @ _mixed(expert, policy, config.penalty_share)
    objective = (reward + tail) @ expert - first - square / (4 * config.alpha)
    info = {
        "objective": objective.sum(),
        "expert_reward": (reward @ expert).mean(),
        "own_reward": (reward @ policy).mean(),
        "first_value": first.mean() / (1 - discount) if discount < 1 else first.mean(),
    }
    return objective.sum(), info


def _mixed(expert: Float[Array, " batch"], policy: Float[Array, " batch"], share: float) -> Float[Array, " batch"]:
    return (1 - share) * expert + share * policy


def _gradient_penalty(
    critic: SoftCritic, params: Params, batch: Experience, key: jax.Array, continuous: bool
) -> Float[Array, ""]:
    """E[(|grad Q| - 1)^2] between pairs of expert and policy steps; discrete actions are the expert's."""
    half = len(batch.reward) // 2
    share = jax.random.uniform(key, (half,))

    def mix(values: Array) -> Array:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return weight * values[:half] + (1 - weight) * values[half:]

    observation = mix(batch.observation)
    action = mix(batch.action) if continuous else batch.action[:half]

    def total(observation: Array, action: Array) -> Float[Array, ""]:
        return critic.q(params["critic"], observation, action).mean(axis=0).sum()

    grads = jax.grad(total, argnums=(0, 1) if continuous else (0,))(observation, action)
    square = sum((g.reshape(half, -1) ** 2).sum(axis=1) for g in grads)
    return ((jnp.sqrt(square + 1e-12) - 1) ** 2).mean()
