"""Generative adversarial imitation: match the expert's visits to states and actions by a game.

    max_D  E_E[log D(s, a)] + E_pi[log(1 - D(s, a))],    D = sigmoid(l),    r = -log(1 - D) for the policy

Ho & Ermon, "Generative Adversarial Imitation Learning", NeurIPS 2016 (arXiv 1606.03476), algorithm 1. The logit fades
as the policy becomes the expert, so what is learned is a policy and a training signal, no reward to carry elsewhere:
see airl.py for that. Information level: demonstrations. Differences from the paper:

1. D is high on the expert (the paper's is high on the policy), so the paper's cost log D is the reward log(1 - D) here.
2. Any learner in the place of TRPO; `reward_map` may be another than the paper's.
3. Options of later work: gradient penalty, spectral normalisation, label smoothing.
"""

from typing import Literal

from irl.control.agent import Agent
from irl.control.algorithms.adversarial import Discriminator, Game, adversarial_agent
from irl.control.rewards import RewardConfig, RewardMlp
from irl.control.spaces import Space
from reward_models.records import record
from reward_models.reward_maps import REWARD_MAPS


@record
class Gail(Game):
    """Settings of GAIL."""

    discriminator: Discriminator = Discriminator()
    network: RewardConfig = RewardMlp()
    reward_map: Literal["gail", "gail_loss", "airl", "fkl"] = "gail"
    """gail | gail_loss | airl | fkl: what the policy is paid for a logit."""

    def make(self, learner: Agent, observation: Space, action: Space) -> Agent:
        network, reward_map = self.network.make(observation, action), REWARD_MAPS[self.reward_map]
        return adversarial_agent(
            self.discriminator,
            learner,
            network,
            logit=lambda params, transitions, log_prob: network.apply(params, transitions),
            pay=lambda params, transitions, log_prob: reward_map(network.apply(params, transitions)),
        )
