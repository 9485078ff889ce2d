"""The game of GAIL and AIRL: a discriminator tells expert from policy, and pays the policy for being taken for one.

One step of the agent is one round: `updates` steps of the discriminator on the newest rollout, then one step of the
learner (PPO, say) on that rollout with the learned rewards. What differs between algorithms is the discriminator's
logit and what the policy is paid: see gail.py and airl.py.
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
from irl.control.algorithms.base import Imitator, LearnedReward, Shown
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
    """Of the reward network."""
    opt_state: optax.OptState
    learner: AgentState


@record
class Discriminator:
    """Training of the discriminator in a round."""

    learning_rate: Rate = 1e-3
    updates: Rows = 8
    batch: Rows = 1024
    """Steps of either side in an update, drawn with replacement."""
    gradient_penalty: Weight = 0.0
    """lambda of E[(|grad_x l| - 1)^2] between expert and policy (Gulrajani et al. 2017, arXiv 1704.00028)."""
    label_smoothing: ShareBelowOne = 0.0
    entropy: Weight = 0.0
    """Weight of the entropy of D, which keeps logits small (as OpenAI's GAIL does)."""


class Game(Imitator):
    """The config class of a game."""

    network: RewardConfig

    @abstractmethod
    def make(self, learner: Agent, observation: Space, action: Space) -> Agent:
        """The agent of the game."""

    def imitate(self, learner: Agent, shown: Shown) -> tuple[Agent, LearnedReward]:
        network = self.network.make(shown.observation, shown.action)
        agent = self.make(learner, shown.observation, shown.action)
        return agent, lambda state, transitions: network.portable(state.params, transitions)


OfSteps = Callable[[Params, Transitions, Float[Array, " batch"]], Float[Array, " batch"]]
"""(params, transitions, log-probability of their actions under the policy) -> logit that an expert made them, or pay"""


def adversarial_agent(
    config: Discriminator, learner: Agent, network: RewardNetwork, logit: OfSteps, pay: OfSteps
) -> Agent:
    """The agent of a game. Its step takes an `ImitationBatch`."""
    optimiser = optax.flatten(optax.adam(config.learning_rate))

    def init(key: jax.Array) -> State:
        first, second = jax.random.split(key)
        params = network.init(first)
        return State(params, optimiser.init(params), learner.init(second))

    def step(state: State, batch: ImitationBatch, key: jax.Array) -> tuple[State, Info]:
        of_rows, of_mixing, of_learner = jax.random.split(key, 3)
        made = batch.rollout.transitions()
        made_log_prob = flat(batch.rollout.log_prob)
        params = network.observe(network.observe(state.params, made), batch.demonstrations)

        def update(carry: tuple[Params, Any], given: tuple[Array, jax.Array]):
            (params, opt_state), ((expert_rows, made_rows), of_mixing) = carry, given
            expert = _rows(batch.demonstrations, expert_rows)
            policy, policy_log_prob = _rows((made, made_log_prob), made_rows)
            expert_log_prob = learner.log_prob(state.learner, expert.observation, expert.action)
            both = jax.tree.map(_joined, (expert, expert_log_prob), (policy, policy_log_prob))

            def loss(params: Params) -> tuple[Array, Info]:
                of_expert, of_policy = jnp.split(logit(params, *both), 2)
                value = discriminator_loss(of_expert, of_policy, label_smoothing=config.label_smoothing)
                info = {
                    "discriminator_loss": value,
                    "expert_accuracy": (of_expert > 0).mean(),
                    "policy_accuracy": (of_policy < 0).mean(),
                }
                if config.gradient_penalty:
                    value += config.gradient_penalty * gradient_penalty(network, params, expert, policy, of_mixing)
                if config.entropy:
                    value -= config.entropy * _entropy(jnp.concatenate([of_expert, of_policy]))
                return value, info

            (_, info), grads = jax.value_and_grad(loss, has_aux=True)(params)
            updates, opt_state = optimiser.update(grads, opt_state)
            return (optax.apply_updates(params, updates), opt_state), info

        sizes = jnp.array([[len(batch.demonstrations.terminated)], [len(made_log_prob)]], jnp.uint32)
        rows = jax.random.bits(of_rows, (config.updates, 2, config.batch)) % sizes
        given = (rows, jax.random.split(of_mixing, config.updates))
        (params, opt_state), infos = jax.lax.scan(update, (params, state.opt_state), given)
        reward = pay(params, made, made_log_prob).reshape(batch.rollout.reward.shape)
        learned, info = learner.step(state.learner, batch.rollout._replace(reward=reward), of_learner)
        info = info | jax.tree.map(jnp.mean, infos) | {"learned_reward": reward.mean()}
        return State(params, opt_state, learned), info | {"loss": info["discriminator_loss"]}

    return Agent(
        init,
        act=lambda state, observations, key: learner.act(state.learner, observations, key),
        best=lambda state, observations: learner.best(state.learner, observations),
        log_prob=lambda state, observations, actions: learner.log_prob(state.learner, observations, actions),
        step=step,
    )


def gradient_penalty(
    network: RewardNetwork, params: Params, expert: Transitions, policy: Transitions, key: jax.Array
) -> Float[Array, ""]:
    """E[(|grad l| - 1)^2] with respect to observations that lie between the expert's and the policy's."""
    between = jax.random.uniform(key, (len(expert.terminated),))

    def mix(first: Array, second: Array) -> Array:
        share = between.reshape(-1, *[1] * (first.ndim - 1))
        return share * first + (1 - share) * second

    def value(observation: Array, next_observation: Array) -> Float[Array, ""]:
        mixed = expert._replace(observation=observation, next_observation=next_observation)
        return network.apply(params, mixed).sum()

    points = (
        mix(expert.observation, policy.observation),
        mix(expert.next_observation, policy.next_observation),
    )
    grads = [g.reshape(len(between), -1) for g in jax.grad(value, argnums=(0, 1))(*points)]
    norm = jnp.sqrt(jnp.sum(jnp.concatenate(grads, axis=1) ** 2, axis=1) + 1e-12)
    return ((norm - 1) ** 2).mean()


def _entropy(logit: Float[Array, " batch"]) -> Float[Array, ""]:
    p = jax.nn.sigmoid(logit)
    return (jax.nn.softplus(logit) - p * logit).mean()


def _rows(tree: Any, rows: Array) -> Any:
    return jax.tree.map(lambda leaf: leaf[rows], tree)


def _joined(first: Array, second: Array) -> Array:
    return jnp.concatenate([first, second])
