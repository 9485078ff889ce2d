"""Preference comparisons on Pendulum-v1: five seeds in one program, 1,000 synthetic answers each, in 61 rounds.

    traceward run pendulum_preferences

Expect: see LOG.md; the report compares with a learner on the true reward that takes as many steps.
Variations: --comparisons.acquisition disagreement; --comparisons.comparisons 300; --retrain 61.
"""

from experiments.control.backends import PureJax
from experiments.control.learn_from_comparisons import LearnFromComparisons
from irl.control.algorithms.preference_comparisons import PreferenceComparisons
from irl.control.learners.ppo import Ppo

config = LearnFromComparisons(
    title="Preference comparisons on Pendulum-v1",
    environment=PureJax(id="Pendulum-v1"),
    time=256,
    comparisons=PreferenceComparisons(members=3, learning_rate=4e-3, decay=61, batch=16, initial=0.2),
    learner=Ppo(
        learning_rate=3e-3,
        decay=61,
        discount=0.98,
        trace_decay=0.9,
        clip=0.1,
        entropy=0.01,
        minibatch=128,
        normalise=True,
    ),
)
