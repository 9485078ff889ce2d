"""Density-based imitation: the policy is paid for being where demonstrations are.

    log p(x) = log 1/N sum_i N(x; x_i, h^2 I),    x = (s), (s, a) or (s, s'), standardised by the demonstrations
    r = 1 + (max(log p(x), level - floor) - level) / floor,    level = E_E[log p(x)]

The baseline of Gleave et al., "imitation: Clean Imitation Learning Implementations", 2022 (arXiv 2211.11972), with the
kernel estimate of Parzen 1962; any learner is paid r through rewarded.py. Information level: demonstrations.
Differences from the baseline:

1. The log density is bounded from below and brought to one scale: about 1 where the expert is, 0 from `floor` nats
   below on. Unbounded, a fall costs -1e6 a step and all else is lost in the error of the critic.
2. Actions are one-hot where they are discrete; a coordinate that never varies is divided by 1.
3. A density per time step reads the time from the observation (environments/timed.py), so that the policy, which has to
   behave otherwise at other times, sees it as well.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int

from irl.control.agent import Agent
from irl.control.algorithms.base import Imitator, LearnedReward, Shown
from irl.control.algorithms.behavioural_cloning import number_of_steps
from irl.control.environments.timed import steps_taken
from irl.control.learners.reward_override import rewarded
from irl.control.spaces import Space, features
from irl.control.types import Transitions
from irl.types import InputError
from reward_models.ranges import Positive, Scale, Size
from reward_models.records import record
from reward_models.types import Array

LogDensity = Callable[[Transitions], Float[Array, " batch"]]

OF_LEVEL = 1000
"""Demonstrated steps, evenly spread, whose mean log density is the level."""


@record
class Density(Imitator):
    """Settings of density-based imitation."""

    bandwidth: Scale = 0.4
    """h, in standard deviations of the demonstrations."""
    action: bool = True
    next_observation: bool = False
    horizon: Size | None = None
    """One density per time step of a `timed` environment of that horizon, instead of one for all."""
    floor: Positive = 100.0
    """Nats below the level from which on it is all the same."""
    pairs: Annotated[int, Ge(1), Le(2**30)] = 1 << 20
    """Distances computed at a time: memory, whatever the sizes (but at least one per demonstrated step)."""

    def make(self, observation: Space, action: Space, demonstrations: Transitions) -> LogDensity:
        """The reward r of transitions, for `rewarded`."""
        log_density = self.log_density(observation, action, demonstrations)
        steps = number_of_steps(demonstrations)
        some = np.unique(np.linspace(0, steps - 1, min(steps, OF_LEVEL)).astype(int))
        level = log_density(jax.tree.map(lambda leaf: jnp.asarray(leaf[some]), demonstrations)).mean()

        def reward(transitions: Transitions) -> Float[Array, " batch"]:
            return 1 + (jnp.maximum(log_density(transitions), level - self.floor) - level) / self.floor

        return reward

    def imitate(self, learner: Agent, shown: Shown) -> tuple[Agent, LearnedReward]:
        reward = self.make(shown.observation, shown.action, shown.demonstrations)
        paid = rewarded(learner, reward)
        agent = paid._replace(step=lambda state, batch, key: paid.step(state, batch.rollout, key))
        return agent, lambda state, transitions: reward(transitions)

    def log_density(self, observation: Space, action: Space, demonstrations: Transitions) -> LogDensity:
        """log p(x) of transitions in nats, of x in standardised coordinates."""
        number_of_steps(demonstrations)
        inputs = self._inputs(observation, action, jax.tree.map(jnp.asarray, demonstrations))
        spread = inputs.std(axis=0)
        centre, scale = inputs.mean(axis=0), jnp.where(spread > 1e-6, spread, 1.0)
        samples = (inputs - centre) / scale

        def points(transitions: Transitions) -> Float[Array, "batch width"]:
            return (self._inputs(observation, action, transitions) - centre) / scale

        if self.horizon is None:
            return lambda transitions: log_kernel_density(
                samples, points(transitions), bandwidth=self.bandwidth, pairs=self.pairs
            )
        horizon = self.horizon
        times = steps_taken(features(observation, demonstrations.observation), horizon)
        by_time, there = grouped(np.asarray(samples), np.asarray(times), horizon)

        def at_time(transitions: Transitions) -> Float[Array, " batch"]:
            now = steps_taken(features(observation, transitions.observation), horizon)
            return log_kernel_density_at(
                by_time, there, points(transitions), now, bandwidth=self.bandwidth, pairs=self.pairs
            )

        return at_time

    def _inputs(self, observation: Space, action: Space, transitions: Transitions) -> Float[Array, "batch width"]:
        parts = [features(observation, transitions.observation)]
        if self.action:
            parts.append(features(action, transitions.action))
        if self.next_observation:
            parts.append(features(observation, transitions.next_observation))
        return jnp.concatenate(parts, axis=-1)


@partial(jax.jit, static_argnames="pairs")
def log_kernel_density(
    samples: Float[Array, "samples width"],
    points: Float[Array, "points width"],
    *,
    bandwidth: float | Array,
    pairs: int,
) -> Float[Array, " points"]:
    """log 1/N sum_i N(x; x_i, h^2 I) in nats; the squared distances by one matrix product per chunk of points."""
    count, width = samples.shape
    scaled = samples / bandwidth
    half = 0.5 * jnp.sum(scaled**2, axis=1)

    def of(point: Float[Array, " width"]) -> Float[Array, ""]:
        inner = jnp.matmul(scaled, point, precision="highest")
        return jax.nn.logsumexp(inner - half) - 0.5 * jnp.sum(point**2)

    mass = jax.lax.map(of, points / bandwidth, batch_size=max(1, pairs // count))
    return mass - jnp.log(count) - _log_norm(bandwidth, width)


@partial(jax.jit, static_argnames="pairs")
def log_kernel_density_at(
    samples: Float[Array, "time samples width"],
    there: Bool[Array, "time samples"],
    points: Float[Array, "points width"],
    times: Int[Array, " points"],
    *,
    bandwidth: float | Array,
    pairs: int,
) -> Float[Array, " points"]:
    """The same from the samples of each point's time step; rows that are not `there` are padding."""
    _, count, width = samples.shape

    def of(at) -> Float[Array, ""]:
        point, time = at
        squares = jnp.sum((samples[time] - point) ** 2, axis=1) / bandwidth**2
        mass = jax.nn.logsumexp(jnp.where(there[time], -0.5 * squares, -jnp.inf))
        return mass - jnp.log(there[time].sum())

    mass = jax.lax.map(of, (points, times), batch_size=max(1, pairs // (count * width)))
    return mass - _log_norm(bandwidth, width)


def grouped(
    samples: Float[np.ndarray, "steps width"], times: Int[np.ndarray, " steps"], horizon: int
) -> tuple[Float[Array, "time samples width"], Bool[Array, "time samples"]]:
    """Samples by time step, padded with zeros, and where they are; InputError: a time step without any."""
    counts = np.bincount(times, minlength=horizon)
    if not counts.all():
        missing = f"none at time step {int(np.argmin(counts))}, and the horizon is {horizon}"
        raise InputError(f"demonstrations: {missing}; give whole episodes, or use one density for all times")
    place = np.concatenate([np.arange(count) for count in counts])
    order = np.argsort(times, kind="stable")
    by_time = np.zeros((len(counts), counts.max(), samples.shape[1]), np.float32)
    by_time[times[order], place] = samples[order]
    return jnp.asarray(by_time), jnp.arange(counts.max()) < jnp.asarray(counts)[:, None]


def _log_norm(bandwidth: float | Array, width: int) -> Float[Array, ""]:
    return width * jnp.log(bandwidth * jnp.sqrt(2 * jnp.pi))
