"""Adversarial inverse reinforcement learning: GAIL's game with a discriminator that contains the policy.

    l(s, a, s') = f(s, a, s') - log pi(a|s),    f = g(s, a) + discount h(s') - h(s),    r = l for the policy

Fu, Luo & Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning", ICLR 2018 (arXiv
1710.11248), algorithm 1. At the optimum f is the expert's advantage, and g, without the shaping, the reward that is
carried to other dynamics (`RewardNetwork.portable`). Information level: demonstrations. Differences from the paper:

1. Any learner in the place of TRPO. Its reward is l, which holds the entropy of the policy as -log pi; for a learner
   that has an entropy of its own (SAC), whose memory would keep old policies' log pi, it may be f (`pay`).
2. `network` is the shaped reward of the paper; `action=False` in its base is the paper's state-only reward.
3. Options of later work: gradient penalty, spectral normalisation, label smoothing.
"""

from typing import Literal

from jaxtyping import Array, Float

from irl.control.agent import Agent
from irl.control.algorithms.adversarial import Discriminator, Game, adversarial_agent
from irl.control.networks import Params
from irl.control.rewards import RewardConfig, ShapedReward
from irl.control.spaces import Space
from irl.control.types import Transitions
from reward_models.records import record


@record
class TransitionAirl(Game):
    """Settings of AIRL."""

    discriminator: Discriminator = Discriminator()
    network: RewardConfig = ShapedReward()
    pay: Literal["logit", "f"] = "logit"
    """logit | f: what the policy earns, l or the shaped reward f."""

    def make(self, learner: Agent, observation: Space, action: Space) -> Agent:
        network = self.network.make(observation, action)

        def f(params: Params, transitions: Transitions, log_prob: Float[Array, " batch"]) -> Float[Array, " batch"]:
            return network.apply(params, transitions)

        def logit(params: Params, transitions: Transitions, log_prob: Float[Array, " batch"]) -> Float[Array, " batch"]:
            return network.apply(params, transitions) - log_prob

        pay = {"logit": logit, "f": f}[self.pay]
        return adversarial_agent(self.discriminator, learner, network, logit=logit, pay=pay)
