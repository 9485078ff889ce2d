"""SQIL: imitation by giving demonstrations the reward 1 and the learner's own steps the reward 0.

    minibatch = {(s, a, s', 1) demonstrated} + {(s, a, s', 0) made}, half and half; then soft Q-learning on it

Reddy, Dragan & Levine, "SQIL: Imitation Learning via Reinforcement Learning with Sparse Rewards", ICLR 2020 (arXiv
1905.11108), algorithm 1. It learns a policy: its rewards are constants and nothing to carry elsewhere. Information
level: demonstrations. Differences from the paper:

1. Soft Q-learning for integers and SAC for boxes, as in the paper; DQN too, which is what `imitation` has.
2. The two halves are always of one size: the paper's lambda_samp is 1.
3. Slow copies of the critics, which the paper's equation 1 has not.
4. After the end of a task the value is 0, so that an expert who ends it is imitated in all but that: going on is paid.
"""

from typing import ClassVar

from irl.control.agent import Agent
from irl.control.algorithms.base import Imitator, Shown
from irl.control.learners.dqn import Dqn
from irl.control.learners.off_policy import imitating
from irl.control.learners.sac import Sac
from irl.control.learners.soft_q import SoftQ
from irl.control.spaces import Space
from reward_models.records import record


@record
class Sqil(Imitator):
    """Settings of SQIL: those of what learns."""

    has_policy: ClassVar[bool] = False

    learner: SoftQ | Dqn | Sac = SoftQ(discount=0.97)

    def make(self, observation: Space, action: Space) -> Agent:
        """An agent whose step takes an `ImitationBatch`; `training.batch` is the size of either half."""
        return imitating(self.learner.training, self.learner.build(observation, action), observation, action)

    def imitate(self, learner: Agent, shown: Shown) -> tuple[Agent, None]:
        return self.make(shown.observation, shown.action), None
