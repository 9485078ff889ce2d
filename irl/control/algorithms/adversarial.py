"""Adversarial imitation: the policy is rewarded for being classified as the expert by a discriminator.

One step of the agent is one round: `updates` steps of the discriminator on the newest rollout, then one step of the
learner, such as PPO, on that rollout with the learned rewards. Algorithms differ in the logit of the discriminator and
in the reward of the policy: see gail.py and airl.py.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from irl.algorithms.base import Info
from irl.control.agent import Agent, AgentState, ImitationBatch
from irl.control.algorithms.base import ImitationProblem, Imitator, LearnedReward
from irl.control.networks import Params
from irl.control.rewards import RewardConfig, RewardNetwork
from irl.control.spaces import Space
from irl.control.types import Transitions, flat
from reward_models.losses import discriminator_loss
from reward_models.ranges import Rate, Rows, ShareBelowOne, Weight
from reward_models.records import record
from reward_models.types import Array


class State(NamedTuple):
    params: Params
    """Parameters of the reward network."""
    opt_state: optax.OptState
    learner: AgentState


@record
class Discriminator:
    """Training of the discriminator in each round."""

    learning_rate: Rate = 1e-3
    updates: Rows = 8
    batch: Rows = 1024
    """Steps of the expert, and of the policy, per update, drawn with replacement."""
    gradient_penalty: Weight = 0.0
    """lambda of E[(|grad_x l| - 1)^2] between expert and policy (Gulrajani et al. 2017, arXiv 1704.00028)."""
    label_smoothing: ShareBelowOne = 0.0
    entropy: Weight = 0.0
    """Weight of the entropy of D, which keeps logits small, as in OpenAI's implementation of GAIL."""


class AdversarialImitator(Imitator):
    """The config class of an adversarial imitator."""

    network: RewardConfig

    @abstractmethod
    def make(self, learner: Agent, observation: Space, action: Space) -> Agent:
        """The agent; its step takes an `ImitationBatch`."""

    def imitate(self, learner: Agent, problem: ImitationProblem) -> tuple[Agent, LearnedReward]:
        network = self.network.make(problem.observation, problem.action)
        agent = self.make(learner, problem.observation, problem.action)
        return agent, lambda state, transitions: network.portable(state.params, transitions)


StepFunction = Callable[[Params, Transitions, Float[Array, " batch"]], Float[Array, " batch"]]
"""(params, transitions, log-probability of their actions under the policy) -> logit of the expert, or reward"""


def adversarial_agent(
    config: Discriminator, learner: Agent, network: RewardNetwork, logit: StepFunction, policy_reward: StepFunction
) -> Agent:
    """The agent of an adversarial imitator; its step takes an `ImitationBatch`."""
    optimiser = optax.flatten(optax.adam(config.learning_rate))

    def init(key: jax.Array) -> State:
        reward_key, learner_key = jax.random.split(key)
        params = network.init(reward_key)
        return State(params, optimiser.init(params), learner.init(learner_key))

    def step(state: State, batch: ImitationBatch, key: jax.Array) -> tuple[State, Info]:
        row_key, mixing_key, learner_key = jax.random.split(key, 3)
        generated = batch.rollout.transitions()
        generated_log_prob = flat(batch.rollout.log_prob)
        params = network.observe(network.observe(state.params, generated), batch.demonstrations)

        def update(carry: tuple[Params, Any], drawn: tuple[Array, jax.Array]):
            (params, opt_state), ((expert_rows, policy_rows), mixing_key) = carry, drawn
            expert = _rows(batch.demonstrations, expert_rows)
            policy, policy_log_prob = _rows((generated, generated_log_prob), policy_rows)
            expert_log_prob = learner.log_prob(state.learner, expert.observation, expert.action)
            both = jax.tree.map(_concatenate, (expert, expert_log_prob), (policy, policy_log_prob))

            def loss(params: Params) -> tuple[Array, Info]:
                expert_logit, policy_logit = jnp.split(logit(params, *both), 2)
                value = discriminator_loss(expert_logit, policy_logit, label_smoothing=config.label_smoothing)
                info = {
                    "discriminator_loss": value,
                    "expert_accuracy": (expert_logit > 0).mean(),
                    "policy_accuracy": (policy_logit < 0).mean(),
                }
                if config.gradient_penalty:
                    value += config.gradient_penalty * gradient_penalty(network, params, expert, policy, mixing_key)
                if config.entropy:
                    value -= config.entropy * _entropy(_concatenate(expert_logit, policy_logit))
                return value, info

            (_, info), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, opt_state = optimiser.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), info

        sizes = jnp.array([[len(batch.demonstrations.terminated)], [len(generated_log_prob)]], jnp.uint32)
        rows = jax.random.bits(row_key, (config.updates, 2, config.batch)) % sizes
        drawn = (rows, jax.random.split(mixing_key, config.updates))
        (params, opt_state), infos = jax.lax.scan(update, (params, state.opt_state), drawn)
        reward = policy_reward(params, generated, generated_log_prob).reshape(batch.rollout.reward.shape)
        learned, info = learner.step(state.learner, batch.rollout._replace(reward=reward), learner_key)
        info = info | jax.tree.map(jnp.mean, infos) | {"learned_reward": reward.mean()}
        return State(params, opt_state, learned), info | {"loss": info["discriminator_loss"]}

    agent = learner.nested(init, step)
    return agent._replace(learned=lambda state: {"reward": state.params} | learner.learned(state.learner))


def gradient_penalty(
    network: RewardNetwork, params: Params, expert: Transitions, policy: Transitions, key: jax.Array
) -> Float[Array, ""]:
    """E[(|grad l| - 1)^2] at observations interpolated between the expert's and the policy's."""
    shares = jax.random.uniform(key, (len(expert.terminated),))

    def mix(first: Array, second: Array) -> Array:
        share = shares.reshape(-1, *[1] * (first.ndim - 1))
        return share * first + (1 - share) * second

    def value(observation: Array, next_observation: Array) -> Float[Array, ""]:
        mixed = expert._replace(observation=observation, next_observation=next_observation)
        return network.apply(params, mixed).sum()

    points = (
        mix(expert.observation, policy.observation),
        mix(expert.next_observation, policy.next_observation),
    )
    grads = [g.reshape(len(shares), -1) for g in jax.grad(value, argnums=(0, 1))(*points)]
    norm = jnp.sqrt(jnp.sum(jnp.concatenate(grads, axis=1) ** 2, axis=1) + 1e-12)
    return ((norm - 1) ** 2).mean()


def _entropy(logit: Float[Array, " batch"]) -> Float[Array, ""]:
    p = jax.nn.sigmoid(logit)
    return (jax.nn.softplus(logit) - p * logit).mean()


def _rows(tree: Any, rows: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _concatenate(first: Array, second: Array) -> Array:
    return jnp.concatenate([first, second])
