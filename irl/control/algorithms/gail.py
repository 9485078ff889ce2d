"""Generative adversarial imitation learning: match the expert's distribution of states and actions.

    max_D  E_E[log D(s, a)] + E_pi[log(1 - D(s, a))],    D = sigmoid(l),    r = -log(1 - D) for the policy

Ho & Ermon, "Generative Adversarial Imitation Learning", NeurIPS 2016 (arXiv 1606.03476), algorithm 1. The logit tends
to 0 as the policy approaches the expert: GAIL learns a policy and a training signal, but no portable reward (see
airl.py). Information level: demonstrations. Differences from the paper:

1. D is high on the expert, not on the policy, so the paper's cost log D becomes the reward -log(1 - D) here.
2. Any learner in place of TRPO, and a choice of reward maps (`reward_map`).
3. Options of later work: gradient penalty, spectral normalisation, label smoothing.
"""

from typing import Literal

from irl.control.agent import Agent
from irl.control.algorithms.adversarial import AdversarialImitator, Discriminator, adversarial_agent
from irl.control.rewards import RewardConfig, RewardMlp
from irl.control.spaces import Space
from reward_models.records import record
from reward_models.reward_maps import REWARD_MAPS


@record
class Gail(AdversarialImitator):
    """Settings of GAIL."""

    discriminator: Discriminator = Discriminator()
    network: RewardConfig = RewardMlp()
    reward_map: Literal["gail", "gail_loss", "airl", "fkl"] = "gail"
    """gail | gail_loss | airl | fkl: the policy's reward as a function of the logit (reward_models/reward_maps.py)."""

    def make(self, learner: Agent, observation: Space, action: Space) -> Agent:
        network, reward_map = self.network.make(observation, action), REWARD_MAPS[self.reward_map]
        return adversarial_agent(
            self.discriminator,
            learner,
            network,
            logit=lambda params, transitions, log_prob: network.apply(params, transitions),
            policy_reward=lambda params, transitions, log_prob: reward_map(network.apply(params, transitions)),
        )
