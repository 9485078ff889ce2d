"""Soft Q-learning for discrete actions: values of a policy that is paid for its entropy.

    L = 1/2 E[(Q(s, a) - r - discount V'(s'))^2],    V(s) = T log sum_a exp(Q(s, a) / T),    pi = softmax(Q / T)

Haarnoja et al., "Reinforcement Learning with Deep Energy-Based Policies", ICML 2017 (arXiv 1702.08165), eq. 5, 6 and 11
with sums in place of integrals; V' is that of the slow copy of Q. `SoftCritic` is what soft Q-learning, SAC and
IQ-Learn have in common. Information level: rewards, of whatever kind the rollout holds. Differences from the paper:

1. V' = 0 where the task is over (terminated); where a time limit cut it off, it bootstraps.
2. The policy is exact: no sampler is trained. `best` takes the most likely action.
3. Slow copies and minibatches as in off_policy.py; learning starts with the first rollout, from a Q near 0 and so a
   policy near chance.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.algorithms.base import Info
from irl.control.agent import Agent
from irl.control.learners.dqn import at
from irl.control.learners.off_policy import Inputs, Learner, OffPolicy, learning
from irl.control.learners.replay import Experience
from irl.control.networks import Params, distribution, perceptron
from irl.control.spaces import Discrete, Space
from irl.types import InputError
from reward_models.ranges import Scale, Share, Widths
from reward_models.records import record


class SoftCritic(NamedTuple):
    """Values under a policy that is paid for its entropy; params have a part "critic"."""

    q: Callable[[Params, Inputs, Array], Float[Array, "critics batch"]]
    """(critic, inputs, actions) -> Q(s, a) of each critic"""
    value: Callable[[Params, Params, Inputs, jax.Array], Float[Array, "critics batch"]]
    """(params, critic, inputs, key) -> E[Q(s, a) - T log pi(a|s)]: pi and T of params, Q of the critic"""
    policy_loss: Callable[[Params, Inputs, jax.Array], tuple[Float[Array, ""], Info]]
    """(params, inputs, key): what moves the policy, if it is not a function of Q"""


def soft_loss(critic: SoftCritic, discount: float) -> Callable[..., tuple[Float[Array, ""], Info]]:
    """The loss of a `Learner`: every critic's squared error to the lowest of the targets, and the policy's loss."""

    def loss(params: Params, target: Params, batch: Experience, key: jax.Array) -> tuple[Float[Array, ""], Info]:
        of_value, of_policy = jax.random.split(key)
        value = critic.value(params, target, batch.next_observation, of_value).min(axis=0)
        goal = jax.lax.stop_gradient(batch.reward + discount * jnp.where(batch.terminated, 0.0, value))
        q = critic.q(params["critic"], batch.observation, batch.action)
        error = 0.5 * ((q - goal) ** 2).mean(axis=1).sum()
        policy, info = critic.policy_loss(params, batch.observation, of_policy)
        return error + policy, info | {"q": q.mean(), "critic_loss": error}

    return loss


@record
class SoftQ:
    """Settings of soft Q-learning."""

    discount: Share = 0.99
    temperature: Scale = 0.3
    """T: what a nat of entropy is worth, in rewards."""
    hidden: Widths = (64, 64)
    training: OffPolicy = OffPolicy()

    def make(self, observation: Space, action: Space) -> Agent:
        return learning(self.training, self.build(observation, action), observation, action)

    def build(self, observation: Space, action: Space) -> Learner:
        """What learns, without its memory."""
        critic, network = self.critic(observation, action), self._network(observation, action)
        policy = distribution(action)
        nothing = jnp.zeros(0)

        def logits(params: Params, inputs: Array) -> Float[Array, "batch n"]:
            return network.apply(params["critic"], inputs) / self.temperature

        def act(params: Params, inputs, taken, key):
            chances = logits(params, inputs)
            actions = policy.sample(chances, nothing, key)
            return actions, policy.log_prob(chances, nothing, actions)

        return Learner(
            init=lambda key: {"critic": network.init(key)},
            slow=lambda params: params["critic"],
            act=act,
            best=lambda params, inputs: policy.best(logits(params, inputs), nothing),
            log_prob=lambda params, inputs, taken, actions: policy.log_prob(logits(params, inputs), nothing, actions),
            loss=soft_loss(critic, self.discount),
        )

    def critic(self, observation: Space, action: Space) -> SoftCritic:
        """Its values."""
        network = self._network(observation, action)

        def value(params: Params, critic: Params, inputs, key) -> Float[Array, "1 batch"]:
            return soft_value(network.apply(critic, inputs), self.temperature)[None]

        return SoftCritic(
            q=lambda critic, inputs, actions: at(network.apply(critic, inputs), actions)[None],
            value=value,
            policy_loss=lambda params, inputs, key: (jnp.zeros(()), {}),
        )

    def _network(self, observation: Space, action: Space):
        if not isinstance(action, Discrete):
            raise InputError(f"SoftQ: expected discrete actions, got {action}; Sac is for boxes")
        return perceptron((observation.width, *self.hidden, action.n), jax.nn.relu, head_scale=0.01)


def soft_value(q: Float[Array, "*batch n"], temperature: float) -> Float[Array, "*batch"]:
    """T log sum_a exp(Q(s, a) / T)."""
    return temperature * jax.nn.logsumexp(q / temperature, axis=-1)
