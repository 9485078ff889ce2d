"""DAgger on seals/MountainCar-v0: a hand-written expert labels the states that the learner visits.

    traceward run mountain_car_dagger

Expect: the expert's return (LOG.md). The expert pushes in the direction of motion.
Variations: --imitator.beta.decay 0.5; --schedule.steps 5.
"""

from experiments.control.backends import PureJax
from experiments.control.expert import PushingExpert
from experiments.control.imitate import Imitate
from irl.control.algorithms.dagger import Dagger
from irl.train import Schedule

config = Imitate(
    title="DAgger on MountainCar",
    environment=PureJax(id="seals/MountainCar-v0"),
    expert=PushingExpert(),
    imitator=Dagger(),
    envs=8,
    time=50,
    schedule=Schedule(steps=10, log_every=1, save_every=10),
)
