"""Soft Q-learning for discrete actions: values of a policy that maximises rewards plus entropy.

    L = 1/2 E[(Q(s, a) - r - discount V'(s'))^2],    V(s) = T log sum_a exp(Q(s, a) / T),    pi = softmax(Q / T)

Haarnoja et al., "Reinforcement Learning with Deep Energy-Based Policies", ICML 2017 (arXiv 1702.08165), eq. 5, 6 and 11
with sums in place of integrals; V' is computed by the target network. Soft Q-learning, SAC and IQ-Learn share
`SoftCritic`. Information level: the rewards of the rollout. Differences from the paper:

1. V' = 0 if the task has terminated; a truncated step bootstraps.
2. The policy is exact, no sampler is trained. Greedy actions are the most likely ones.
3. Target networks and minibatches as in off_policy.py; training starts with the first rollout, from Q near 0 and
   therefore from a nearly uniform policy.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.algorithms.base import Info
from irl.control.learners.off_policy import Inputs, OffPolicy, OffPolicyFunctions, OffPolicyLearner
from irl.control.learners.replay import Experience
from irl.control.networks import Params, at_actions, distribution, perceptron
from irl.control.spaces import Discrete, Space
from irl.types import InputError
from reward_models.ranges import Scale, Share, Widths
from reward_models.records import record


class SoftCritic(NamedTuple):
    """Values under an entropy-regularised policy; params have an entry "critic"."""

    q: Callable[[Params, Inputs, Array], Float[Array, "critics batch"]]
    """(critic, inputs, actions) -> Q(s, a) of each critic"""
    value: Callable[[Params, Params, Inputs, jax.Array], Float[Array, "critics batch"]]
    """(params, critic, inputs, key) -> E[Q(s, a) - T log pi(a|s)], with pi and T of params and Q of the critic"""
    policy_loss: Callable[[Params, Inputs, jax.Array], tuple[Float[Array, ""], Info]]
    """(params, inputs, key) -> (loss, info) of a policy that is not a function of Q"""


def soft_loss(critic: SoftCritic, discount: float) -> Callable[..., tuple[Float[Array, ""], Info]]:
    """The loss: squared error of every critic to the lowest of the targets, plus the policy's loss."""

    def loss(params: Params, target: Params, batch: Experience, key: jax.Array) -> tuple[Float[Array, ""], Info]:
        value_key, policy_key = jax.random.split(key)
        value = critic.value(params, target, batch.next_observation, value_key).min(axis=0)
        y = jax.lax.stop_gradient(batch.reward + discount * jnp.where(batch.terminated, 0.0, value))
        q = critic.q(params["critic"], batch.observation, batch.action)
        error = 0.5 * ((q - y) ** 2).mean(axis=1).sum()
        policy, info = critic.policy_loss(params, batch.observation, policy_key)
        return error + policy, info | {"q": q.mean(), "critic_loss": error}

    return loss


class SoftLearner(OffPolicyLearner):
    """The config class of an off-policy learner with soft values, which IQ-Learn can train."""

    @abstractmethod
    def critic(self, observation: Space, action: Space) -> SoftCritic:
        """Its values, and the loss of its policy."""


@record
class SoftQ(SoftLearner):
    """Settings of soft Q-learning."""

    discount: Share = 0.99
    temperature: Scale = 0.3
    """T: reward per nat of entropy."""
    hidden: Widths = (64, 64)
    training: OffPolicy = OffPolicy()

    def build(self, observation: Space, action: Space) -> OffPolicyFunctions:
        critic, network = self.critic(observation, action), self._network(observation, action)
        policy, no_extra = distribution(action), jnp.zeros(0)

        def logits(params: Params, inputs: Array) -> Float[Array, "batch n"]:
            return network.apply(params["critic"], inputs) / self.temperature

        def act(params: Params, inputs, steps, key):
            outputs = logits(params, inputs)
            actions = policy.sample(outputs, no_extra, key)
            return actions, policy.log_prob(outputs, no_extra, actions)

        return OffPolicyFunctions(
            init=lambda key: {"critic": network.init(key)},
            target=lambda params: params["critic"],
            act=act,
            greedy=lambda params, inputs: policy.mode(logits(params, inputs), no_extra),
            log_prob=lambda params, inputs, steps, actions: policy.log_prob(logits(params, inputs), no_extra, actions),
            loss=soft_loss(critic, self.discount),
        )

    def critic(self, observation: Space, action: Space) -> SoftCritic:
        network = self._network(observation, action)

        def value(params: Params, critic: Params, inputs, key) -> Float[Array, "1 batch"]:
            return soft_value(network.apply(critic, inputs), self.temperature)[None]

        return SoftCritic(
            q=lambda critic, inputs, actions: at_actions(network.apply(critic, inputs), actions)[None],
            value=value,
            policy_loss=lambda params, inputs, key: (jnp.zeros(()), {}),
        )

    def _network(self, observation: Space, action: Space):
        if not isinstance(action, Discrete):
            raise InputError(f"SoftQ: expected discrete actions, got {action}; use Sac for boxes")
        return perceptron((observation.width, *self.hidden, action.n), jax.nn.relu, head_scale=0.01)


def soft_value(q: Float[Array, "*batch n"], temperature: float) -> Float[Array, "*batch"]:
    """T log sum_a exp(Q(s, a) / T)."""
    return temperature * jax.nn.logsumexp(q / temperature, axis=-1)
