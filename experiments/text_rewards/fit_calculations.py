"""Stage: a soft Q-function of written calculations (irl/domains/gsm8k/equations.py), learned from right ones.

Right calculations of demonstrated solutions, with other numbers, are all that it learns from
(irl/domains/gsm8k/exercises.py).
A step is as good as its worst digit in either reading of its calculations; the folder is calculations-seed-N.
"""

from collections.abc import Iterable

import numpy as np

from experiments.core.run_folder import RunFolder
from experiments.text_rewards.fit_claims import FitClaims
from irl.domains.gsm8k.equations import EQUATIONS, equation_windows
from irl.domains.gsm8k.exercises import drawn, exercises
from irl.rewards.claims import ClaimScorer
from irl.text.windows import StepWindow
from irl.types import InputError
from reward_models.ranges import Rows, Share
from reward_models.records import record


@record
class FitCalculations(FitClaims):
    """Likelihood of the results of right calculations, in both orders of their digits."""

    epoch: Rows = 40_000
    """Calculations of an epoch; every epoch has others."""
    renumber: Share = 0.85
    """Share of the calculations that are carried over to other numbers."""

    def run(self, folder: RunFolder, lines: Iterable[str], trained_on: str) -> ClaimScorer:
        """Learn from annotated lines of right solutions, under the folder's seed."""
        pool = exercises(lines)
        if not pool:
            raise InputError("calculations: no right <<calculation>> in the demonstrations; set calculations to None")

        def draw(epoch: int) -> list[StepWindow]:
            rng = np.random.default_rng([folder.seed, 7, epoch])
            made = drawn(pool, self.epoch, self.renumber, rng)
            backwards = rng.random(len(made)) < 0.5
            return [equation_windows(each)[int(back)] for each, back in zip(made, backwards, strict=True)]

        return self.fit(folder, f"calculations-seed-{folder.seed}", EQUATIONS, draw, trained_on)
