"""SQIL: reinforcement learning with reward 1 for demonstrated steps and reward 0 for the policy's own steps.

    minibatch = {(s, a, s', 1) of the expert} + {(s, a, s', 0) of the policy}, half each; then soft Q-learning on it

Reddy, Dragan & Levine, "SQIL: Imitation Learning via Reinforcement Learning with Sparse Rewards", ICLR 2020 (arXiv
1905.11108), algorithm 1. It learns a policy; its rewards are constants, so none is portable. Information level:
demonstrations. Differences from the paper:

1. Soft Q-learning for discrete actions and SAC for boxes, as in the paper; any off-policy learner, such as the DQN of
   `imitation`, may take their place.
2. The two halves have equal sizes: the paper's lambda_samp is 1.
3. Target networks of the critics, which equation 1 of the paper does not have.
4. The value after termination is 0, so the policy learns not to terminate even if the expert does.
"""

from typing import ClassVar

from irl.control.agent import Agent
from irl.control.algorithms.base import ImitationProblem, Imitator
from irl.control.learners.off_policy import OffPolicyLearner, imitating
from irl.control.learners.soft_q import SoftQ
from irl.control.spaces import Space
from reward_models.records import record


@record
class Sqil(Imitator):
    """Settings of SQIL: its learner."""

    trains_learner: ClassVar[bool] = False

    learner: OffPolicyLearner = SoftQ(discount=0.97)

    def make(self, observation: Space, action: Space) -> Agent:
        """An agent whose step takes an `ImitationBatch`; `learner.training.batch` is the size of each half."""
        return imitating(self.learner.training, self.learner.build(observation, action), observation, action)

    def imitate(self, learner: Agent, problem: ImitationProblem) -> tuple[Agent, None]:
        return self.make(problem.observation, problem.action), None
