"""IQ-Learn: the expert's soft Q-function, found directly; it holds both the policy and the reward.

    max_Q  E_E[r] - (1 - discount) E[V(s0)] - E[r^2] / (4 alpha),    r(s, a, s') = Q(s, a) - discount V(s')

Garg et al., "IQ-Learn: Inverse soft-Q Learning for Imitation", NeurIPS 2021 (arXiv 2106.12142), algorithm 1, with the
chi^2 regulariser phi(x) = x - x^2 / (4 alpha). V is that of soft Q-learning for integers and of SAC for boxes, whose
policy follows Q by SAC's loss. The value of the first states telescopes over the steps of any policy mu:

    (1 - discount) E[V(s0)] = E_mu[V(s) - discount V(s')]

With mu the expert's, the two linear terms together are -T E_E[log pi(a|s)], behavioural cloning; with half of mu the
learner's own steps they also say what not to do. Information level: demonstrations. Differences from the paper:

1. `value_share` and `penalty_share` say how much of mu, and of the regulariser, lies on own steps (0: experts only).
2. What is after the end of a task is one absorbing state of value v, which is learned (`absorbing`): it pays
   (1 - discount) v for ever, which enters each term in closed form with the weight of all steps after the end,
   discount / (1 - discount). Without it v is 0, and that alone tells a learner to live on or to end (Al-Hafez et al.
   2023, arXiv 2303.00599).
3. Of twin critics each has its own r and V, and their losses are added; the policy climbs the lower one.
4. The temperature T of V is the learner's: one more scale, which the paper sets to 1 in its equations.
5. `gradient_penalty` holds the gradient of Q with respect to what it reads near 1, between expert and own steps.
"""

from collections.abc import Callable
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.algorithms.base import Info
from irl.control.agent import Agent
from irl.control.algorithms.base import Imitator, LearnedReward, Shown
from irl.control.learners.off_policy import Learner, State, imitating, inputs
from irl.control.learners.replay import Experience
from irl.control.learners.sac import Sac
from irl.control.learners.soft_q import SoftCritic, SoftQ
from irl.control.networks import Params
from irl.control.spaces import Box, Space
from irl.control.types import Transitions
from reward_models.ranges import Scale, Share, Weight
from reward_models.records import record


@record
class IqLearn(Imitator):
    """Settings of IQ-Learn."""

    has_policy: ClassVar[bool] = False

    learner: SoftQ | Sac = SoftQ(discount=0.97)
    alpha: Scale = 0.5
    """Of the regulariser; the larger, the larger rewards may be."""
    value_share: Share = 0.5
    """Of mu, on own steps."""
    penalty_share: Share = 0.5
    """Of the regulariser, on own steps."""
    absorbing: bool = True
    """The value of what is after the end of a task is learned, not 0."""
    gradient_penalty: Weight = 0.0
    """lambda of E[(|grad Q| - 1)^2]."""

    def make(self, observation: Space, action: Space) -> Agent:
        """An agent whose step takes an `ImitationBatch`; `learner.training.batch` is the size of either half."""
        return imitating(self.learner.training, self.build(observation, action), observation, action)

    def imitate(self, learner: Agent, shown: Shown) -> tuple[Agent, LearnedReward]:
        spaces = shown.observation, shown.action
        return self.make(*spaces), self.reward(*spaces)

    def build(self, observation: Space, action: Space) -> Learner:
        """What learns, without its memory."""
        base, critic = self.learner.build(observation, action), self.learner.critic(observation, action)
        return base._replace(
            init=lambda key: base.init(key) | {"absorbing": jnp.zeros(())},
            loss=iq_loss(self, critic, continuous=isinstance(action, Box)),
        )

    def reward(self, observation: Space, action: Space) -> Callable[[State, Transitions], Float[Array, " batch"]]:
        """(state, transitions) -> the recovered reward Q(s, a) - discount V(s').

        After the end V is 0 here: what the absorbing state would pay is paid on entering it, so that any learner can
        use the reward. Of twin critics it is the mean; V of a box of actions is that of one action per state, always
        the same draw.
        """
        critic = self.learner.critic(observation, action)

        def reward(state: State, transitions: Transitions) -> Float[Array, " batch"]:
            here, there = (
                inputs(self.learner.training, observation, state.moments, seen)
                for seen in (transitions.observation, transitions.next_observation)
            )
            q = critic.q(state.params["critic"], here, transitions.action)
            after = critic.value(state.params, state.params["critic"], there, jax.random.key(0))
            return (q - self.learner.discount * jnp.where(transitions.terminated, 0.0, after)).mean(axis=0)

        return reward


def iq_loss(config: IqLearn, critic: SoftCritic, *, continuous: bool) -> Callable[..., tuple[Float[Array, ""], Info]]:
    """The loss of a `Learner` on minibatches whose demonstrations have reward 1, and own steps 0."""
    discount = config.learner.discount

    def loss(params: Params, target: Params, batch: Experience, key: jax.Array) -> tuple[Float[Array, ""], Info]:
        of_here, of_there, of_mix = jax.random.split(key, 3)
        acting = jax.lax.stop_gradient({k: v for k, v in params.items() if k != "critic"})
        value = critic.value(acting, params["critic"], batch.observation, of_here)
        after = critic.value(acting, params["critic"], batch.next_observation, of_there)
        q = critic.q(params["critic"], batch.observation, batch.action)
        absorbed = params["absorbing"] if config.absorbing else jnp.zeros(())
        objective, info = iq_objective(config, batch, q, value, after, absorbed, discount=discount)
        policy, of_policy = critic.policy_loss(params, batch.observation, of_here)
        total = policy - objective
        if config.gradient_penalty:
            total += config.gradient_penalty * _gradient_penalty(critic, params, batch, of_mix, continuous)
        return total, info | of_policy

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
    """What is maximised, summed over critics; `absorbed` is the value of the absorbing state."""
    expert = batch.reward / batch.reward.sum()
    own = (1 - batch.reward) / (1 - batch.reward).sum()
    ends = batch.terminated
    after = discount * jnp.where(ends, absorbed, next_value)
    reward = q - after
    tail = discount * absorbed * ends
    tail_square = discount * (1 - discount) * absorbed**2 * ends
    first = (value - after + tail) @ _mixed(expert, own, config.value_share)
    square = (reward**2 + tail_square) @ _mixed(expert, own, config.penalty_share)
    objective = (reward + tail) @ expert - first - square / (4 * config.alpha)
    info = {
        "objective": objective.sum(),
        "expert_reward": (reward @ expert).mean(),
        "own_reward": (reward @ own).mean(),
        "first_value": first.mean() / (1 - discount) if discount < 1 else first.mean(),
    }
    return objective.sum(), info


def _mixed(expert: Float[Array, " batch"], own: Float[Array, " batch"], share: float) -> Float[Array, " batch"]:
    return (1 - share) * expert + share * own


def _gradient_penalty(
    critic: SoftCritic, params: Params, batch: Experience, key: jax.Array, continuous: bool
) -> Float[Array, ""]:
    """E[(|grad Q| - 1)^2] between each demonstrated step and an own one; integers stay the expert's."""
    half = len(batch.reward) // 2
    share = jax.random.uniform(key, (half,))

    def mix(values: Array) -> Array:
        weight = share.reshape(-1, *[1] * (values.ndim - 1))
        return weight * values[:half] + (1 - weight) * values[half:]

    seen = mix(batch.observation)
    done = mix(batch.action) if continuous else batch.action[:half]

    def total(seen: Array, done: Array) -> Float[Array, ""]:
        return critic.q(params["critic"], seen, done).mean(axis=0).sum()

    grads = jax.grad(total, argnums=(0, 1) if continuous else (0,))(seen, done)
    square = sum((g.reshape(half, -1) ** 2).sum(axis=1) for g in grads)
    return ((jnp.sqrt(square + 1e-12) - 1) ** 2).mean()
