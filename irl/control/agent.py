"""The contract of all that learns by acting: PPO on a given reward, GAIL around PPO, Q-learning on demonstrations.

An `Agent` is an `Algorithm` (init, step) that can also act. What a step needs beside the rollout is its own affair:
learners take a `Rollout`, imitators an `ImitationBatch`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Float, Num

from irl.algorithms.base import Info
from irl.control.types import Rollout, Transitions
from reward_models.types import Array

AgentState = Any


class ImitationBatch(NamedTuple):
    """What the agent did, and what the expert did."""

    rollout: Rollout
    demonstrations: Transitions


class Agent(NamedTuple):
    """Pure functions; observations and actions come in batches."""

    init: Callable[[jax.Array], AgentState]
    """key -> state"""
    act: Callable[[AgentState, Num[Array, "batch ..."], jax.Array], tuple[Array, Float[Array, " batch"]]]
    """(state, observations, key) -> (actions, their log-probabilities in nats): exploring"""
    best: Callable[[AgentState, Num[Array, "batch ..."]], Array]
    """(state, observations) -> actions: what it would do in earnest"""
    log_prob: Callable[[AgentState, Num[Array, "batch ..."], Array], Float[Array, " batch"]]
    """(state, observations, actions) -> nats"""
    step: Callable[[AgentState, Any, jax.Array], tuple[AgentState, Info]]
    """(state, batch, key) -> (state, info)"""
