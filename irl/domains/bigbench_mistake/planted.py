"""Traces with a planted mistake, and the choice of the kind of mistake."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from irl.types import LabelledSteps


class Planted(NamedTuple):
    """Steps; `wrong` is the index of the first wrong one, None if all are correct."""

    problem: str
    steps: tuple[str, ...]
    wrong: int | None
    kind: str = "right"

    def labelled(self, id: str) -> LabelledSteps:
        """1 before the mistake, 0 at the mistake, unknown after it."""
        after = 0 if self.wrong is None else len(self.steps) - self.wrong - 1
        before = len(self.steps) if self.wrong is None else self.wrong
        labels = (*(1.0,) * before, *(() if self.wrong is None else (0.0,)), *(None,) * after)
        return LabelledSteps(id=id, prompt=self.problem, steps=self.steps, labels=labels, subset=self.kind)


def drawn_order(weights: Mapping[str, float], rng: np.random.Generator) -> list[str]:
    """All kinds in a random order weighted by frequency: the first that can be planted is planted."""
    kinds, shares = list(weights), np.array(list(weights.values()))
    return [kinds[i] for i in rng.choice(len(kinds), len(kinds), replace=False, p=shares / shares.sum())]
