"""Acting and learning in one compiled program, for environments that are pure functions.

`in_graph` combines an agent and an environment into an `Algorithm`: one step collects a rollout of all environments and
trains the agent on it, without the host. `jax.vmap` over init and step trains several seeds at once.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from irl.algorithms.base import Algorithm, Info
from irl.control.agent import Agent, AgentState, ImitationBatch
from irl.control.environments.base import Environment, EnvState
from irl.control.spaces import Box, Space
from irl.control.types import Rollout, Transitions
from reward_models.types import Array


class Environments(NamedTuple):
    """The state of vectorised environments."""

    state: EnvState
    observation: Array
    episode_return: Float[Array, " envs"]
    """Return of the current episode so far."""
    steps: Int[Array, " envs"]
    """Steps of the current episode so far."""
    last_return: Float[Array, " envs"]
    """Return of the last completed episode; 0 before the first."""


class State(NamedTuple):
    agent: AgentState
    environments: Environments

    @property
    def params(self) -> Any:
        """The trained parameters."""
        return self.agent.params


def reset(environment: Environment, envs: int, key: jax.Array) -> Environments:
    """`envs` vectorised environments at the start of their episodes."""
    state, observation = jax.vmap(environment.reset)(jax.random.split(key, envs))
    return Environments(state, observation, jnp.zeros(envs), jnp.zeros(envs, jnp.int32), jnp.zeros(envs))


def clipped(space: Space, action: Array) -> Array:
    """An action, clipped to the bounds of a box."""
    return jnp.clip(action, *space.bounds()) if isinstance(space, Box) else action


def collect(
    environment: Environment, agent: Agent, state: AgentState, environments: Environments, key: jax.Array, time: int
) -> tuple[Environments, Rollout, Info]:
    """A rollout of `time` steps; info: mean return of each environment's last episode, and number of episodes.

    The initial states of all possible new episodes are drawn before the first step, which is cheaper than drawing them
    in the loop.
    """
    envs = len(environments.episode_return)
    keys = jax.random.split(key, (time, 1 + 2 * envs))
    action_keys, step_keys, reset_keys = keys[:, 0], keys[:, 1 : 1 + envs], keys[:, 1 + envs :]
    initial = jax.vmap(jax.vmap(environment.reset))(reset_keys)

    def step(environments: Environments, inputs):
        action_key, step_keys, initial = inputs
        action, log_prob = agent.act(state, environments.observation, action_key)
        env_state, outcome = jax.vmap(environment.step)(
            environments.state, clipped(environment.action, action), step_keys
        )
        over = outcome.terminated | outcome.truncated

        def select(new: Array, old: Array) -> Array:
            return jnp.where(over.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        next_state, observation = jax.tree.map(select, initial, (env_state, outcome.observation))
        episode_return, steps = environments.episode_return + outcome.reward, environments.steps + 1
        row = Rollout(
            environments.observation,
            action,
            outcome.observation,
            outcome.terminated,
            outcome.truncated,
            outcome.reward,
            log_prob,
        )
        last_return = jnp.where(over, episode_return, environments.last_return)
        return Environments(next_state, observation, episode_return * ~over, steps * ~over, last_return), row

    environments, rollout = jax.lax.scan(step, environments, (action_keys, step_keys, initial))
    episodes = jnp.sum(rollout.terminated | rollout.truncated)
    return environments, rollout, {"return": environments.last_return.mean(), "episodes": episodes}


def in_graph(environment: Environment, agent: Agent, *, envs: int, time: int) -> Algorithm:
    """(init, step) whose batch is the demonstrations, or None for learners of a given reward."""

    def init(key: jax.Array) -> State:
        agent_key, reset_key = jax.random.split(key)
        state = agent.init(agent_key)
        return State(state, reset(environment, envs, reset_key))

    def step(state: State, demonstrations: Transitions | None, key: jax.Array) -> tuple[State, Info]:
        rollout_key, agent_key = jax.random.split(key)
        environments, rollout, returns = collect(environment, agent, state.agent, state.environments, rollout_key, time)
        batch = rollout if demonstrations is None else ImitationBatch(rollout, demonstrations)
        learned, info = agent.step(state.agent, batch, agent_key)
        return State(learned, environments), info | returns

    return Algorithm(init, step)


def returns(
    environment: Environment, agent: Agent, state: AgentState, key: jax.Array, episodes: int, *, explore: bool = False
) -> Float[Array, " episodes"]:
    """Returns of vectorised episodes, with greedy or exploratory actions."""
    acting = agent if explore else agent.exploiting()

    def step(carry, key: jax.Array):
        env_state, observation, total, running = carry
        action_key, step_key = jax.random.split(key)
        action = clipped(environment.action, acting.act(state, observation, action_key)[0])
        env_state, outcome = jax.vmap(environment.step)(env_state, action, jax.random.split(step_key, episodes))
        total = total + jnp.where(running, outcome.reward, 0.0)
        running = running & ~(outcome.terminated | outcome.truncated)
        return (env_state, outcome.observation, total, running), None

    reset_key, step_key = jax.random.split(key)
    environments = reset(environment, episodes, reset_key)
    carry = (environments.state, environments.observation, environments.episode_return, jnp.ones(episodes, bool))
    carry, _ = jax.lax.scan(step, carry, jax.random.split(step_key, environment.horizon))
    return carry[2]
