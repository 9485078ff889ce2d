"""Random worlds: sparse dynamics drawn at random, and a reward that is linear in random features.

Every action in every state leads to `branching` different states with probabilities drawn uniformly from the simplex.
Features and theta are normal; reward = features . theta, of scale `reward_scale`. Episodes begin anywhere.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from irl.control.tabular import TabularMdp, TabularWorld
from irl.types import InputError


@dataclass(frozen=True, kw_only=True)
class RandomMdp:
    """At a branching of 1 the dynamics are deterministic."""

    states: int = 16
    actions: int = 3
    branching: int = 3
    features: int = 4
    horizon: int | None = 10
    discount: float = 1.0
    reward_scale: float = 1.0
    seed: int = 0

    def __post_init__(self):
        sizes = (self.states, self.actions, self.branching, self.features)
        if min(sizes) < 1:
            raise InputError(f"RandomMdp: expected states, actions, branching and features of 1 or more, got {sizes}")
        if self.branching > self.states:
            raise InputError(f"RandomMdp.branching: expected at most {self.states} states, got {self.branching}")

    def make(self) -> TabularWorld:
        rng = np.random.default_rng(self.seed)
        pairs = (self.states, self.actions)
        successor = rng.permuted(np.broadcast_to(np.arange(self.states), (*pairs, self.states)), axis=-1)
        transition = np.zeros((*pairs, self.states))
        chances = rng.dirichlet(np.ones(self.branching), pairs)
        np.put_along_axis(transition, successor[..., : self.branching], chances, axis=-1)
        features = rng.standard_normal((self.states, self.features))
        reward = features @ rng.standard_normal(self.features) * (self.reward_scale / self.features**0.5)
        initial = jnp.full(self.states, 1 / self.states)
        mdp = TabularMdp(jnp.asarray(transition), initial, self.horizon, self.discount)
        return TabularWorld("RandomMdp", mdp, jnp.asarray(reward), jnp.asarray(features))
