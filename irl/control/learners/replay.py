"""A memory of past steps of fixed size, as a pytree: the newest overwrite the oldest, minibatches are drawn uniformly.

    row of the n-th step ever inserted = n mod capacity

Lin, "Self-improving reactive agents based on reinforcement learning, planning and teaching", 1992; Mnih et al. 2015.
What a time limit cut off is kept like any other step: `terminated` alone says that there is no future.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num

from irl.control.spaces import Space
from irl.control.types import Rollout, Transitions, flat


class Experience(NamedTuple):
    """Steps with their rewards, in any order."""

    observation: Num[Array, "batch *observation"]
    action: Num[Array, "batch *action"]
    next_observation: Num[Array, "batch *observation"]
    terminated: Bool[Array, " batch"]
    reward: Float[Array, " batch"]


class Replay(NamedTuple):
    """The last `capacity` steps of `inserted` so far (fewer than 2^31)."""

    rows: Experience
    inserted: Int[Array, ""]


def empty(observation: Space, action: Space, capacity: int) -> Replay:
    """Room for `capacity` steps; no two arrays share memory, so that a step may be given them for good."""

    def room(space: Space) -> Array:
        return jnp.zeros((capacity, *space.shape), space.dtype)

    ends, reward = jnp.zeros(capacity, bool), jnp.zeros(capacity)
    return Replay(Experience(room(observation), room(action), room(observation), ends, reward), jnp.int32(0))


def experience(rollout: Rollout) -> Experience:
    """A rollout's steps as one batch."""
    return Experience(*rollout.transitions(), flat(rollout.reward))


def insert(replay: Replay, steps: Experience) -> Replay:
    """With a batch of steps more; of a batch larger than the memory, its last."""
    capacity, count = len(replay.rows.reward), len(steps.reward)
    places = (replay.inserted + jnp.arange(count)[-capacity:]) % capacity
    rows = jax.tree.map(lambda old, new: old.at[places].set(new[-capacity:]), replay.rows, steps)
    return Replay(rows, replay.inserted + count)


def sample(replay: Replay, key: jax.Array, shape: tuple[int, ...]) -> Experience:
    """`shape` many steps of those in the memory, with replacement."""
    there = jnp.minimum(replay.inserted, len(replay.rows.reward))
    places = jax.random.randint(key, shape, 0, there)
    return jax.tree.map(lambda leaf: leaf[places], replay.rows)


def balanced(replay: Replay, demonstrations: Transitions, key: jax.Array, shape: tuple[int, ...]) -> Experience:
    """`shape` demonstrated steps at reward 1 and, behind them on the last axis, as many of the memory at reward 0."""
    of_expert, of_replay = jax.random.split(key)
    count = len(demonstrations.terminated)
    places = jax.random.randint(of_expert, shape, 0, count)
    expert = jax.tree.map(lambda leaf: leaf[places], Experience(*demonstrations, jnp.ones(count)))
    own = sample(replay, of_replay, shape)._replace(reward=jnp.zeros(shape))
    return jax.tree.map(lambda first, second: jnp.concatenate([first, second], axis=len(shape) - 1), expert, own)
