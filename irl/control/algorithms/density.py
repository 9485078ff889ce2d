"""Density-based imitation: the reward is high where demonstrations are dense.

    log p(x) = log 1/N sum_i N(x; x_i, h^2 I),    x = (s), (s, a) or (s, s'), standardised by the demonstrations
    r = 1 + (max(log p(x), level - floor) - level) / floor,    level = E_E[log p(x)]

The baseline of Gleave et al., "imitation: Clean Imitation Learning Implementations", 2022 (arXiv 2211.11972), with the
kernel density estimate of Parzen 1962; any learner is trained on r. Information level: demonstrations. Differences from
the baseline:

1. The log density is bounded below and scaled: r is about 1 on demonstrations and 0 from `floor` nats below the level.
   Without the bound, a fall costs -1e6 per step, and the error of the critic hides all other differences.
2. Discrete actions are one-hot; constant coordinates are divided by 1.
"""

from collections.abc import Callable
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Le
from jaxtyping import Float

from irl.control.agent import Agent
from irl.control.algorithms.base import ImitationProblem, Imitator, LearnedReward
from irl.control.algorithms.behavioural_cloning import number_of_steps
from irl.control.learners.reward_override import with_reward
from irl.control.spaces import Space, features
from irl.control.types import Transitions
from reward_models.ranges import Positive, Scale
from reward_models.records import record
from reward_models.types import Array

LogDensity = Callable[[Transitions], Float[Array, " batch"]]

LEVEL_STEPS = 1000
"""Number of demonstrated steps, evenly spaced, whose mean log density is the level."""


@record
class Density(Imitator):
    """Settings of density-based imitation."""

    bandwidth: Scale = 0.4
    """h, in standard deviations of the demonstrations."""
    action: bool = True
    next_observation: bool = False
    floor: Positive = 100.0
    """Nats below the level from which on the reward is constant."""
    pairs: Annotated[int, Ge(1), Le(2**30)] = 1 << 20
    """Distances computed at once (at least one per demonstrated step): bounds the memory."""

    def make(self, observation: Space, action: Space, demonstrations: Transitions) -> LogDensity:
        """The reward r of transitions."""
        log_density = self.log_density(observation, action, demonstrations)
        steps = number_of_steps(demonstrations)
        chosen = np.unique(np.linspace(0, steps - 1, min(steps, LEVEL_STEPS)).astype(int))
        level = log_density(jax.tree.map(lambda leaf: jnp.asarray(leaf[chosen]), demonstrations)).mean()

        def reward(transitions: Transitions) -> Float[Array, " batch"]:
            return 1 + (jnp.maximum(log_density(transitions), level - self.floor) - level) / self.floor

        return reward

    def imitate(self, learner: Agent, problem: ImitationProblem) -> tuple[Agent, LearnedReward]:
        reward = self.make(problem.observation, problem.action, problem.demonstrations)
        agent = with_reward(learner, reward)
        imitator = agent._replace(step=lambda state, batch, key: agent.step(state, batch.rollout, key))
        return imitator, lambda state, transitions: reward(transitions)

    def log_density(self, observation: Space, action: Space, demonstrations: Transitions) -> LogDensity:
        """log p(x) of transitions in nats, for x in standardised coordinates."""
        number_of_steps(demonstrations)
        inputs = self._inputs(observation, action, jax.tree.map(jnp.asarray, demonstrations))
        spread = inputs.std(axis=0)
        centre, scale = inputs.mean(axis=0), jnp.where(spread > 1e-6, spread, 1.0)
        samples = (inputs - centre) / scale

        def log_density(transitions: Transitions) -> Float[Array, " batch"]:
            points = (self._inputs(observation, action, transitions) - centre) / scale
            return log_kernel_density(samples, points, bandwidth=self.bandwidth, pairs=self.pairs)

        return log_density

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
    """log 1/N sum_i N(x; x_i, h^2 I) in nats; one matrix product per chunk of points gives the squared distances."""
    count, width = samples.shape
    scaled = samples / bandwidth
    half = 0.5 * jnp.sum(scaled**2, axis=1)

    def log_sum(point: Float[Array, " width"]) -> Float[Array, ""]:
        inner = jnp.matmul(scaled, point, precision="highest")
        return jax.nn.logsumexp(inner - half) - 0.5 * jnp.sum(point**2)

    log_sums = jax.lax.map(log_sum, points / bandwidth, batch_size=max(1, pairs // count))
    return log_sums - jnp.log(count) - width * jnp.log(bandwidth * jnp.sqrt(2 * jnp.pi))
