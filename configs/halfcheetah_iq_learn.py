"""IQ-Learn with SAC on HalfCheetah, from 16 greedy episodes of an expert.

    traceward run halfcheetah_iq_learn

Expect: see LOG.md; 40,000 environment steps per seed, seven minutes each on one core. An expert is trained first (SAC,
a quarter of an hour on two cores). For your own demonstrations, copy this file and set
expert=DemonstrationFile(path=...). The value term uses the expert's states alone: with half of it on the policy's
states Hopper is not learned. Variations: --seeds 1; --environment.id Hopper-v5; --imitator.value-share 0.5.
"""

from configs.halfcheetah_gail import EXPERT
from experiments.control.backends import OfGymnasium
from experiments.control.imitate import Imitate
from irl.control.algorithms.iq_learn import IqLearn
from irl.control.learners.off_policy import OffPolicy
from irl.control.learners.sac import Sac
from irl.train import Schedule

STEPS = 625

config = Imitate(
    title="IQ-Learn on HalfCheetah",
    environment=OfGymnasium(id="HalfCheetah-v5"),
    expert=EXPERT,
    imitator=IqLearn(
        learner=Sac(
            hidden=(256, 256),
            learn_temperature=False,
            temperature=0.01,
            training=OffPolicy(learning_rate=3e-4, batch=128, updates=32, capacity=200_000),
        ),
        value_share=0.0,
    ),
    envs=4,
    time=16,
    schedule=Schedule(steps=STEPS, log_every=100, save_every=STEPS),
    episodes=16,
    seeds=3,
)
