"""AIRL on seals/CartPole-v0: a reward that carries over, learned from demonstrations by five seeds side by side.

    traceward run cartpole_airl

Expect: most of them at 500, the expert's return (5 of 5, 7 of 10: LOG.md), within 133,000 steps each; a fresh policy on
the frozen reward is reported beside them. Obvious variations: --seeds 16; --retrain 0; --imitator.network.base.action
False.
"""

from experiments.arenas import PureJax
from experiments.expert import TrainedExpert
from experiments.imitate import Imitate
from irl.control.adversarial import Discriminator
from irl.control.airl import TransitionAirl
from irl.control.ppo import Ppo
from irl.control.rewards import RewardMlp, ShapedReward

config = Imitate(
    title="AIRL on seals/CartPole-v0",
    environment=PureJax(id="seals/CartPole-v0"),
    expert=TrainedExpert(learner=Ppo(learning_rate=1e-3)),
    imitator=TransitionAirl(
        discriminator=Discriminator(updates=4),
        network=ShapedReward(
            base=RewardMlp(normalise=False), potential=RewardMlp(normalise=False, action=False), discount=0.95
        ),
    ),
    learner=Ppo(learning_rate=1e-3, discount=0.95),
    retrain=65,
)
