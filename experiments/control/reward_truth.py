"""Comparison of a learned reward with the true one, as rows of a report: on steps, on episodes, and as distances.

The data are steps of several policies (random actions, the imitator's, the expert's) with the environment's rewards:

    correlations of steps, on the data of each policy and on equal parts of all    rewards of visited steps
    correlations of returns of episodes, all policies together                     the same
    STARC distances, on equal parts of all                                         the same
    EPIC distance, on equal parts of all                                           the true reward as a *function*

EPIC evaluates rewards of (s, a, s') whose parts are sampled independently, so rewards of visited steps do not suffice:
without `true` it is omitted, as a note says. The distances are those of irl/evaluation/reward_distance.py. Potentials
and values are polynomials of degree 2 in the observation; shaping by another potential counts as a difference. In EPIC
`terminated` is always false.

Every number is the mean over seeds with a bootstrap interval over them. A correlation is undefined if either side is
constant, as for an expert with reward 1 at every step; a note counts the seeds for which it is defined.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from experiments.reporting.report_records import result_row
from irl.control.trajectories.trajectory import Trajectory, to_transitions
from irl.control.types import Rollout, Transitions
from irl.evaluation.metrics import spearman
from irl.evaluation.reward_distance import epic_findings, marginals, starc_findings
from irl.types import InputError

Row = dict[str, Any]
Reward = Callable[[Transitions], Any]
"""Transitions -> rewards [batch], of NumPy or JAX."""

MIXTURE = "equal parts of these"
MOST_ROWS, MOST_EPIC_ROWS, MEANS = 10_000, 1000, 256
"""Rows per policy in distances and in EPIC, and samples of the means in EPIC."""
MOST_PRODUCTS = 20
"""Largest number of coordinates whose products are in the basis of potentials; otherwise only squares are."""


class Steps(NamedTuple):
    """Steps of one policy, ordered by time within episodes, with the environment's rewards."""

    transitions: Transitions
    reward: Float[np.ndarray, " rows"]
    episode: Int[np.ndarray, " rows"]


def of_rollout(rollout: Rollout) -> Steps:
    """The steps of a rollout, environment by environment; the last episode of each may be incomplete."""
    arrays = [np.asarray(leaf) for leaf in (*rollout[:4], rollout.truncated, rollout.reward)]
    flat = [np.concatenate(np.moveaxis(array, 1, 0)) for array in arrays]
    return Steps(Transitions(*flat[:4]), flat[5], _episode_numbers(arrays[3] | arrays[4]))


def of_trajectories(trajectories: Sequence[Trajectory]) -> Steps:
    """The steps of trajectories with rewards."""
    rewards = [t.rewards for t in trajectories if t.rewards is not None]
    if len(rewards) < len(trajectories):
        raise InputError(f"trajectories: {len(trajectories) - len(rewards)} of {len(trajectories)} have no rewards")
    episode = np.repeat(np.arange(len(trajectories)), [len(t) for t in trajectories])
    return Steps(to_transitions(trajectories), np.concatenate(rewards), episode)


def truth_rows(
    learned: Sequence[Reward],
    visited: Sequence[Mapping[str, Steps]],
    discount: float,
    information: str,
    *,
    true: Reward | None = None,
) -> list[Row]:
    """Rows of the headline, for one learned reward per seed and its data by policy.

    Raises InputError for missing data, a discount outside [0, 1), or rewards that are not finite.
    """
    if not learned or len(learned) != len(visited):
        raise InputError(f"expected a reward and its data for each seed, got {len(learned)} and {len(visited)}")
    if not 0 <= discount < 1:
        raise InputError(f"discount: expected 0 to below 1, got {discount}")
    each = [_of_seed(reward, data, discount, true) for reward, data in zip(learned, visited, strict=True)]
    rows = []
    for name, note in each[0]:
        values = np.array([numbers[name, note] for numbers in each])
        defined = values[np.isfinite(values)]
        seeds = "" if len(defined) == len(values) else f"; defined on {len(defined)} of {len(values)} seeds"
        if len(defined):
            rows.append(result_row(name, defined, information, note + seeds))
    return rows


Numbers = dict[tuple[str, str], float]
"""(name, note) -> value, NaN if undefined"""


class _Compared(NamedTuple):
    """Steps of one policy with both rewards."""

    transitions: Transitions
    episode: Int[np.ndarray, " rows"]
    learned: Float[np.ndarray, " rows"]
    true: Float[np.ndarray, " rows"]


Policies = Mapping[str, _Compared]


def _of_seed(learned: Reward, visited: Mapping[str, Steps], discount: float, true: Reward | None) -> Numbers:
    if not visited:
        raise InputError("expected data of at least one policy, got none")
    policies = {name: _compared(name, learned, steps) for name, steps in visited.items()}
    all_data = policies if len(policies) == 1 else {**policies, MIXTURE: _mixture(policies, MOST_ROWS)}
    numbers: Numbers = {}
    for name, steps in all_data.items():
        numbers |= _correlations(f"learned and true reward of a step, on {name}", steps.learned, steps.true)
    returns = (
        np.concatenate([np.bincount(steps.episode, rewards(steps)) for steps in policies.values()])
        for rewards in (lambda steps: steps.learned, lambda steps: steps.true)
    )
    numbers |= _correlations("learned and true return of an episode", *returns)
    return numbers | _distances(learned, true, policies, discount)


def _compared(policy: str, reward: Reward, steps: Steps) -> _Compared:
    rows = len(steps.episode)
    learned = _finite(f"learned reward on {policy}", reward(steps.transitions), rows)
    true = _finite(f"true reward on {policy}", steps.reward, rows)
    return _Compared(steps.transitions, steps.episode, learned, true)


def _correlations(name: str, learned: np.ndarray, true: np.ndarray) -> Numbers:
    defined = np.ptp(learned) > 0 and np.ptp(true) > 0
    return {
        (name, "rank correlation"): spearman(learned, true) if defined else np.nan,
        (name, "Pearson's correlation"): float(np.corrcoef(learned, true)[0, 1]) if defined else np.nan,
    }


def _distances(learned: Reward, true: Reward | None, policies: Policies, discount: float) -> Numbers:
    """Both STARC distances, and EPIC if the true reward is a function."""
    mixture, _, learned_values, true_values = _mixture(policies, MOST_ROWS)
    note = f"0 same, 1 opposite preferences; on {', '.join(policies)} in equal parts"
    omitted = "" if true is not None else "; EPIC is omitted: it needs the true reward beyond visited steps"
    basis = potentials(np.concatenate([mixture.observation, mixture.next_observation]))
    rewards = (lambda *_: learned_values), (lambda *_: true_values)
    starc = starc_findings(*rewards, mixture, np.arange(len(true_values)), basis, discount, resamples=0)
    numbers = {(name, note + omitted): each.mean for name, each in starc.items()}
    return numbers if true is None else numbers | {("EPIC distance", note): _epic(learned, true, policies, discount)}


def _epic(learned: Reward, true: Reward, policies: Policies, discount: float) -> float:
    """NaN if either reward is constant on the data, or if `true` differs from the environment's rewards.

    They differ where observations were clipped.
    """
    mixture, _, learned_values, true_values = _mixture(policies, MOST_EPIC_ROWS)
    wrong = np.abs(np.asarray(true(mixture)) - true_values) > 0.01 * np.ptp(true_values)
    if np.ptp(learned_values) == 0 or np.ptp(true_values) == 0 or wrong.mean() > 0.01:
        return float("nan")
    rewards, rows = (_of_triple(learned), _of_triple(true)), np.arange(len(true_values))
    return epic_findings(*rewards, mixture, rows, marginals(mixture, MEANS), discount, resamples=0)[
        "EPIC distance"
    ].mean


def _of_triple(reward: Reward) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Any]:
    return lambda s, a, following: reward(Transitions(s, a, following, np.zeros(len(a), bool)))


def potentials(observations: np.ndarray) -> Callable[[np.ndarray], Float[np.ndarray, "batch features"]]:
    """A basis of functions of an observation: standardised polynomials of degree 2, or all functions if discrete."""
    if observations.ndim == 1:
        values = np.unique(observations)
        return lambda batch: (batch[:, None] == values).astype(float)
    rows = observations.reshape(len(observations), -1).astype(np.float64)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    width = rows.shape[1]
    left, right = np.triu_indices(width) if width <= MOST_PRODUCTS else (np.arange(width),) * 2

    def basis(batch: np.ndarray) -> np.ndarray:
        x = (batch.reshape(len(batch), -1) - mean) / scale
        return np.concatenate([np.ones((len(x), 1)), x, x[:, left] * x[:, right]], axis=1)

    return basis


def _mixture(policies: Policies, most: int) -> _Compared:
    """Equally many rows of each policy, at most `most`, drawn without replacement."""
    rng, count = np.random.default_rng(0), min(most, *(len(steps.true) for steps in policies.values()))
    drawn = []
    for steps in policies.values():
        rows = rng.choice(len(steps.true), count, replace=False)
        drawn.append(jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], steps))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *drawn)


def _finite(name: str, values: Any, rows: int) -> Float[np.ndarray, " rows"]:
    values = np.asarray(values, np.float64)
    if values.shape != (rows,):
        raise InputError(f"{name}: expected one for each of {rows} steps, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: {(~np.isfinite(values)).sum()} of {rows} are not finite")
    return values


def _episode_numbers(over: Bool[np.ndarray, "time envs"]) -> Int[np.ndarray, " rows"]:
    """The episode of each step, environment by environment."""
    begins = np.concatenate([np.ones_like(over[:1]), over[:-1]])
    return np.cumsum(np.concatenate(begins.T)) - 1
