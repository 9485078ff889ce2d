"""Steps of behaviour as arrays: single transitions for rewards, rollouts for learners, trajectories on the host."""

from typing import NamedTuple

import jax
from jaxtyping import Bool, Float, Num, PyTree, Shaped

from reward_models.types import Array


class Transitions(NamedTuple):
    """Steps (s, a, s') in any order: all that a reward reads. `terminated` is the end of the task, no time limit."""

    observation: Num[Array, "batch *observation"]
    action: Num[Array, "batch *action"]
    next_observation: Num[Array, "batch *observation"]
    terminated: Bool[Array, " batch"]


class Rollout(NamedTuple):
    """What `envs` environments did in `time` steps one after another; episodes may end inside.

    `next_observation` is what the step led to, also at the end of an episode, where `observation` goes on with another.
    """

    observation: Num[Array, "time envs *observation"]
    action: Num[Array, "time envs *action"]
    next_observation: Num[Array, "time envs *observation"]
    terminated: Bool[Array, "time envs"]
    truncated: Bool[Array, "time envs"]
    reward: Float[Array, "time envs"]
    log_prob: Float[Array, "time envs"]
    """Of the action, by who took it, in nats."""

    def transitions(self) -> Transitions:
        """Its steps as one batch, time before environments."""
        return flat(Transitions(self.observation, self.action, self.next_observation, self.terminated))


def flat(tree: PyTree[Shaped[Array, "time envs ..."]]) -> PyTree[Shaped[Array, "batch ..."]]:
    """[time, envs, ...] as [time * envs, ...] for every array of a pytree."""
    return jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), tree)
