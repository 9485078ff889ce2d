"""MCE-IRL over an infinite horizon in a random MDP, with the features that its reward is linear in.

    traceward run random_mdp_mce_irl

Expect: from the exact occupancy, an occupancy error of 1e-10 and an EPIC distance of 2e-10; from 100 demonstrations,
whose own error is .10, .08 and .06: few demonstrations determine four weights. 15 s on two busy cores.
Variations: --world.seed 1; --world.states 100; --one-hot True; --demonstrations 1000.
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
