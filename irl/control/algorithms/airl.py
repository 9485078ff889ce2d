"""Adversarial inverse reinforcement learning: adversarial imitation whose discriminator contains the policy.

    l(s, a, s') = f(s, a, s') - log pi(a|s),    f = g(s, a) + discount h(s') - h(s),    r = l for the policy

Fu, Luo & Levine, "Learning Robust Rewards with Adversarial Inverse Reinforcement Learning", ICLR 2018 (arXiv
1710.11248), algorithm 1. At the optimum f is the expert's advantage, and g, which excludes the shaping, is the reward
that transfers to other dynamics (`RewardNetwork.portable`). Information level: demonstrations. Differences from the
paper:

1. Any learner in place of TRPO. The reward of the policy is l, whose term -log pi rewards entropy. A learner with its
   own entropy bonus, such as SAC, may use f instead (`pay`): its replay buffer would hold log pi of old policies.
2. `network` is the shaped reward of the paper; `action=False` in its base gives the paper's state-only reward.
3. Options of later work: gradient penalty, spectral normalisation, label smoothing.
"""

from typing import Literal

from jaxtyping import Array, Float

from irl.control.agent import Agent
from irl.control.algorithms.adversarial import AdversarialImitator, Discriminator, adversarial_agent
from irl.control.networks import Params
from irl.control.rewards import RewardConfig, ShapedReward
from irl.control.spaces import Space
from irl.control.types import Transitions
from reward_models.records import record


@record
class TransitionAirl(AdversarialImitator):
    """Settings of AIRL."""

    discriminator: Discriminator = Discriminator()
    network: RewardConfig = ShapedReward()
    pay: Literal["logit", "f"] = "logit"
    """logit | f: the reward of the policy, l or the shaped reward f."""

    def make(self, learner: Agent, observation: Space, action: Space) -> Agent:
        network = self.network.make(observation, action)

        def f(params: Params, transitions: Transitions, log_prob: Float[Array, " batch"]) -> Float[Array, " batch"]:
            return network.apply(params, transitions)

        def logit(params: Params, transitions: Transitions, log_prob: Float[Array, " batch"]) -> Float[Array, " batch"]:
            return network.apply(params, transitions) - log_prob

        policy_reward = {"logit": logit, "f": f}[self.pay]
        return adversarial_agent(self.discriminator, learner, network, logit, policy_reward)
