"""GAIL on Acrobot-v1, whose episodes end early on success, with absorbing states.

    traceward run acrobot_gail

Expect: the expert's return (about -80; LOG.md). Without `absorbing`, a positive reward encourages the policy never to
finish. Variations: --absorbing False; --imitator.reward-map gail_loss.
"""

from experiments.control.backends import PureJax
from experiments.control.expert import TrainedExpert
from experiments.control.imitate import Imitate
from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.gail import Gail
from irl.control.learners.ppo import Ppo
from irl.control.rewards import RewardMlp

config = Imitate(
    title="GAIL on Acrobot",
    environment=PureJax(id="Acrobot-v1"),
    expert=TrainedExpert(learner=Ppo(learning_rate=1e-3, normalise=True)),
    imitator=Gail(discriminator=Discriminator(updates=8), network=RewardMlp(normalise=False)),
    learner=Ppo(learning_rate=1e-3),
    absorbing=True,
)
