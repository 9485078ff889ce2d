"""Soft actor-critic for boxes of actions: a tanh-squashed Gaussian policy that maximises its soft Q-values.

    L_Q     = 1/2 sum_i E[(Q_i(s, a) - r - discount (min_j Q'_j(s', a') - alpha log pi(a'|s')))^2],    a' ~ pi(.|s')
    L_pi    = E[alpha log pi(a|s) - min_j Q_j(s, a)],    a = tanh(mean(s) + std(s) noise)
    L_alpha = - alpha E[log pi(a|s) + H]

Haarnoja et al., "Soft Actor-Critic Algorithms and Applications", 2018 (arXiv 1812.05905), eq. 5, 9 and 18 and algorithm
1, with its twin critics. H is the target entropy in nats, of actions scaled to [-1, 1]. Information level: the rewards
of the rollout. Differences from the paper:

1. Q' = 0 if the task has terminated; a truncated step bootstraps.
2. One step of Adam minimises the sum of the three losses: the policy follows the critics before their update.
3. A tanh bounds log std to [-5, 2], in place of clipping.
4. The inputs of critics are actions scaled to [-1, 1]; actions outside the box are clipped to it.
5. Training starts with the first rollout, without preceding random steps (see off_policy.py).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from irl.algorithms.base import Info
from irl.control.learners.off_policy import OffPolicy, OffPolicyFunctions
from irl.control.learners.soft_q import SoftCritic, SoftLearner, soft_loss
from irl.control.networks import Params, Perceptron, perceptron
from irl.control.spaces import Box, Space
from irl.types import InputError
from reward_models.ranges import Real, Scale, Share, Widths
from reward_models.records import record

LOG_STD = (-5.0, 2.0)


@record
class Sac(SoftLearner):
    """Settings of SAC."""

    discount: Share = 0.99
    temperature: Scale = 1.0
    """Initial alpha."""
    learn_temperature: bool = True
    target_entropy: Real | None = None
    """H in nats; None: -1 per coordinate of an action."""
    hidden: Widths = (64, 64)
    training: OffPolicy = OffPolicy(batch=128)

    def build(self, observation: Space, action: Space) -> OffPolicyFunctions:
        networks = ActorCritic(self, observation, action)

        def act(params: Params, inputs, steps, key):
            unit, log_prob = networks.sample(params, inputs, key)
            return networks.squash.to_box(unit), log_prob - networks.squash.log_scale

        def log_prob(params: Params, inputs, steps, actions):
            unit = networks.squash.to_unit(actions)
            return networks.log_prob(params, inputs, unit) - networks.squash.log_scale

        return OffPolicyFunctions(
            networks.init,
            target=lambda params: params["critic"],
            act=act,
            greedy=lambda params, inputs: networks.squash.to_box(jnp.tanh(networks.policy(params, inputs)[0])),
            log_prob=log_prob,
            loss=soft_loss(networks.soft_critic(), self.discount),
        )

    def critic(self, observation: Space, action: Space) -> SoftCritic:
        return ActorCritic(self, observation, action).soft_critic()


class Squash(NamedTuple):
    """The affine map between actions in a box and vectors in [-1, 1]."""

    middle: Float[Array, " width"]
    half: Float[Array, " width"]
    shape: tuple[int, ...]

    @property
    def log_scale(self) -> Float[Array, ""]:
        """The log-determinant of `to_box`."""
        return jnp.log(self.half).sum()

    def to_box(self, unit: Float[Array, "batch width"]) -> Float[Array, "batch ..."]:
        return (self.middle + self.half * unit).reshape(len(unit), *self.shape)

    def to_unit(self, actions: Float[Array, "batch ..."]) -> Float[Array, "batch width"]:
        return jnp.clip((actions.reshape(len(actions), -1) - self.middle) / self.half, -1.0, 1.0)


def squash(action: Space) -> Squash:
    """Raise InputError unless the space is a box with finite bounds."""
    if not (isinstance(action, Box) and action.bounded):
        raise InputError(
            f"Sac: expected a box of actions with finite bounds, got {action}; use SoftQ or Dqn for discrete actions"
        )
    low, high = (jnp.asarray(edge.reshape(-1)) for edge in action.bounds())
    return Squash((low + high) / 2, (high - low) / 2, action.shape)


class ActorCritic:
    """The networks; params are {"actor", "critic" (of two networks), "log_temperature"}. Actions are in [-1, 1]."""

    def __init__(self, config: Sac, observation: Space, action: Space):
        self.config, self.squash, width = config, squash(action), action.width
        self.target_entropy = -float(width) if config.target_entropy is None else config.target_entropy
        hidden = config.hidden
        self.actor: Perceptron = perceptron((observation.width, *hidden, 2 * width), jax.nn.relu, head_scale=0.01)
        self.critic: Perceptron = perceptron((observation.width + width, *hidden, 1), jax.nn.relu)

    def init(self, key: jax.Array) -> Params:
        actor_key, critic_key = jax.random.split(key)
        return {
            "actor": self.actor.init(actor_key),
            "critic": jax.vmap(self.critic.init)(jax.random.split(critic_key)),
            "log_temperature": jnp.log(jnp.float32(self.config.temperature)),
        }

    def soft_critic(self) -> SoftCritic:
        def q(critic: Params, inputs, actions) -> Float[Array, "2 batch"]:
            return self.q(critic, inputs, self.squash.to_unit(actions))

        def value(params: Params, critic: Params, inputs, key) -> Float[Array, "2 batch"]:
            unit, log_prob = self.sample(params, inputs, key)
            return self.q(critic, inputs, unit) - jnp.exp(params["log_temperature"]) * log_prob

        return SoftCritic(q, value, self.policy_loss)

    def policy(self, params: Params, inputs: Float[Array, "batch width"]) -> tuple[Array, Array]:
        """(means, log standard deviations) before the tanh."""
        mean, spread = jnp.split(self.actor.apply(params["actor"], inputs), 2, axis=-1)
        low, high = LOG_STD
        return mean, low + (high - low) / 2 * (1 + jnp.tanh(spread))

    def sample(self, params: Params, inputs: Array, key: jax.Array) -> tuple[Array, Float[Array, " batch"]]:
        """Actions and their log-densities, by reparametrisation."""
        mean, log_std = self.policy(params, inputs)
        before = mean + jnp.exp(log_std) * jax.random.normal(key, mean.shape)
        return jnp.tanh(before), squashed_log_prob(mean, log_std, before)

    def log_prob(self, params: Params, inputs: Array, unit: Array) -> Float[Array, " batch"]:
        """Log-density of actions after the tanh, clipped to the interior."""
        edge = 1 - 1e-6
        return squashed_log_prob(*self.policy(params, inputs), jnp.arctanh(jnp.clip(unit, -edge, edge)))

    def q(self, critic: Params, inputs: Array, unit: Array) -> Float[Array, "2 batch"]:
        both = jnp.concatenate([inputs, unit], axis=-1)
        return jax.vmap(self.critic.apply, in_axes=(0, None))(critic, both)[..., 0]

    def policy_loss(self, params: Params, inputs: Array, key: jax.Array) -> tuple[Float[Array, ""], Info]:
        """L_pi, plus L_alpha if the temperature is learned."""
        unit, log_prob = self.sample(params, inputs, key)
        alpha, fixed = jnp.exp(params["log_temperature"]), jax.lax.stop_gradient
        q = self.q(fixed(params["critic"]), inputs, unit).min(axis=0)
        loss = (fixed(alpha) * log_prob - q).mean()
        if self.config.learn_temperature:
            loss -= alpha * fixed(log_prob + self.target_entropy).mean()
        return loss, {"entropy": -log_prob.mean(), "temperature": alpha}


def squashed_log_prob(
    mean: Float[Array, "batch width"], log_std: Float[Array, "batch width"], before: Float[Array, "batch width"]
) -> Float[Array, " batch"]:
    """Log-density of tanh(u), u normal (arXiv 1812.05905, appendix C), with a numerically stable log(1 - tanh(u)^2)."""
    z = (before - mean) * jnp.exp(-log_std)
    normal = -0.5 * z**2 - log_std - 0.5 * jnp.log(2 * jnp.pi)
    return (normal - 2 * (jnp.log(2.0) - before - jax.nn.softplus(-2 * before))).sum(axis=-1)
