"""A learner on another reward than its environment's: density of demonstrations, or a learned reward that is frozen."""

from collections.abc import Callable

import jax
from jaxtyping import Float

from irl.algorithms.base import Info
from irl.control.agent import Agent, AgentState
from irl.control.types import Rollout, Transitions
from reward_models.types import Array


def rewarded(learner: Agent, reward: Callable[[Transitions], Float[Array, " batch"]]) -> Agent:
    """The learner, paid `reward` of its transitions; takes rollouts."""

    def step(state: AgentState, rollout: Rollout, key: jax.Array) -> tuple[AgentState, Info]:
        paid = reward(rollout.transitions()).reshape(rollout.reward.shape)
        state, info = learner.step(state, rollout._replace(reward=paid), key)
        return state, info | {"learned_reward": paid.mean()}

    return learner._replace(step=step)
