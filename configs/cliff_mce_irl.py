"""MCE-IRL and MaxEnt IRL on a windy cliff, where the wind makes the two differ.

    traceward run cliff_mce_irl

Expect: from the exact occupancy MCE-IRL meets it to 5e-9 and finds the true reward but for a constant (EPIC distance
6e-7); MaxEnt IRL, which takes lucky outcomes for choices, is off by .36 visits and loses 3.6 of the expert's return of
13.7. From 100 demonstrations (off by .10 themselves) MCE-IRL is off by .08 and loses .8, at an EPIC distance of .53:
rewards of rarely visited states stay unknown. Half a minute on two busy cores, most of it compilation.
Obvious variations: --demonstrations 1000; --world.wind 0; --world.discount 1; --one-hot False.
"""

from experiments.control.tabular_imitation import TabularImitation
from irl.control.tabular.cliff_world import CliffWorld

config = TabularImitation(
    title="MCE-IRL and MaxEnt IRL on CliffWorld",
    world=CliffWorld(horizon=20, discount=0.9),
)
