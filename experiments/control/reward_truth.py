"""A learned reward beside the true one, as rows of a report: on single steps, on episodes, and as distances.

The data are steps of several kinds of policy (random actions, the imitator's own, the expert's), with what the
environment paid for each. Nothing else of the environment is needed, so that it may live in the graph or on the host:

    correlations of steps, on every kind's data and on equal parts of all     what was paid on visited steps
    correlations of returns of episodes, all kinds together                   the same
    STARC distances, on equal parts of all                                    the same
    EPIC distance, on equal parts of all                                      the true reward as a *function*

EPIC asks for rewards of (s, a, s') put together of parts that never met, so that what was paid on visited steps does
not do: without `true` it is left out, and the rows of STARC, which takes its place, say so. The functions of
irl/evaluation/reward_distance.py are used, and its equations hold. Their potentials and values are spanned here by
polynomials of degree 2 in the observation; shaping by another potential is seen as a difference. No reward knows of an
end in EPIC: `terminated` is false in all that it asks for.

Every number is the mean over seeds with a bootstrap interval over them. Where a side is constant a correlation is
undefined (an expert that earns 1 at every step); a seed without it is left out, and the note counts the others.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from experiments.reporting.report import result_row
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
"""Rows of a kind in a distance, in EPIC's, and samples of the means in EPIC."""
MOST_PRODUCTS = 20
"""Coordinates of observations up to which their products span potentials; beyond, only squares do."""


class Visited(NamedTuple):
    """What one kind of policy did, episodes in order of time, and what the environment paid."""

    transitions: Transitions
    reward: Float[np.ndarray, " rows"]
    episode: Int[np.ndarray, " rows"]


def of_rollout(rollout: Rollout) -> Visited:
    """Its lanes one after another; the last episode of a lane may be a beginning."""
    arrays = [np.asarray(leaf) for leaf in (*rollout[:4], rollout.truncated, rollout.reward)]
    seen, action, following, terminated, _, reward = (np.concatenate(np.moveaxis(a, 1, 0)) for a in arrays)
    return Visited(Transitions(seen, action, following, terminated), reward, _numbered(arrays[3] | arrays[4]))


def of_trajectories(trajectories: Sequence[Trajectory]) -> Visited:
    """InputError: a trajectory without rewards."""
    paid = [t.rewards for t in trajectories if t.rewards is not None]
    if len(paid) < len(trajectories):
        raise InputError(f"trajectories: {len(trajectories) - len(paid)} of {len(trajectories)} have no rewards")
    episode = np.repeat(np.arange(len(trajectories)), [len(t) for t in trajectories])
    return Visited(to_transitions(trajectories), np.concatenate(paid), episode)


def truth_rows(
    learned: Sequence[Reward],
    visited: Sequence[Mapping[str, Visited]],
    discount: float,
    information: str,
    *,
    true: Reward | None = None,
) -> list[Row]:
    """Rows of the headline: one learned reward per seed, and for each what was visited, by kind of policy.

    InputError: no seed, as many rewards as not seeds, no kind, a discount outside [0, 1), rewards that are not finite.
    """
    if not learned or len(learned) != len(visited):
        raise InputError(f"expected a reward and its data for each seed, got {len(learned)} and {len(visited)}")
    if not 0 <= discount < 1:
        raise InputError(f"discount: expected 0 to below 1, got {discount}")
    each = [_of_seed(*given, discount, true) for given in zip(learned, visited, strict=True)]
    rows = []
    for name, note in each[0]:
        values = np.array([found[name, note] for found in each])
        known = values[np.isfinite(values)]
        seeds = "" if len(known) == len(values) else f"; defined on {len(known)} of {len(values)} seeds"
        if len(known):
            rows.append(result_row(name, known, information, note + seeds))
    return rows


Numbers = dict[tuple[str, str], float]
"""(name, note): value, NaN where undefined"""


class _Judged(NamedTuple):
    """Steps of one kind of policy with both rewards."""

    transitions: Transitions
    episode: Int[np.ndarray, " rows"]
    said: Float[np.ndarray, " rows"]
    paid: Float[np.ndarray, " rows"]


Kinds = Mapping[str, _Judged]


def _of_seed(learned: Reward, visited: Mapping[str, Visited], discount: float, true: Reward | None) -> Numbers:
    if not visited:
        raise InputError("expected data of at least one kind of policy, got none")
    kinds = {kind: _judged(kind, learned, v) for kind, v in visited.items()}
    judged = kinds if len(kinds) == 1 else {**kinds, MIXTURE: _mixture(kinds, MOST_ROWS)}
    found: Numbers = {}
    for kind, steps in judged.items():
        found |= _correlations(f"learned and true reward of a step, on {kind}", steps.said, steps.paid)
    said, paid = (
        np.concatenate([np.bincount(k.episode, values(k)) for k in kinds.values()])
        for values in (lambda k: k.said, lambda k: k.paid)
    )
    found |= _correlations("learned and true return of an episode", said, paid)
    return found | _distances(learned, true, kinds, discount)


def _judged(kind: str, learned: Reward, visited: Visited) -> _Judged:
    rows = len(visited.episode)
    said = _finite(f"learned reward on {kind}", learned(visited.transitions), rows)
    return _Judged(visited.transitions, visited.episode, said, _finite(f"true reward on {kind}", visited.reward, rows))


def _correlations(name: str, said: np.ndarray, paid: np.ndarray) -> Numbers:
    defined = np.ptp(said) > 0 and np.ptp(paid) > 0
    return {
        (name, "rank correlation"): spearman(said, paid) if defined else np.nan,
        (name, "Pearson's correlation"): float(np.corrcoef(said, paid)[0, 1]) if defined else np.nan,
    }


def _distances(learned: Reward, true: Reward | None, kinds: Kinds, discount: float) -> Numbers:
    """STARC of both kinds, and EPIC where the true reward is a function."""
    mixture, _, said, paid = _mixture(kinds, MOST_ROWS)
    note = f"0 same, 1 opposite preferences; on {', '.join(kinds)} in equal parts"
    left_out = "" if true is not None else "; EPIC is left out: it needs the true reward beyond visited steps"
    basis = potentials(np.concatenate([mixture.observation, mixture.next_observation]))
    given = (lambda *_: said), (lambda *_: paid), mixture, np.arange(len(said)), basis, discount
    found = {(name, note + left_out): each.mean for name, each in starc_findings(*given, resamples=0).items()}
    return found if true is None else found | {("EPIC distance", note): _epic(learned, true, kinds, discount)}


def _epic(learned: Reward, true: Reward, kinds: Kinds, discount: float) -> float:
    """NaN where either is constant on what was visited, or where `true` is not what was paid.

    A reading that clips observations hides from `true` how far out a state was.
    """
    mixture, _, said, paid = _mixture(kinds, MOST_EPIC_ROWS)
    off = np.abs(np.asarray(true(mixture)) - paid) > 0.01 * np.ptp(paid)
    if np.ptp(said) == 0 or np.ptp(paid) == 0 or off.mean() > 0.01:
        return float("nan")
    given = _of_triple(learned), _of_triple(true), mixture, np.arange(len(said)), marginals(mixture, MEANS), discount
    return epic_findings(*given, resamples=0)["EPIC distance"].mean


def _of_triple(reward: Reward) -> Callable[[np.ndarray, np.ndarray, np.ndarray], Any]:
    return lambda s, a, following: reward(Transitions(s, a, following, np.zeros(len(a), bool)))


def potentials(observations: np.ndarray) -> Callable[[np.ndarray], Float[np.ndarray, "batch features"]]:
    """A basis of functions of an observation: polynomials of degree 2, in units of these; of discrete ones, all."""
    if observations.ndim == 1:
        values = np.unique(observations)
        return lambda seen: (seen[:, None] == values).astype(float)
    rows = observations.reshape(len(observations), -1).astype(np.float64)
    mean, scale = rows.mean(axis=0), rows.std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    width = rows.shape[1]
    left, right = np.triu_indices(width) if width <= MOST_PRODUCTS else (np.arange(width),) * 2

    def basis(seen: np.ndarray) -> np.ndarray:
        x = (seen.reshape(len(seen), -1) - mean) / scale
        return np.concatenate([np.ones((len(x), 1)), x, x[:, left] * x[:, right]], axis=1)

    return basis


def _mixture(kinds: Kinds, most: int) -> _Judged:
    """As many rows of each kind, `most` at most, drawn without replacement."""
    rng, count = np.random.default_rng(0), min(most, *(len(k.said) for k in kinds.values()))
    drawn = []
    for steps in kinds.values():
        rows = rng.choice(len(steps.said), count, replace=False)
        drawn.append(jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows], steps))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *drawn)


def _finite(name: str, values: Any, rows: int) -> Float[np.ndarray, " rows"]:
    values = np.asarray(values, np.float64)
    if values.shape != (rows,):
        raise InputError(f"{name}: expected one for each of {rows} steps, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise InputError(f"{name}: {(~np.isfinite(values)).sum()} of {rows} are not finite")
    return values


def _numbered(over: Bool[np.ndarray, "time lanes"]) -> Int[np.ndarray, " rows"]:
    """Numbers of the episodes of each lane, one lane after another; an episode begins after the end of another."""
    begins = np.concatenate([np.ones_like(over[:1]), over[:-1]])
    return np.cumsum(np.concatenate(begins.T)) - 1
