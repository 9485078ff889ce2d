"""A replay buffer of fixed size as a pytree: new steps overwrite the oldest, minibatches are drawn uniformly.

    row of the n-th inserted step = n mod capacity

Lin, "Self-improving reactive agents based on reinforcement learning, planning and teaching", 1992; Mnih et al. 2015.
Steps that a time limit truncated are stored like all others: only `terminated` means that there is no future.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from irl.control.spaces import Space
from irl.control.types import Rollout, Transitions, flat


class Experience(NamedTuple):
    """Transitions with rewards, in any order."""

    observation: Num[Array, "batch *observation"]
    action: Num[Array, "batch *action"]
    next_observation: Num[Array, "batch *observation"]
    terminated: Bool[Array, " batch"]
    reward: Float[Array, " batch"]


class Replay(NamedTuple):
    """The last `capacity` of `inserted` steps (fewer than 2^31)."""

    rows: Experience
    inserted: Int[Array, ""]


def empty(observation: Space, action: Space, capacity: int) -> Replay:
    """An empty buffer. No two arrays share memory, so that a training step may donate it."""

    def zeros(space: Space) -> Array:
        return jnp.zeros((capacity, *space.shape), space.dtype)

    ends, reward = jnp.zeros(capacity, bool), jnp.zeros(capacity)
    return Replay(Experience(zeros(observation), zeros(action), zeros(observation), ends, reward), jnp.int32(0))


def experience(rollout: Rollout) -> Experience:
    """The steps of a rollout as one batch."""
    return Experience(*rollout.transitions(), flat(rollout.reward))


def insert(replay: Replay, steps: Experience) -> Replay:
    """The buffer after inserting a batch; of a batch larger than the buffer, its last steps."""
    capacity, count = len(replay.rows.reward), len(steps.reward)
    rows = (replay.inserted + jnp.arange(count)[-capacity:]) % capacity
    stored = jax.tree.map(lambda old, new: old.at[rows].set(new[-capacity:]), replay.rows, steps)
    return Replay(stored, replay.inserted + count)


def sample(replay: Replay, key: jax.Array, shape: tuple[int, ...]) -> Experience:
    """Steps of the buffer, drawn with replacement, with the leading axes `shape`."""
    filled = jnp.minimum(replay.inserted, len(replay.rows.reward))
    rows = jax.random.randint(key, shape, 0, filled)
    return jax.tree.map(lambda leaf: leaf[rows], replay.rows)


def balanced(replay: Replay, demonstrations: Transitions, key: jax.Array, shape: tuple[int, ...]) -> Experience:
    """Demonstrated steps with reward 1, then as many of the buffer with reward 0, along the last axis of `shape`."""
    expert_key, replay_key = jax.random.split(key)
    count = len(demonstrations.terminated)
    rows = jax.random.randint(expert_key, shape, 0, count)
    expert = jax.tree.map(lambda leaf: leaf[rows], Experience(*demonstrations, jnp.ones(count)))
    policy = sample(replay, replay_key, shape)._replace(reward=jnp.zeros(shape))
    return jax.tree.map(lambda first, second: jnp.concatenate([first, second], axis=len(shape) - 1), expert, policy)
