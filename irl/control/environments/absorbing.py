"""Absorbing states, for tasks with variable-length episodes.

If episodes may end early, a positive reward encourages survival and a negative one termination, whatever the expert
does: states after the end are never visited, and their reward is taken to be 0. Kostrikov et al.,
"Discriminator-Actor-Critic", ICLR 2019 (arXiv 1809.02925), section 4.2: after termination an episode stays in one
absorbing state, marked by an indicator coordinate, whose reward is learned like that of any other state. All episodes
then have the same length. Differences from the paper:

1. The last action leads directly to the absorbing state; no action is taken in the final state of the task.
2. Episodes contain all steps up to the horizon, not a single self-loop, because learners use rollouts.
3. The expert's actions in the absorbing state are zero, as in the paper, but the policy's actions are not replaced.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Num

from irl.control.environments.base import Environment, Outcome
from irl.control.spaces import Box, Discrete, Space
from irl.types import InputError
from reward_models.types import Array


def absorbing(environment: Environment, horizon: int | None = None) -> Environment:
    """The environment without terminations: after the end of the task it stays, with reward 0, until the horizon.

    Vector observations gain an indicator coordinate, discrete observations one more value.
    """
    horizon = environment.horizon if horizon is None else horizon
    if horizon < 1:
        raise InputError(f"absorbing: expected a horizon of 1 or more, got {horizon}")
    space = absorbing_space(environment.observation)

    def reset(key):
        state, observation = environment.reset(key)
        return (state, jnp.bool_(False), jnp.int32(0)), with_indicator(environment.observation, observation)

    def step(state, action, key):
        old, over, time = state
        new, outcome = environment.step(old, action, key)
        kept = jax.tree.map(lambda old, new: jnp.where(over, old, new), old, new)
        truncated = (outcome.truncated & ~over) | (time + 1 >= horizon)
        reward = jnp.where(over, 0.0, outcome.reward)
        over = over | outcome.terminated
        before_end = with_indicator(environment.observation, outcome.observation)
        observation = jnp.where(over, absorbing_observation(environment.observation), before_end)
        return (kept, over, time + 1), Outcome(observation, reward, jnp.bool_(False), truncated)

    return environment._replace(observation=space, horizon=horizon, reset=reset, step=step)


def absorbing_space(space: Space) -> Space:
    """The observation space of `absorbing`."""
    if isinstance(space, Discrete):
        return Discrete(space.n + 1)
    if len(space.shape) != 1:
        raise InputError(f"absorbing: expected observations that are vectors or discrete, got {space}")
    low, high = space.bounds()
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    return Box((space.width + 1,), (*map(float, low), 0.0), (*map(float, high), 1.0))


def with_indicator(space: Space, observation: Num[Array, "..."]) -> Num[Array, "..."]:
    """An observation before the end: indicator 0."""
    if isinstance(space, Discrete):
        return observation
    return jnp.append(observation, jnp.zeros(1, observation.dtype))


def absorbing_observation(space: Space) -> Num[Array, "..."]:
    """The absorbing state: zeros and indicator 1, or the additional value."""
    if isinstance(space, Discrete):
        return jnp.int32(space.n)
    return jnp.zeros(space.width + 1).at[-1].set(1.0)


def absorbing_trajectory(
    space: Space,
    observations: Num[np.ndarray, "rows *observation"],
    actions: Num[np.ndarray, "steps *action"],
    *,
    terminal: bool,
    horizon: int,
) -> tuple[Num[np.ndarray, "more *extended"], Num[np.ndarray, "filled *action"]]:
    """(observations, actions) of a demonstration as in the environment of `absorbing`, where it is not terminal.

    A terminal demonstration is extended to the horizon by the absorbing state and zero actions. `space` is that of the
    recorded observations.
    """
    steps = len(actions)
    if steps == 0:
        raise InputError("demonstrations: empty; expected at least one step")
    if len(observations) != steps + 1:
        raise InputError(f"observations: expected {steps + 1}, one more than actions, got {len(observations)}")
    if steps > horizon:
        raise InputError(f"demonstration of {steps} steps: expected at most {horizon}, the horizon")
    extended = observations if isinstance(space, Discrete) else np.pad(observations, ((0, 0), (0, 1)))
    if not terminal:
        return extended, actions
    end = np.asarray(absorbing_observation(space), extended.dtype)
    rest = np.broadcast_to(end, (horizon - steps + 1, *end.shape))
    idle = np.zeros((horizon - steps, *actions.shape[1:]), actions.dtype)
    return np.concatenate([extended[:-1], rest]), np.concatenate([actions, idle])
