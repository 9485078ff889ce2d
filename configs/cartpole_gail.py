"""GAIL on seals/CartPole-v0: five seeds, rollouts and learning in one compiled program.

    traceward run cartpole_gail

Expect: all five seeds at 500, the expert's return, within 133,000 environment steps each; half a minute on two cores.
Variations: --seeds 16; --imitator.discriminator.gradient-penalty 1; --retrain 60.
"""

from experiments.control.backends import PureJax
from experiments.control.expert import TrainedExpert
from experiments.control.imitate import Imitate
from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.gail import Gail
from irl.control.learners.ppo import Ppo
from irl.control.rewards import RewardMlp

config = Imitate(
    title="GAIL on seals/CartPole-v0",
    environment=PureJax(id="seals/CartPole-v0"),
    expert=TrainedExpert(learner=Ppo(learning_rate=1e-3)),
    imitator=Gail(discriminator=Discriminator(updates=8, batch=512), network=RewardMlp(normalise=False)),
    learner=Ppo(learning_rate=1e-3, discount=0.95, hidden=(32, 32), epochs=5),
)
