"""What an imitator declares. A new imitator is one file with one subclass of `Imitator`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple

import jax
from jaxtyping import Array, Num

from irl.control.agent import Agent, AgentState
from irl.control.spaces import Space
from irl.control.types import Transitions

LearnedReward = Callable[[AgentState, Transitions], jax.Array]
"""(state of a trained agent, transitions) -> the reward that carries over"""


class Shown(NamedTuple):
    """What an imitator may use: never the reward of the environment."""

    observation: Space
    action: Space
    demonstrations: Transitions
    asked: Callable[[AgentState, Num[Array, "batch ..."]], Array] | None
    """(state of the expert, observations) -> its actions; None where the expert cannot be asked"""
    expert: AgentState
    """Its state."""


class Imitator(ABC):
    """The config class of an imitator."""

    has_policy: ClassVar[bool] = True
    """It trains the policy of a learner, which can begin as a clone of the demonstrations."""

    @abstractmethod
    def imitate(self, learner: Agent, shown: Shown) -> tuple[Agent, LearnedReward | None]:
        """The imitator as an agent whose step takes an `ImitationBatch`, and its reward, if it learns one."""
