"""A learner on another reward than its environment's: density of demonstrations, or a learned reward that is frozen."""

from collections.abc import Callable
from typing import Any, NamedTuple

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


class Paid(NamedTuple):
    """A learner, and what its reward is made of: each seed of many has its own."""

    learner: AgentState
    frozen: Any

    @property
    def params(self) -> Any:
        """The learner's."""
        return self.learner.params


def rewarded_by(
    learner: Agent, reward: Callable[[Any, Transitions], Float[Array, " batch"]]
) -> tuple[Agent, Callable[[Any, jax.Array], Paid]]:
    """The learner, paid `reward(frozen, transitions)`, and `begin(frozen, key)`, its state: it has no other init."""

    def begin(frozen: Any, key: jax.Array) -> Paid:
        return Paid(learner.init(key), frozen)

    def init(key: jax.Array) -> Paid:
        raise TypeError("rewarded_by: begin with the frozen reward: train(..., start=begin(frozen, key))")

    def step(state: Paid, rollout: Rollout, key: jax.Array) -> tuple[Paid, Info]:
        paid = rewarded(learner, lambda transitions: reward(state.frozen, transitions))
        learned, info = paid.step(state.learner, rollout, key)
        return state._replace(learner=learned), info

    agent = Agent(
        init,
        act=lambda state, observations, key: learner.act(state.learner, observations, key),
        best=lambda state, observations: learner.best(state.learner, observations),
        log_prob=lambda state, observations, actions: learner.log_prob(state.learner, observations, actions),
        step=step,
    )
    return agent, begin
