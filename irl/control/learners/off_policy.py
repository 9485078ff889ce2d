"""The common part of off-policy learners: replay buffer, minibatches, Adam, and target networks.

`OffPolicyFunctions` hold what differs: parameters, policy, and the loss of a minibatch. One step of an agent inserts a
rollout into the buffer, then takes `updates` steps of Adam. After each of them the target parameters move:

    target <- target + target_rate (params - target),    every target_period updates

which is the hard update of Mnih et al. 2015 at rate 1 and the soft update of Lillicrap et al. 2016 (arXiv 1509.02971)
at period 1. All minibatches of a step are drawn at once, before the first update. Adam updates all parameters as one
vector. Observations are flattened, and normalised if `normalise` is set.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Num

from irl.algorithms.base import Info
from irl.control.agent import Agent, ImitationBatch
from irl.control.learners.base import Learner
from irl.control.learners.replay import Experience, Replay, balanced, empty, experience, insert, sample
from irl.control.moments import Moments, empty_moments, normalised, update_moments
from irl.control.networks import Params
from irl.control.spaces import Space, features
from irl.control.types import Rollout, flat
from reward_models.ranges import Count, PositiveShare, Rate, Rows
from reward_models.records import record

Inputs = Float[Array, "batch width"]
"""Observations as vectors."""
StepCount = Int[Array, ""]
"""Environment steps so far, the argument of schedules."""


class OffPolicyFunctions(NamedTuple):
    """Pure functions of an off-policy learner."""

    init: Callable[[jax.Array], Params]
    """key -> params"""
    target: Callable[[Params], Params]
    """params -> the part that has a target network"""
    act: Callable[[Params, Inputs, StepCount, jax.Array], tuple[Array, Float[Array, " batch"]]]
    """(params, inputs, steps, key) -> (actions, their log-probabilities in nats)"""
    greedy: Callable[[Params, Inputs], Array]
    """(params, inputs) -> greedy actions"""
    log_prob: Callable[[Params, Inputs, StepCount, Array], Float[Array, " batch"]]
    """(params, inputs, steps, actions) -> nats"""
    loss: Callable[[Params, Params, Experience, jax.Array], tuple[Float[Array, ""], Info]]
    """(params, target, minibatch, key) -> (loss, info)"""


class State(NamedTuple):
    params: Params
    opt_state: optax.OptState
    target: Params
    updates: Int[Array, ""]
    replay: Replay
    moments: Moments
    """Moments of observations."""


@record
class OffPolicy:
    """Training of an off-policy learner."""

    learning_rate: Rate = 1e-3
    capacity: Rows = 50_000
    """Size of the replay buffer, in steps."""
    batch: Rows = 64
    """Steps in a minibatch; for imitators, steps of the expert and steps of the policy each."""
    updates: Rows = 16
    """Gradient steps per rollout."""
    target_rate: PositiveShare = 0.01
    target_period: Count = 1
    normalise: bool = False
    """Normalise observations by their running mean and variance."""


class OffPolicyLearner(Learner):
    """The config class of an off-policy learner, which SQIL can train on demonstrations."""

    training: OffPolicy

    @abstractmethod
    def build(self, observation: Space, action: Space) -> OffPolicyFunctions:
        """The functions of the learner, without its replay buffer."""

    def make(self, observation: Space, action: Space) -> Agent:
        def read(rollout: Rollout) -> tuple[Rollout, Callable]:
            return rollout, sample

        return _agent(self.training, self.build(observation, action), observation, action, read)


def imitating(config: OffPolicy, functions: OffPolicyFunctions, observation: Space, action: Space) -> Agent:
    """An agent whose minibatches are half demonstrations, with reward 1, and half its own steps, with reward 0."""

    def read(batch: ImitationBatch) -> tuple[Rollout, Callable]:
        return batch.rollout, lambda replay, key, shape: balanced(replay, batch.demonstrations, key, shape)

    return _agent(config, functions, observation, action, read)


def inputs(config: OffPolicy, space: Space, moments: Moments, observations: Num[Array, "..."]) -> Float[Array, "..."]:
    """Observations as inputs of the networks."""
    vectors = features(space, observations)
    return normalised(moments, vectors) if config.normalise else vectors


def _agent(
    config: OffPolicy,
    functions: OffPolicyFunctions,
    observation: Space,
    action: Space,
    read: Callable[[Any], tuple[Rollout, Callable]],
) -> Agent:
    """`read`: batch of a step -> (rollout, (replay, key, shape) -> minibatches)."""
    optimiser = optax.flatten(optax.adam(config.learning_rate))

    def encode(state: State, observations: Array) -> Array:
        return inputs(config, observation, state.moments, observations)

    def init(key: jax.Array) -> State:
        params = functions.init(key)
        return State(
            params,
            optimiser.init(params),
            jax.tree.map(jnp.copy, functions.target(params)),
            jnp.int32(0),
            empty(observation, action, config.capacity),
            empty_moments((observation.width,)),
        )

    def step(state: State, batch: Any, key: jax.Array) -> tuple[State, Info]:
        rollout, draw = read(batch)
        state = state._replace(replay=insert(state.replay, experience(rollout)))
        if config.normalise:
            moments = update_moments(state.moments, features(observation, flat(rollout.observation)))
            state = state._replace(moments=moments)
        draw_key, loss_key = jax.random.split(key)
        drawn = draw(state.replay, draw_key, (config.updates, config.batch))
        minibatches = drawn._replace(
            observation=encode(state, drawn.observation), next_observation=encode(state, drawn.next_observation)
        )
        return _train(config, functions, optimiser, state, minibatches, jax.random.split(loss_key, config.updates))

    return Agent(
        init,
        act=lambda state, obs, key: functions.act(state.params, encode(state, obs), state.replay.inserted, key),
        greedy=lambda state, obs: functions.greedy(state.params, encode(state, obs)),
        log_prob=lambda state, obs, actions: functions.log_prob(
            state.params, encode(state, obs), state.replay.inserted, actions
        ),
        step=step,
    )


def _train(
    config: OffPolicy,
    functions: OffPolicyFunctions,
    optimiser: optax.GradientTransformation,
    state: State,
    minibatches: Experience,
    keys: jax.Array,
) -> tuple[State, Info]:
    """One step of Adam per minibatch."""

    def update(carry, minibatch_and_key):
        params, opt_state, target, count = carry
        (loss, info), grads = jax.value_and_grad(functions.loss, has_aux=True)(params, target, *minibatch_and_key)
        changes, opt_state = optimiser.update(grads, opt_state, params)
        params, count = optax.apply_updates(params, changes), count + 1
        rate = jnp.where(count % config.target_period == 0, config.target_rate, 0.0)
        target = optax.incremental_update(functions.target(params), target, rate)
        return (params, opt_state, target, count), info | {"loss": loss}

    fresh = functions.target(state.params)  # the policy may have been replaced by a clone after init
    target = jax.tree.map(lambda new, old: jnp.where(state.updates == 0, new, old), fresh, state.target)
    carry = (state.params, state.opt_state, target, state.updates)
    (params, opt_state, target, count), infos = jax.lax.scan(update, carry, (minibatches, keys))
    state = State(params, opt_state, target, count, state.replay, state.moments)
    return state, jax.tree.map(jnp.mean, infos)
