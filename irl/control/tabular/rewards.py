"""Rewards of a tabular MDP as functions of parameters: theta . phi, or a perceptron on phi.

phi are features of states [states, features], or of states and actions [states, actions, features]; the identity matrix
gives every state, or pair, its own parameter. The resulting table has one of the shapes of mdp.py.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from irl.control.networks import Params, perceptron
from irl.types import InputError
from reward_models.ranges import Weight, Widths
from reward_models.records import record


class TabularReward(NamedTuple):
    """(init, apply) of a reward table."""

    init: Callable[[jax.Array], Params]
    """key -> params"""
    apply: Callable[[Params], Float[Array, "..."]]
    """params -> r[s], r[s, a] or r[s, a, s']"""


class TabularRewardConfig(ABC):
    """The config class of a tabular reward."""

    @abstractmethod
    def make(self, features: Shaped[Array, "..."]) -> TabularReward:
        """The reward on features of states, or of states and actions."""


@record
class LinearReward(TabularRewardConfig):
    """r = theta . phi (Ziebart et al. 2008): the exact losses are convex in theta."""

    init_scale: Weight = 0.0
    """Standard deviation of the initial theta."""

    def make(self, features: Shaped[Array, "..."]) -> TabularReward:
        _check(features)

        def init(key: jax.Array) -> Params:
            return self.init_scale * jax.random.normal(key, features.shape[-1:], features.dtype)

        return TabularReward(init, lambda theta: jnp.dot(features, theta, precision="highest"))


@record
class MlpReward(TabularRewardConfig):
    """A perceptron on phi with tanh units, which are smooth, for line searches."""

    hidden: Widths = (32, 32)

    def make(self, features: Shaped[Array, "..."]) -> TabularReward:
        _check(features)
        network = perceptron((features.shape[-1], *self.hidden, 1))

        def init(key: jax.Array) -> Params:
            return jax.tree.map(lambda leaf: leaf.astype(features.dtype), network.init(key))

        def apply(params: Params) -> Float[Array, "states *actions"]:
            rows = features.reshape(-1, features.shape[-1])
            return network.apply(params, rows).reshape(features.shape[:-1])

        return TabularReward(init, apply)


def _check(features: Shaped[Array, "..."]) -> None:
    if features.ndim not in (2, 3) or not features.size:
        shapes = "[states, features] or [states, actions, features]"
        raise InputError(f"features: expected {shapes}, got shape {features.shape}")
    if not jnp.issubdtype(features.dtype, jnp.floating):
        raise InputError(f"features: expected floats, got dtype {features.dtype}")
    bad = ~np.isfinite(np.asarray(features))
    if bad.any():
        raise InputError(f"features{np.argwhere(bad)[0].tolist()}: NaN or infinite, as {bad.sum()} of {bad.size} are")
