"""AIRL on seals/CartPole-v0: a portable reward, learned from demonstrations with five seeds in one program.

    traceward run cartpole_airl

Expect: all five seeds at 500, the expert's return (40 of 40 new seeds: LOG.md), within 133,000 environment steps each;
the report includes a new policy trained on the frozen reward. `head_scale` matters: with initial rewards far from 0 in
states where the pole has fallen, one seed in ten fails. Variations: --seeds 16; --retrain 0; --imitator.pay f.
"""

from experiments.control.backends import PureJax
from experiments.control.expert import TrainedExpert
from experiments.control.imitate import Imitate
from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.airl import TransitionAirl
from irl.control.learners.ppo import Ppo
from irl.control.rewards import RewardMlp, ShapedReward

config = Imitate(
    title="AIRL on seals/CartPole-v0",
    environment=PureJax(id="seals/CartPole-v0"),
    expert=TrainedExpert(learner=Ppo(learning_rate=1e-3)),
    imitator=TransitionAirl(
        discriminator=Discriminator(learning_rate=2e-3, updates=4),
        network=ShapedReward(
            base=RewardMlp(normalise=False, head_scale=0.01),
            potential=RewardMlp(normalise=False, action=False, head_scale=0.01),
            discount=0.95,
        ),
    ),
    learner=Ppo(learning_rate=2e-3, discount=0.95),
    retrain=65,
)
