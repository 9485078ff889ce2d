"""How far a learned reward is from the true one, told without training a policy on it.

A reward is a table r[s, a, s'], compared exactly, or a function of batches (s, a, s'), compared on samples with a
bootstrap interval. Distances go from 0, the same preferences, to 1, the opposite ones.

EPIC, Gleave et al. 2021 (arXiv 2006.13900). With S, S' of D_S and A of D_A, all independent,

    (1) C(R)(s, a, s') = R(s, a, s') + E[γ R(s', A, S') - R(s, A, S') - γ R(S, A, S')]
    (2) EPIC(R1, R2)   = sqrt((1 - ρ) / 2),   ρ: Pearson's correlation of C(R1) and C(R2) under a coverage D

C forgets potential shaping γ Φ(s') - Φ(s), and ρ forgets positive scales and constants.

STARC, Skalse et al. 2024 (arXiv 2309.15257), knows the dynamics τ and also ignores all of R(s, a, .) but its mean.

    (3) c(R)(s, a) = E_τ[R(s, a, S') + γ V(S') - V(s)], V the value of a policy: value-adjusted levelling (VAL)
    (4) c(R)(s, a) = E_τ[R(s, a, S') + γ Φ(S') - Φ(s)], Φ for the least norm of c(R): minimal
    (5) STARC(R1, R2) = 1/2 || c(R1) / ||c(R1)|| - c(R2) / ||c(R2)|| ||,   0/0 being 0

(3) is the policy's advantage. A reward for which all policies are alike has c = 0, and is 1/2 from every other.

Differences from the papers:

1. (2) is computed as (5) of centred canonical rewards: equal, as ||u - v||^2 = 2 (1 - ρ), and exact near 0.
2. From samples, the last term of (1) is left out: a constant, which ρ does not see. What remains costs rows x means
   calls of the reward, and shaping cancels sample by sample, however few there are.
3. Norms are L2 with weights on (s, a); the paper admits any norm, and metrics equivalent to it.
4. From samples, V and Φ are linear in features handed in: V solves E[φ(s) (r + γ V(s') - V(s))] = 0, least-squares
   temporal differences (Bradtke and Barto 1996), Φ is a regression, of least norm where data leave it open. V is 0
   once terminated, never at a time limit. Weights are those of the data, the policy is whoever acted.
5. Intervals resample episodes, and in EPIC the samples of its means, and are those of biased statistics: noise adds.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Shaped

from irl.control.types import Transitions
from irl.evaluation.audit import Finding
from irl.evaluation.resampling import UNIT, Ids, Weights, findings, weighted_mean

Table = Float[np.ndarray, "states actions states"]
Pairs = Float[np.ndarray, "states actions"]
Rows = Shaped[np.ndarray, " rows"]
Findings = dict[str, Finding]
Means = tuple[np.ndarray, np.ndarray]
"""States and actions, row by row one draw of each, independent."""
Reward = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
"""(s, a, s') -> rewards [batch], of NumPy or JAX. What is to be known of an ending it must read from s'."""

EXACT, SAMPLED = 1e-10, 1e-6
"""A canonical reward that is smaller than this beside the reward itself is rounding: float64, float32."""


class Dynamics(NamedTuple):
    """Probabilities τ(s' | s, a), and a discount below 1."""

    transition: Table
    discount: float


def epic_canonical(
    reward: Table, discount: float, states: Float[np.ndarray, " states"], actions: Float[np.ndarray, " actions"]
) -> Table:
    """(1), for probabilities D_S of states and D_A of actions."""
    _check_discount(discount <= 1, discount, "1")
    mean = np.einsum("sat,a,t->s", reward, actions, states)
    return reward + discount * mean - mean[:, None, None] - discount * (states @ mean)


def epic_distance(
    first: Table,
    second: Table,
    discount: float,
    *,
    states: Float[np.ndarray, " states"] | None = None,
    actions: Float[np.ndarray, " actions"] | None = None,
    coverage: Table | None = None,
) -> float:
    """(2). D_S and D_A are uniform unless given, and the coverage D is D_S x D_A x D_S.

    ValueError: rewards not finite, of two shapes or constant once canonical, discount outside [0, 1], no probabilities.
    """
    first, second = _alike(first, second, 3)
    on_states = _probabilities("states", states, first.shape[:1])
    on_actions = _probabilities("actions", actions, first.shape[1:2])
    product = on_states[:, None, None] * on_actions[:, None] * on_states
    weights = product if coverage is None else _probabilities("coverage", coverage, first.shape)
    x, y = (epic_canonical(reward, discount, on_states, on_actions).ravel() for reward in (first, second))
    for name, values, reward in (("first", x, first), ("second", y, second)):
        _refuse_constant(name, values[weights.ravel() > 0], EXACT * np.abs(reward).max())
    return _pearson_gap(x, y, weights.ravel())


def value_levelled(reward: Table, dynamics: Dynamics, policy: Pairs | None = None) -> Pairs:
    """(3): the advantage of a policy π(a | s), uniform unless given. ValueError: as `starc_distance`."""
    mean, here, step = _bellman(reward, dynamics)
    given = np.full(mean.shape, 1 / mean.shape[1]) if policy is None else policy
    if given.shape != mean.shape or (given < 0).any() or not np.allclose(given.sum(axis=1), 1):
        raise ValueError(f"policy: expected probabilities of actions in every state, of shape {mean.shape}")
    return _orthogonal(mean.reshape(-1, 1), step, here, given.ravel()).reshape(mean.shape)


def minimal(reward: Table, dynamics: Dynamics, weights: Pairs | None = None) -> Pairs:
    """(4), of the L2 norm with weights on (s, a), uniform unless given. ValueError: as `starc_distance`."""
    mean, _, step = _bellman(reward, dynamics)
    given = _probabilities("weights", weights, mean.shape)
    return _orthogonal(mean.reshape(-1, 1), step, step, given.ravel()).reshape(mean.shape)


def starc_distance(
    first: Table,
    second: Table,
    dynamics: Dynamics,
    canonical: Callable[[Table, Dynamics], Pairs] = value_levelled,
    weights: Pairs | None = None,
) -> float:
    """(5), of `value_levelled`, of `minimal`, or of either with its last argument bound.

    ValueError: rewards not finite or not of the shape of the dynamics, discount outside [0, 1), no probabilities.
    """
    first, second = _alike(first, second, 3)
    on_pairs = _probabilities("weights", weights, first.shape[:2]).ravel()
    x, y = (canonical(reward, dynamics).ravel() for reward in (first, second))
    floor = [EXACT * np.abs((dynamics.transition * reward).sum(axis=2)).max() for reward in (first, second)]
    return _gap(x, y, on_pairs, floor)


def marginals(transitions: Transitions, count: int, seed: int = 0) -> Means:
    """For the means of (1): `count` states and as many actions, drawn from the data."""
    state, action, _ = _triple(transitions)
    rng = np.random.default_rng(seed)
    return state[rng.integers(len(state), size=count)], action[rng.integers(len(action), size=count)]


def epic_findings(
    first: Reward,
    second: Reward,
    transitions: Transitions,
    episode: Ids,
    means: Means,
    discount: float,
    *,
    batch: int = 65536,
    resamples: int = 500,
    seed: int = 0,
) -> Findings:
    """The EPIC distance with transitions as the coverage and `means` for (1).

    Rewards are asked for transitions that need not be possible, in batches of at most about `batch` rows, all of one
    shape. ValueError: rewards not finite, of another length, or constant once canonical; discount outside [0, 1].
    """
    _check_discount(discount <= 1, discount, "1")
    state, action, following = _triple(transitions)
    parts = []
    for name, reward in (("first", first), ("second", second)):
        values = _checked(name, reward(state, action, following), 1, len(state))
        later = _against(name, reward, following, means, batch)
        shift = discount * later - _against(name, reward, state, means, batch)
        _refuse_constant(name, values + shift.mean(axis=1), SAMPLED * max(np.abs(values).max(), np.abs(later).max()))
        parts.append((values, shift))
    rows, many, number = len(state), len(means[0]), _episodes(episode, len(state))

    def statistics(w: Weights) -> dict[str, float]:
        x, y = (values + shift @ w[rows:] / many for values, shift in parts)
        return {"EPIC distance": _pearson_gap(x, y, w[:rows])}

    problem, strata = np.concatenate([number, np.arange(many)]), np.repeat([0, 1], [rows, many])
    size = {"EPIC distance": int(number.max()) + 1}
    options: dict[str, Any] = {"num_problems": size, "biased": {"EPIC distance": UNIT}, "resamples": resamples}
    return findings(statistics, problem, strata=strata, seed=seed, **options)


def starc_findings(
    first: Reward,
    second: Reward,
    transitions: Transitions,
    episode: Ids,
    features: Callable[[np.ndarray], Any],
    discount: float,
    *,
    pair: Ids | None = None,
    resamples: int = 500,
    seed: int = 0,
) -> Findings:
    """STARC distances of both kinds, on what one policy did; `features` of states span V and Φ, with a constant.

    `pair` names (s, a) of every row, for the mean over s' where dynamics are random; without it every row stands for
    itself, which is right for deterministic ones. Shaping is forgotten where its potential is in the span.
    ValueError: rewards or features not finite or of another length, discount outside [0, 1).
    """
    _check_discount(discount < 1, discount, "below 1")
    state, action, following = _triple(transitions)
    rows, given = len(state), (("first", first), ("second", second))
    values = [_checked(name, reward(state, action, following), 1, rows) for name, reward in given]
    here, there = (_checked("features", features(s), 2, rows) for s in (state, following))
    step = here - discount * np.where(np.asarray(transitions.terminated)[:, None], 0.0, there)
    group = np.arange(rows) if pair is None else _episodes(pair, rows)

    def statistics(w: Weights) -> dict[str, float]:
        weight, (reward, now, ahead) = _grouped(group, w, np.stack(values, axis=1), here, step)
        tests = {"value-levelled": now, "minimal": ahead}
        canonical = {kind: _orthogonal(reward, ahead, test, weight) for kind, test in tests.items()}
        floor = SAMPLED * np.abs(reward).max(axis=0)
        return {f"STARC distance, {kind}": _gap(c[:, 0], c[:, 1], weight, floor) for kind, c in canonical.items()}

    biased = {f"STARC distance, {kind}": UNIT for kind in ("value-levelled", "minimal")}
    return findings(statistics, _episodes(episode, rows), biased=biased, resamples=resamples, seed=seed)


def _norm(values: np.ndarray, weights: np.ndarray) -> float:
    return float(np.sqrt(weights @ values**2 / weights.sum()))


def _gap(first: np.ndarray, second: np.ndarray, weights: np.ndarray, floor: Sequence[float] | np.ndarray) -> float:
    """(5), where a norm that is not above its floor counts as 0."""
    norms = _norm(first, weights), _norm(second, weights)
    x, y = (v / norm if norm > f else 0.0 * v for v, norm, f in zip((first, second), norms, floor, strict=True))
    return _norm(x - y, weights) / 2


def _pearson_gap(first: np.ndarray, second: np.ndarray, weights: np.ndarray) -> float:
    """sqrt((1 - ρ) / 2); NaN where either side is constant."""
    inside = weights > 0
    if np.ptp(first[inside]) == 0 or np.ptp(second[inside]) == 0:
        return float("nan")
    x, y = (values - weighted_mean(values, weights) for values in (first, second))
    return _gap(x, y, weights, (0.0, 0.0))


def _orthogonal(reward: np.ndarray, step: np.ndarray, test: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """c = reward - step @ v with E[test c] = 0. Rows are (s, a), columns of the reward are rewards.

    With step = φ(s) - γ E φ(s'), this is (3) where test = φ(s), and (4), least squares, where test = step.
    """
    weighted = test.T * weights
    return reward - step @ np.linalg.lstsq(weighted @ step, weighted @ reward, rcond=None)[0]


def _bellman(reward: Table, dynamics: Dynamics) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(mean reward [states, actions], here, step) of a table; states are their own features."""
    transition, discount = np.asarray(dynamics.transition, np.float64), dynamics.discount
    _check_discount(discount < 1, discount, "below 1")
    if transition.shape != reward.shape:
        raise ValueError(f"dynamics: expected shape {reward.shape} of the rewards, got {transition.shape}")
    if not (transition >= 0).all() or not np.allclose(transition.sum(axis=2), 1):
        raise ValueError("dynamics: expected probabilities of s' that sum to 1 for every s and a")
    states, actions, _ = transition.shape
    here = np.repeat(np.eye(states), actions, axis=0)
    return (transition * reward).sum(axis=2), here, here - discount * transition.reshape(-1, states)


def _grouped(group: np.ndarray, weights: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, list[np.ndarray]]:
    """(weight of each group that has some, means of the columns inside it)."""
    total = np.bincount(group, weights)
    kept = total > 0
    sums = [np.stack([np.bincount(group, weights * c) for c in column.T], axis=1) for column in columns]
    return total[kept], [s[kept] / total[kept, None] for s in sums]


def _triple(transitions: Transitions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    state, action, following = (np.asarray(part) for part in transitions[:3])
    if not len(state) == len(action) == len(following) == len(transitions.terminated) > 0:
        raise ValueError(f"transitions: expected one length, not 0, got {[len(part) for part in transitions]}")
    return state, action, following


def _against(name: str, reward: Reward, state: np.ndarray, means: Means, batch: int) -> Float[np.ndarray, "rows means"]:
    """R(s, A, S') of every state with every sample; the last batch is filled up, so that all have one shape."""
    following, action = (np.asarray(part) for part in means)
    many = len(action)
    if len(following) != many or not many:
        raise ValueError(f"means: expected as many states as actions, one at least, got {len(following)} and {many}")
    size = min(len(state), max(1, batch // many))
    others = np.concatenate([action] * size), np.concatenate([following] * size)
    values_by_part = []
    for start in range(0, len(state), size):
        here = np.take(state, range(start, start + size), axis=0, mode="clip")
        values = reward(np.repeat(here, many, axis=0), *others)
        values_by_part.append(_checked(name, values, 1, size * many).reshape(size, many))
    return np.concatenate(values_by_part)[: len(state)]


def _checked(name: str, values: Any, axes: int, rows: int) -> np.ndarray:
    values = np.asarray(values, np.float64)
    if values.ndim != axes or len(values) != rows:
        raise ValueError(f"{name}: expected {rows} rows in an array of {axes} axes, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"{name}: {(~np.isfinite(values)).sum()} of {values.size} numbers are not finite")
    return values


def _alike(first: np.ndarray, second: np.ndarray, axes: int) -> tuple[np.ndarray, np.ndarray]:
    if np.shape(first) != np.shape(second) or not np.size(first):
        raise ValueError(f"expected two arrays of one shape, not empty, got {np.shape(first)} and {np.shape(second)}")
    return _checked("first", first, axes, len(first)), _checked("second", second, axes, len(first))


def _refuse_constant(name: str, values: np.ndarray, floor: float) -> None:
    if np.ptp(values) <= floor:
        raise ValueError(f"{name}: constant where there is data, so it prefers nothing and correlates with nothing")


def _episodes(episode: Ids, rows: int) -> np.ndarray:
    """Ids as numbers from 0."""
    ids = np.asarray(episode)
    if ids.shape != (rows,):
        raise ValueError(f"ids: expected one for each of {rows} rows, got shape {ids.shape}")
    return np.unique(ids, return_inverse=True)[1]


def _probabilities(name: str, given: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """As given, or uniform."""
    if given is None:
        return np.full(shape, 1 / np.prod(shape))
    given = np.asarray(given, np.float64)
    if given.shape != shape or not (given >= 0).all() or not np.isclose(given.sum(), 1):
        raise ValueError(f"{name}: expected probabilities of shape {shape} that sum to 1, got shape {given.shape}")
    return given


def _check_discount(inside: bool, discount: float, limit: str) -> None:
    if not (inside and discount >= 0):
        raise ValueError(f"discount: expected 0 to {limit}, got {discount}")
