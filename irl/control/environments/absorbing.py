"""Absorbing states: what comes after the end of a task is part of what is imitated.

Where an episode may end early, a reward that is always positive pays for staying alive and one that is always negative
for ending, whatever the expert does: what comes after the end is never seen, and its reward is taken for 0. Kostrikov
et al., "Discriminator-Actor-Critic", ICLR 2019 (arXiv 1809.02925), section 4.2: after the end an episode stays in one
absorbing state, known by an indicator coordinate, whose reward is learned like any other. Then all episodes of expert
and policy are of one length, and variable horizons need no refusal. Differences from the paper:

1. The last action leads into the absorbing state at once; in the true final state, which has no action, nobody acts.
2. All steps until the horizon are there, not one that loops: learners on rollouts need them.
3. The expert's actions in the absorbing state are zero, as in the paper, but the policy's are what it happens to do.
   `without_actions` hides both from a reward.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Num

from irl.control.environments.base import Environment, Outcome
from irl.control.rewards import RewardNetwork
from irl.control.spaces import Box, Discrete, Space
from irl.control.types import Transitions
from irl.types import InputError
from reward_models.types import Array


def absorbing(environment: Environment, horizon: int | None = None) -> Environment:
    """The environment without terminations: once its task is over it stays, at reward 0, until the horizon.

    Vectors get an indicator coordinate, discrete observations one more value.
    """
    horizon = environment.horizon if horizon is None else horizon
    if horizon < 1:
        raise InputError(f"absorbing: expected a horizon of 1 or more, got {horizon}")
    space = absorbing_space(environment.observation)

    def reset(key):
        state, observation = environment.reset(key)
        return (state, jnp.bool_(False), jnp.int32(0)), present(environment.observation, observation)

    def step(state, action, key):
        inner, over, time = state
        moved, outcome = environment.step(inner, action, key)
        inner = jax.tree.map(lambda old, new: jnp.where(over, old, new), inner, moved)
        cut_off = (outcome.truncated & ~over) | (time + 1 >= horizon)
        reward = jnp.where(over, 0.0, outcome.reward)
        over = over | outcome.terminated
        seen = present(environment.observation, outcome.observation)
        observation = jnp.where(over, absorbed(environment.observation), seen)
        return (inner, over, time + 1), Outcome(observation, reward, jnp.bool_(False), cut_off)

    return environment._replace(observation=space, horizon=horizon, reset=reset, step=step)


def absorbing_space(space: Space) -> Space:
    """Observations of `absorbing`."""
    if isinstance(space, Discrete):
        return Discrete(space.n + 1)
    if len(space.shape) != 1:
        raise InputError(f"absorbing: expected observations that are vectors or discrete, got {space}")
    low, high = space.bounds()
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    return Box((space.width + 1,), (*map(float, low), 0.0), (*map(float, high), 1.0))


def present(space: Space, observation: Num[Array, "..."]) -> Num[Array, "..."]:
    """An observation before the end: indicator 0."""
    if isinstance(space, Discrete):
        return observation
    return jnp.append(observation, jnp.zeros(1, observation.dtype))


def absorbed(space: Space) -> Num[Array, "..."]:
    """The absorbing state: zeros and indicator 1, or the last value."""
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
) -> tuple[Num[np.ndarray, "more *seen"], Num[np.ndarray, "filled *action"]]:
    """Observations and actions of a demonstration as `absorbing` would have shown them; it is not terminal any more.

    `space` is that of the observations as they were recorded. A terminal one is filled up to the horizon with the
    absorbing state and actions 0; another one ends where it ended.
    """
    steps = len(actions)
    if steps == 0:
        raise InputError("demonstrations: empty; expected at least one step")
    if len(observations) != steps + 1:
        raise InputError(f"observations: expected {steps + 1}, one more than actions, got {len(observations)}")
    if steps > horizon:
        raise InputError(f"demonstration of {steps} steps: expected at most {horizon}, the horizon")
    seen = observations if isinstance(space, Discrete) else np.pad(observations, ((0, 0), (0, 1)))
    if not terminal:
        return seen, actions
    end = np.asarray(absorbed(space), seen.dtype)
    rest = np.broadcast_to(end, (horizon - steps + 1, *end.shape))
    idle = np.zeros((horizon - steps, *actions.shape[1:]), actions.dtype)
    return np.concatenate([seen[:-1], rest]), np.concatenate([actions, idle])


def without_actions(network: RewardNetwork, space: Space) -> RewardNetwork:
    """A reward that takes every action in the absorbing state for 0; `space` is that of `absorbing`."""

    def hidden(transitions: Transitions) -> Transitions:
        seen, action = transitions.observation, transitions.action
        over = seen == space.n - 1 if isinstance(space, Discrete) else seen[..., -1] > 0.5
        over = over.reshape(-1, *[1] * (action.ndim - 1))
        return transitions._replace(action=jnp.where(over, jnp.zeros_like(action), action))

    return RewardNetwork(
        network.init,
        apply=lambda params, transitions: network.apply(params, hidden(transitions)),
        portable=lambda params, transitions: network.portable(params, hidden(transitions)),
        observe=lambda params, transitions: network.observe(params, hidden(transitions)),
    )
