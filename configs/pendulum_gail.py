"""GAIL with SAC on Pendulum-v1, which has continuous actions: five seeds in one compiled program.

    traceward run pendulum_gail

Expect: about the expert's return (-150 to -120; LOG.md). Variations: --imitator.reward-map gail; --seeds 16.
"""

from experiments.control.backends import PureJax
from experiments.control.expert import TrainedExpert
from experiments.control.imitate import Imitate
from irl.control.algorithms.adversarial import Discriminator
from irl.control.algorithms.gail import Gail
from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.sac import Sac
from irl.control.rewards import RewardMlp
from irl.train import Schedule

SAC = Sac(training=OffPolicy(batch=128, updates=16))
STEPS = 1500

config = Imitate(
    title="GAIL on Pendulum",
    environment=PureJax(id="Pendulum-v1"),
    expert=TrainedExpert(learner=SAC, envs=4, time=4, schedule=Schedule(steps=STEPS, save_every=STEPS), episodes=32),
    imitator=Gail(
        discriminator=Discriminator(updates=2, batch=256, gradient_penalty=1.0),
        network=RewardMlp(normalise=False),
        reward_map="airl",
    ),
    learner=SAC,
    envs=4,
    time=4,
    schedule=Schedule(steps=STEPS, log_every=50, save_every=STEPS),
)
