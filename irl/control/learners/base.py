"""The interface of reinforcement learners. A new learner is one file with one registered subclass of `Learner`."""

from abc import ABC, abstractmethod

from irl.control.agent import Agent
from irl.control.spaces import Space


class Learner(ABC):
    """The config class of a reinforcement learner."""

    discount: float

    @abstractmethod
    def make(self, observation: Space, action: Space) -> Agent:
        """The agent; its step takes a `Rollout` and learns from the rewards in it.

        Raises:
            InputError: The learner does not support the action space.
        """

    def scheduled(self, rollouts: int) -> "Learner":
        """The settings for a training of this length; learning rates decay within it."""
        return self
