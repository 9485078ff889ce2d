"""Reward networks of transitions: perceptrons, shaped rewards with a portable part, and ensembles.

The params of a perceptron are {"network", "moments"}. The moments normalise inputs; they receive no gradient and are
updated by `observe`.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from irl.control.moments import empty_moments, normalised, update_moments
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
    """The trained function, shaping included."""
    portable: Callable[[Params, Transitions], Float[Array, " batch"]]
    """The reward that transfers to other policies and environments, without shaping."""
    observe: Callable[[Params, Transitions], Params]
    """(params, transitions) -> params whose moments include these transitions"""


class RewardConfig(ABC):
    """The config class of a reward network. A new one is a registered subclass."""

    @abstractmethod
    def make(self, observation: Space, action: Space) -> RewardNetwork:
        """The reward network of transitions in these spaces."""


@record
class RewardMlp(RewardConfig):
    """A perceptron r(s, a, s', terminated) on a choice of these inputs."""

    hidden: Widths = (32, 32)
    observation: bool = True
    action: bool = True
    next_observation: bool = False
    terminated: bool = False
    normalise: bool = True
    spectral_norm: bool = False
    head_scale: Weight = 1.0
    """Scale of the last layer's initial weights: near 0, all transitions have about the same initial reward."""

    def __post_init__(self):
        if not (self.observation or self.action or self.next_observation or self.terminated):
            raise InputError("RewardMlp: no inputs; set one of observation, action, next_observation, terminated")

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
            return {"network": network.init(key), "moments": empty_moments((width,))}

        def apply(params: Params, transitions: Transitions) -> Float[Array, " batch"]:
            inputs = read(transitions)
            if self.normalise:
                inputs = normalised(jax.lax.stop_gradient(params["moments"]), inputs)
            return network.apply(params["network"], inputs)[:, 0]

        def observe(params: Params, transitions: Transitions) -> Params:
            return (
                {**params, "moments": update_moments(params["moments"], read(transitions))}
                if self.normalise
                else params
            )

        return RewardNetwork(init, apply, apply, observe)


@record
class ShapedReward(RewardConfig):
    """f(s, a, s') = g(s, a) + discount h(s') - h(s), h = 0 after termination: Fu et al. 2018 (arXiv 1710.11248), eq. 4.

    Only g is portable. With deterministic dynamics, a g of the state alone (`action=False`) recovers the reward up to
    a constant (theorem 5.1 of the paper).
    """

    base: RewardMlp = RewardMlp()
    potential: RewardMlp = RewardMlp(action=False)
    discount: Share = 0.99

    def make(self, observation: Space, action: Space) -> RewardNetwork:
        if self.potential.action or self.potential.next_observation or self.potential.terminated:
            raise InputError("ShapedReward.potential: expected observation as the only input")
        base, potential = self.base.make(observation, action), self.potential.make(observation, action)

        def init(key: jax.Array) -> Params:
            first, second = jax.random.split(key)
            return {"base": base.init(first), "potential": potential.init(second)}

        def apply(params: Params, transitions: Transitions) -> Float[Array, " batch"]:
            following = transitions._replace(observation=transitions.next_observation)
            both = jax.tree.map(lambda *leaves: jnp.concatenate(leaves), transitions, following)
            value, next_value = jnp.split(potential.apply(params["potential"], both), 2)
            shaping = self.discount * jnp.where(transitions.terminated, 0.0, next_value) - value
            return base.apply(params["base"], transitions) + shaping

        def portable(params: Params, transitions: Transitions) -> Float[Array, " batch"]:
            return base.apply(params["base"], transitions)

        def observe(params: Params, transitions: Transitions) -> Params:
            return {
                "base": base.observe(params["base"], transitions),
                "potential": potential.observe(params["potential"], transitions),
            }

        return RewardNetwork(init, apply, portable, observe)


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
    """The outputs of every member of an ensemble."""
    return jax.vmap(function, in_axes=(0, None))(params, transitions)
