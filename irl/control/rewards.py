"""Rewards of transitions: perceptrons, shaped ones with a portable part, ensembles.

`params` is {"network", "moments"}: the moments that bring inputs to one scale get no gradient and move by `observe`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from irl.control.moments import no_moments, normalised, updated
from irl.control.networks import Params, perceptron
from irl.control.spaces import Space, features
from irl.control.types import Transitions
from irl.types import InputError
from reward_models.ranges import Share, Weight, Widths
from reward_models.records import record
from reward_models.types import Array


class RewardNetwork(NamedTuple):
    """A reward as pure functions."""

    init: Callable[[jax.Array], Params]
    """key -> params"""
    apply: Callable[[Params, Transitions], Float[Array, " batch"]]
    """What is trained: for a shaped reward, with its shaping."""
    portable: Callable[[Params, Transitions], Float[Array, " batch"]]
    """What is carried over to other policies and environments: without shaping."""
    observe: Callable[[Params, Transitions], Params]
    """(params, transitions) -> params with moments that have seen them."""


@record
class RewardMlp:
    """r(s, a, s', terminated) by a perceptron on those of them that it is to read."""

    hidden: Widths = (32, 32)
    observation: bool = True
    action: bool = True
    next_observation: bool = False
    terminated: bool = False
    normalise: bool = True
    spectral_norm: bool = False
    head_scale: Weight = 1.0
    """Of the last layer's first weights: near 0 all steps are worth the same before anything is learned."""

    def __post_init__(self):
        if not (self.observation or self.action or self.next_observation or self.terminated):
            raise InputError("RewardMlp: reads nothing; set one of observation, action, next_observation, terminated")

    def make(self, observation: Space, action: Space) -> RewardNetwork:
        widths = (observation.width * self.observation, action.width * self.action)
        width = sum(widths) + observation.width * self.next_observation + self.terminated
        layers = (width, *self.hidden, 1)
        network = perceptron(layers, jax.nn.relu, head_scale=self.head_scale, spectral_norm=self.spectral_norm)

        def read(transitions: Transitions) -> Float[Array, "batch width"]:
            parts = [
                (self.observation, lambda: features(observation, transitions.observation)),
                (self.action, lambda: features(action, transitions.action)),
                (self.next_observation, lambda: features(observation, transitions.next_observation)),
                (self.terminated, lambda: transitions.terminated[:, None].astype(jnp.float32)),
            ]
            return jnp.concatenate([part() for wanted, part in parts if wanted], axis=-1)

        def init(key: jax.Array) -> Params:
            return {"network": network.init(key), "moments": no_moments((width,))}

        def apply(params: Params, transitions: Transitions) -> Float[Array, " batch"]:
            inputs = read(transitions)
            if self.normalise:
                inputs = normalised(jax.lax.stop_gradient(params["moments"]), inputs)
            return network.apply(params["network"], inputs)[:, 0]

        def observe(params: Params, transitions: Transitions) -> Params:
            return {**params, "moments": updated(params["moments"], read(transitions))} if self.normalise else params

        return RewardNetwork(init, apply, apply, observe)


@record
class ShapedReward:
    """f(s, a, s') = g(s, a) + discount h(s') - h(s), h = 0 once terminated: Fu et al. 2018 (arXiv 1710.11248), eq. 4.

    Only g is portable. A g of the state alone (`action=False`) recovers a reward up to a constant where dynamics are
    deterministic, by the paper's theorem 5.1.
    """

    base: RewardMlp = RewardMlp()
    potential: RewardMlp = RewardMlp(action=False)
    discount: Share = 0.99

    def make(self, observation: Space, action: Space) -> RewardNetwork:
        if self.potential.action or self.potential.next_observation or self.potential.terminated:
            raise InputError("ShapedReward.potential: expected a function of the observation alone")
        base, potential = self.base.make(observation, action), self.potential.make(observation, action)

        def init(key: jax.Array) -> Params:
            first, second = jax.random.split(key)
            return {"base": base.init(first), "potential": potential.init(second)}

        def apply(params: Params, transitions: Transitions) -> Float[Array, " batch"]:
            after = transitions._replace(observation=transitions.next_observation)
            both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), transitions, after)
            here, there = jnp.split(potential.apply(params["potential"], both), 2)
            shaping = self.discount * jnp.where(transitions.terminated, 0.0, there) - here
            return base.apply(params["base"], transitions) + shaping

        def portable(params: Params, transitions: Transitions) -> Float[Array, " batch"]:
            return base.apply(params["base"], transitions)

        def observe(params: Params, transitions: Transitions) -> Params:
            return {
                "base": base.observe(params["base"], transitions),
                "potential": potential.observe(params["potential"], transitions),
            }

        return RewardNetwork(init, apply, portable, observe)


RewardConfig = RewardMlp | ShapedReward


def ensemble(member: RewardNetwork, members: int) -> RewardNetwork:
    """The mean of independently initialised members; params have a leading axis of members."""

    def init(key: jax.Array) -> Params:
        return jax.vmap(member.init)(jax.random.split(key, members))

    def mean(function: Callable[[Any, Transitions], Array]) -> Callable[[Any, Transitions], Array]:
        return lambda params, transitions: each(function, params, transitions).mean(axis=0)

    def observe(params: Params, transitions: Transitions) -> Params:
        return jax.vmap(member.observe, in_axes=(0, None))(params, transitions)

    return RewardNetwork(init, mean(member.apply), mean(member.portable), observe)


def each(
    function: Callable[[Any, Transitions], Array], params: Params, transitions: Transitions
) -> Float[Array, "members batch"]:
    """What every member of an ensemble says: its spread is where they disagree."""
    return jax.vmap(function, in_axes=(0, None))(params, transitions)
