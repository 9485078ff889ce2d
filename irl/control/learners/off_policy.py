"""What off-policy learners share: a memory of steps, minibatches from it, Adam, and slow copies of their critics.

A `Learner` is what they differ in: parameters, policy, and the loss of a minibatch. One step of an agent inserts the
rollout and then takes `updates` steps of Adam, each on minibatches of its own, after each of which the slow copy moves:

    target <- target + target_rate (params - target),    every target_period updates

which is the hard copy of Mnih et al. 2015 at rate 1 and the soft one of Lillicrap et al. 2016 (arXiv 1509.02971) at
period 1. Minibatches are drawn before the first update, in one go. Adam moves all parameters as one vector.
Observations reach a learner as vectors, brought to one scale if `normalise` is set.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Num

from irl.algorithms.base import Info
from irl.control.agent import Agent, ImitationBatch
from irl.control.learners.replay import Experience, Replay, balanced, empty, experience, insert, sample
from irl.control.moments import Moments, no_moments, normalised, updated
from irl.control.networks import Params
from irl.control.spaces import Space, features
from irl.control.types import Rollout, flat
from reward_models.ranges import Count, PositiveShare, Rate, Rows
from reward_models.records import record

Inputs = Float[Array, "batch width"]
"""Observations as vectors."""
Taken = Int[Array, ""]
"""Environment steps so far: schedules go by them."""


class Learner(NamedTuple):
    """Pure functions; what they read of an observation is a vector."""

    init: Callable[[jax.Array], Params]
    """key -> params"""
    slow: Callable[[Params], Params]
    """The part of params that has a slow copy, the target."""
    act: Callable[[Params, Inputs, Taken, jax.Array], tuple[Array, Float[Array, " batch"]]]
    """(params, inputs, taken, key) -> (actions, their log-probabilities in nats)"""
    best: Callable[[Params, Inputs], Array]
    log_prob: Callable[[Params, Inputs, Taken, Array], Float[Array, " batch"]]
    loss: Callable[[Params, Params, Experience, jax.Array], tuple[Float[Array, ""], Info]]
    """(params, target, minibatch, key) -> (loss, info)"""


class State(NamedTuple):
    params: Params
    opt_state: optax.OptState
    target: Params
    updates: Int[Array, ""]
    replay: Replay
    moments: Moments
    """Of observations."""


@record
class OffPolicy:
    """How a learner is trained."""

    learning_rate: Rate = 1e-3
    capacity: Rows = 50_000
    """Steps that the memory holds."""
    batch: Rows = 64
    """Steps of a minibatch; of imitators, of either side."""
    updates: Rows = 16
    """Gradient steps on each rollout."""
    target_rate: PositiveShare = 0.01
    target_period: Count = 1
    normalise: bool = False
    """Observations by their running mean and variance."""


def learning(config: OffPolicy, learner: Learner, observation: Space, action: Space) -> Agent:
    """An agent that learns from the rewards of rollouts."""

    def read(rollout: Rollout) -> tuple[Rollout, Callable]:
        return rollout, lambda replay, key, shape: sample(replay, key, shape)

    return _agent(config, learner, observation, action, read)


def imitating(config: OffPolicy, learner: Learner, observation: Space, action: Space) -> Agent:
    """An agent whose minibatches are half demonstrations, at reward 1, and half its own steps, at reward 0."""

    def read(batch: ImitationBatch) -> tuple[Rollout, Callable]:
        return batch.rollout, lambda replay, key, shape: balanced(replay, batch.demonstrations, key, shape)

    return _agent(config, learner, observation, action, read)


def inputs(config: OffPolicy, space: Space, moments: Moments, observations: Num[Array, "..."]) -> Float[Array, "..."]:
    """Observations as a learner reads them."""
    read = features(space, observations)
    return normalised(moments, read) if config.normalise else read


def _agent(
    config: OffPolicy,
    learner: Learner,
    observation: Space,
    action: Space,
    read: Callable[[Any], tuple[Rollout, Callable]],
) -> Agent:
    """`read` says of what a step takes: what the agent did, and how minibatches are drawn."""
    optimiser = optax.flatten(optax.adam(config.learning_rate))

    def seen(state: State, observations: Array) -> Array:
        return inputs(config, observation, state.moments, observations)

    def init(key: jax.Array) -> State:
        params = learner.init(key)
        return State(
            params,
            optimiser.init(params),
            jax.tree.map(jnp.copy, learner.slow(params)),
            jnp.int32(0),
            empty(observation, action, config.capacity),
            no_moments((observation.width,)),
        )

    def step(state: State, batch: Any, key: jax.Array) -> tuple[State, Info]:
        rollout, draw = read(batch)
        state = state._replace(replay=insert(state.replay, experience(rollout)))
        if config.normalise:
            moments = updated(state.moments, features(observation, flat(rollout.observation)))
            state = state._replace(moments=moments)
        of_draw, of_losses = jax.random.split(key)
        drawn = draw(state.replay, of_draw, (config.updates, config.batch))
        drawn = drawn._replace(
            observation=seen(state, drawn.observation), next_observation=seen(state, drawn.next_observation)
        )
        return _updated(config, learner, optimiser, state, drawn, jax.random.split(of_losses, config.updates))

    return Agent(
        init,
        act=lambda state, obs, key: learner.act(state.params, seen(state, obs), state.replay.inserted, key),
        best=lambda state, obs: learner.best(state.params, seen(state, obs)),
        log_prob=lambda state, obs, actions: learner.log_prob(
            state.params, seen(state, obs), state.replay.inserted, actions
        ),
        step=step,
    )


def _updated(
    config: OffPolicy,
    learner: Learner,
    optimiser: optax.GradientTransformation,
    state: State,
    minibatches: Experience,
    keys: jax.Array,
) -> tuple[State, Info]:
    """A step of Adam on each minibatch."""

    def update(carry, at):
        params, opt_state, target, count = carry
        (loss, info), grads = jax.value_and_grad(learner.loss, has_aux=True)(params, target, *at)
        changes, opt_state = optimiser.update(grads, opt_state, params)
        params, count = optax.apply_updates(params, changes), count + 1
        rate = jnp.where(count % config.target_period == 0, config.target_rate, 0.0)
        target = optax.incremental_update(learner.slow(params), target, rate)
        return (params, opt_state, target, count), info | {"loss": loss}

    fresh = learner.slow(state.params)  # which may have been cloned from an expert since init
    target = jax.tree.map(lambda now, old: jnp.where(state.updates == 0, now, old), fresh, state.target)
    carry = (state.params, state.opt_state, target, state.updates)
    (params, opt_state, target, count), infos = jax.lax.scan(update, carry, (minibatches, keys))
    state = State(params, opt_state, target, count, state.replay, state.moments)
    return state, jax.tree.map(jnp.mean, infos)
