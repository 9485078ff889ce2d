"""A windy grid beside a cliff: the short path to the goal is risky.

    row 0:  S C C C C C G        S start, C cliff, G goal; rows 1 .. height - 1 are open ground
    row 1:  . . . . . . .        wind blows towards row 0

A state is row * width + column, an action one step right, left, towards the cliff or away from it. Then, with
probability `wind`, follows one step towards the cliff; walls stop both. Rewards are functions of the state; episodes do
not end at the goal or in the cliff. It is similar, but not identical, to CliffWorld of seals.
"""

from typing import Annotated

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le

from irl.control.tabular.mdp import TabularMdp, TabularWorld, WorldConfig
from reward_models.ranges import Real, Share, Size
from reward_models.records import record

MOVES = ((0, 1), (0, -1), (-1, 0), (1, 0))
"""(rows, columns) of the actions: right, left, towards the cliff, away from it."""


@record
class CliffWorld(WorldConfig):
    """Features of a state are its row and column, scaled to [0, 1]."""

    width: Annotated[int, Ge(3), Le(64)] = 7
    height: Annotated[int, Ge(2), Le(64)] = 4
    horizon: Size | None = 8
    discount: Share = 1.0
    wind: Share = 0.3
    step_reward: Real = -1.0
    cliff_reward: Real = -10.0
    goal_reward: Real = 10.0

    def make(self) -> TabularWorld:
        row, column = np.divmod(np.arange(self.width * self.height), self.width)
        features = np.stack([row / (self.height - 1), column / (self.width - 1)], axis=1)
        transition = np.stack([self._transition(row, column, move) for move in MOVES], axis=1)
        initial = (row + column == 0).astype(float)
        mdp = TabularMdp(jnp.asarray(transition), jnp.asarray(initial), self.horizon, self.discount)
        reward = jnp.asarray(self._reward(row, column))
        return TabularWorld("CliffWorld", mdp, reward, jnp.asarray(features), self.width)

    def _transition(self, row: np.ndarray, column: np.ndarray, move: tuple[int, int]) -> np.ndarray:
        """P(s'|s) of one action."""
        row, column = np.clip(row + move[0], 0, self.height - 1), np.clip(column + move[1], 0, self.width - 1)
        one_hot = np.eye(len(row))
        calm, blown = row * self.width + column, np.maximum(row - 1, 0) * self.width + column
        return (1 - self.wind) * one_hot[calm] + self.wind * one_hot[blown]

    def _reward(self, row: np.ndarray, column: np.ndarray) -> np.ndarray:
        edge = np.where(column == self.width - 1, self.goal_reward, self.cliff_reward)
        return np.where((row == 0) & (column > 0), edge, self.step_reward)
