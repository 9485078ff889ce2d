"""MCE-IRL and MaxEnt IRL on a windy cliff, where the wind makes the two differ.

    traceward run cliff_mce_irl

Expect: from the exact occupancy, MCE-IRL has an occupancy error of 5e-9 and recovers the true reward up to a constant
(EPIC distance 6e-7); MaxEnt IRL, which treats lucky outcomes as choices, has an occupancy error of .36 and a regret of
3.6 (the expert's return is 13.7). From 100 demonstrations, whose own error is .10, MCE-IRL has an error of .08, a
regret of .8 and an EPIC distance of .53: rewards of rarely visited states remain unknown. Half a minute on two busy
cores, mostly compilation. Variations: --demonstrations 1000; --world.wind 0; --world.discount 1; --one-hot False.
"""

from experiments.control.tabular_imitation import TabularImitation
from irl.control.tabular.cliff_world import CliffWorld

config = TabularImitation(
    title="MCE-IRL and MaxEnt IRL on CliffWorld",
    world=CliffWorld(horizon=20, discount=0.9),
)
