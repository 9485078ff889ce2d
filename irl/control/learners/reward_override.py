"""A learner trained on another reward than the environment's, such as a density or a frozen learned reward."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Float

from irl.algorithms.base import Info
from irl.control.agent import Agent, AgentState
from irl.control.types import Rollout, Transitions
from reward_models.types import Array


def with_reward(learner: Agent, reward: Callable[[Transitions], Float[Array, " batch"]]) -> Agent:
    """The learner on `reward` of its transitions; its step takes a `Rollout`."""

    def step(state: AgentState, rollout: Rollout, key: jax.Array) -> tuple[AgentState, Info]:
        values = reward(rollout.transitions()).reshape(rollout.reward.shape)
        state, info = learner.step(state, rollout._replace(reward=values), key)
        return state, info | {"learned_reward": values.mean()}

    return learner._replace(step=step)


class FrozenRewardState(NamedTuple):
    """The state of a learner, and the frozen parameters of its reward, which differ between seeds."""

    learner: AgentState
    frozen: Any

    @property
    def params(self) -> Any:
        """The parameters of the learner."""
        return self.learner.params


def with_frozen_reward(
    learner: Agent, reward: Callable[[Any, Transitions], Float[Array, " batch"]]
) -> tuple[Agent, Callable[[Any, jax.Array], FrozenRewardState]]:
    """The learner on `reward(frozen, transitions)`, and `begin(frozen, key) -> state`, which replaces its init."""

    def begin(frozen: Any, key: jax.Array) -> FrozenRewardState:
        return FrozenRewardState(learner.init(key), frozen)

    def init(key: jax.Array) -> FrozenRewardState:
        raise TypeError("with_frozen_reward: no init without a reward: train(..., start=begin(frozen, key))")

    def step(state: FrozenRewardState, rollout: Rollout, key: jax.Array) -> tuple[FrozenRewardState, Info]:
        agent = with_reward(learner, lambda transitions: reward(state.frozen, transitions))
        learned, info = agent.step(state.learner, rollout, key)
        return state._replace(learner=learned), info

    return learner.nested(init, step), begin
