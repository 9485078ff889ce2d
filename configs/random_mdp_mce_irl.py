"""MCE-IRL over an infinite horizon in a random world, from the features that its reward is linear in.

    traceward run random_mdp_mce_irl

Expect: occupancy error 1e-10 and EPIC distance 2e-10 from the exact occupancy; .08 and .06 from 100 demonstrations,
whose own occupancy is off by .10: few of them tell four weights. A quarter of a minute on two busy cores.
Obvious variations: --world.seed 1; --world.states 100; --one-hot True; --demonstrations 1000.
"""

from experiments.control.tabular_imitation import TabularImitation
from irl.control.tabular.random_mdp import RandomMdp

config = TabularImitation(
    title="MCE-IRL in a random world",
    world=RandomMdp(horizon=None, discount=0.9),
    one_hot=False,
    maxent=None,
    episode=100,
)
