"""The interface of imitators. A new imitator is one file with one registered subclass of `Imitator`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
from jaxtyping import Array, Num

from irl.algorithms.base import Algorithm
from irl.control.agent import Agent, AgentState
from irl.control.spaces import Space
from irl.control.types import Transitions

LearnedReward = Callable[[AgentState, Transitions], jax.Array]
"""(state of a trained agent, transitions) -> the portable part of its learned reward"""


class ImitationProblem(NamedTuple):
    """The input of an imitator. It contains no reward of the environment."""

    observation: Space
    action: Space
    demonstrations: Transitions
    expert_policy: Callable[[AgentState, Num[Array, "batch ..."]], Array] | None
    """(state of the expert, observations) -> its actions; None if the expert cannot be queried"""
    expert_state: AgentState


class Imitator(ABC):
    """The config class of an imitator."""

    trains_learner: ClassVar[bool] = True
    """It trains the policy of a given learner, which may start from a clone of the demonstrations."""

    @abstractmethod
    def imitate(self, learner: Agent, problem: ImitationProblem) -> tuple[Agent, LearnedReward | None]:
        """The imitator as an agent whose step takes an `ImitationBatch`, and its learned reward, if it has one."""

    def offline(self, agent: Agent, action: Space) -> Algorithm | None:
        """The algorithm of an imitator that never acts; its batches are `Transitions`, its state has `agent`."""
        return None
