"""Behaviour as arrays: transitions for rewards, and rollouts for learners."""

from typing import NamedTuple

import jax
from jaxtyping import Bool, Float, Num, PyTree, Shaped

from reward_models.types import Array


class Transitions(NamedTuple):
    """Steps (s, a, s') in any order: the input of a reward. A time limit does not count as `terminated`."""

    observation: Num[Array, "batch *observation"]
    action: Num[Array, "batch *action"]
    next_observation: Num[Array, "batch *observation"]
    terminated: Bool[Array, " batch"]


class Rollout(NamedTuple):
    """`time` consecutive steps of `envs` environments; an episode may end anywhere.

    `next_observation` is the observation that a step leads to. At the end of an episode it differs from the following
    `observation`, which is the first of the next episode.
    """

    observation: Num[Array, "time envs *observation"]
    action: Num[Array, "time envs *action"]
    next_observation: Num[Array, "time envs *observation"]
    terminated: Bool[Array, "time envs"]
    truncated: Bool[Array, "time envs"]
    reward: Float[Array, "time envs"]
    log_prob: Float[Array, "time envs"]
    """Log-probability of the action under the policy that took it, in nats."""

    def transitions(self) -> Transitions:
        """The steps as one batch, ordered by time, then by environment."""
        return flat(Transitions(self.observation, self.action, self.next_observation, self.terminated))


def flat(tree: PyTree[Shaped[Array, "time envs ..."]]) -> PyTree[Shaped[Array, "batch ..."]]:
    """Reshape [time, envs, ...] to [time * envs, ...] in every array of a pytree."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)
