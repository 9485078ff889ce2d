"""DAgger on seals/MountainCar-v0: an expert that can be asked answers in the states the learner gets into.

    traceward run mountain_car_dagger

Expect: the expert's return (LOG.md). The expert is DQN, which has to find the hill by chance first. Obvious variations:
--imitator.beta.decay 0.5; --schedule.steps 20.
"""

from experiments.arenas import PureJax
from experiments.expert import TrainedExpert
from experiments.imitate import Imitate
from irl.control.dagger import Dagger
from irl.control.dqn import Dqn
from irl.control.off_policy import OffPolicy
from irl.train import Schedule

STEPS = 6000

config = Imitate(
    title="DAgger on MountainCar",
    environment=PureJax(id="seals/MountainCar-v0"),
    expert=TrainedExpert(
        learner=Dqn(training=OffPolicy(batch=64, updates=8, normalise=True)),
        envs=8,
        time=8,
        schedule=Schedule(steps=STEPS, log_every=100, save_every=STEPS),
        greedy=True,
    ),
    imitator=Dagger(),
    envs=8,
    time=50,
    schedule=Schedule(steps=10, log_every=1, save_every=10),
)
