"""Random MDPs: sparse random dynamics, and a reward that is linear in random features.

Every action in every state leads to `branching` different states, with probabilities from a uniform distribution on the
simplex. Features and theta are normal; reward = features . theta, of scale `reward_scale`. The initial state is
uniform.
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from irl.control.tabular.mdp import TabularMdp, TabularWorld, WorldConfig
from irl.types import InputError
from reward_models.ranges import Few, Seed, Share, Size, Weight
from reward_models.records import record


@record
class RandomMdp(WorldConfig):
    """With branching 1 the dynamics are deterministic."""

    states: Annotated[int, Ge(1), Le(4096)] = 16
    actions: Few = 3
    branching: Annotated[int, Ge(1), Le(4096)] = 3
    features: Annotated[int, Ge(1), Le(4096)] = 4
    horizon: Size | None = 10
    discount: Share = 1.0
    reward_scale: Weight = 1.0
    seed: Seed = 0

    def __post_init__(self):
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
