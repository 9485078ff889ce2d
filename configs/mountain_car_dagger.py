"""DAgger on seals/MountainCar-v0: an expert that can be asked answers in the states the learner gets into.

    traceward run mountain_car_dagger

Expect: the expert's return (LOG.md). The expert pushes the way it moves. Obvious variations: --imitator.beta.decay 0.5;
--schedule.steps 5.
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
