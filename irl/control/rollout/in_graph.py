"""Acting and learning in one compiled program, for environments that are pure functions.

`in_graph` makes an `Algorithm` of an agent and an environment: one step is a rollout of all environments and whatever
the agent learns from it, with nothing on the host. `jax.vmap` over its init and step trains many seeds at once.
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


class Lanes(NamedTuple):
    """Environments side by side in the middle of their episodes."""

    state: EnvState
    observation: Array
    earned: Float[Array, " envs"]
    """Sum of the environment's rewards in the running episode."""
    steps: Int[Array, " envs"]
    last: Float[Array, " envs"]
    """What the last finished episode earned; 0 before the first."""


class State(NamedTuple):
    agent: AgentState
    lanes: Lanes

    @property
    def params(self) -> Any:
        """The agent's: what is trained."""
        return self.agent.params


def begin(environment: Environment, envs: int, key: jax.Array) -> Lanes:
    """`envs` fresh episodes."""
    state, observation = jax.vmap(environment.reset)(jax.random.split(key, envs))
    return Lanes(state, observation, jnp.zeros(envs), jnp.zeros(envs, jnp.int32), jnp.zeros(envs))


def clipped(space: Space, action: Array) -> Array:
    """An action brought inside its bounds."""
    return jnp.clip(action, *space.bounds()) if isinstance(space, Box) else action


def collect(
    environment: Environment, agent: Agent, state: AgentState, lanes: Lanes, key: jax.Array, time: int
) -> tuple[Lanes, Rollout, Info]:
    """`time` steps in every lane; info: mean return of the lanes' last finished episodes, and how many ended.

    Fresh episodes for every step are made before the first: their random numbers cost less at once.
    """
    envs = len(lanes.earned)
    keys = jax.random.split(key, (time, 1 + 2 * envs))
    of_action, of_step, of_reset = keys[:, 0], keys[:, 1 : 1 + envs], keys[:, 1 + envs :]
    begun = jax.vmap(jax.vmap(environment.reset))(of_reset)

    def step(lanes: Lanes, given):
        of_action, of_step, fresh = given
        action, log_prob = agent.act(state, lanes.observation, of_action)
        done_action = clipped(environment.action, action)
        inner, outcome = jax.vmap(environment.step)(lanes.state, done_action, of_step)
        over = outcome.terminated | outcome.truncated

        def pick(new: Array, old: Array) -> Array:
            return jnp.where(over.reshape(-1, *[1] * (old.ndim - 1)), new, old)

        following, observation = jax.tree.map(pick, fresh, (inner, outcome.observation))
        earned, steps = lanes.earned + outcome.reward, lanes.steps + 1
        made = Rollout(
            lanes.observation,
            action,
            outcome.observation,
            outcome.terminated,
            outcome.truncated,
            outcome.reward,
            log_prob,
        )
        last = jnp.where(over, earned, lanes.last)
        return Lanes(following, observation, earned * ~over, steps * ~over, last), made

    lanes, rollout = jax.lax.scan(step, lanes, (of_action, of_step, begun))
    episodes = jnp.sum(rollout.terminated | rollout.truncated)
    return lanes, rollout, {"return": lanes.last.mean(), "episodes": episodes}


def in_graph(environment: Environment, agent: Agent, *, envs: int, time: int) -> Algorithm:
    """(init, step); the batch of a step is the demonstrations, or None for learners of a given reward."""

    def init(key: jax.Array) -> State:
        of_agent, of_lanes = jax.random.split(key)
        state = agent.init(of_agent)
        return State(state, begin(environment, envs, of_lanes))

    def step(state: State, demonstrations: Transitions | None, key: jax.Array) -> tuple[State, Info]:
        of_rollout, of_agent = jax.random.split(key)
        lanes, rollout, earned = collect(environment, agent, state.agent, state.lanes, of_rollout, time)
        batch = rollout if demonstrations is None else ImitationBatch(rollout, demonstrations)
        learned, info = agent.step(state.agent, batch, of_agent)
        return State(learned, lanes), info | earned

    return Algorithm(init, step)


def returns(
    environment: Environment, agent: Agent, state: AgentState, key: jax.Array, episodes: int, *, explore: bool = False
) -> Float[Array, " episodes"]:
    """Returns of whole episodes side by side, by what the agent thinks best, or as it explores."""

    def step(carry, key: jax.Array):
        inner, observation, earned, alive = carry
        of_action, of_step = jax.random.split(key)
        action = agent.act(state, observation, of_action)[0] if explore else agent.best(state, observation)
        action = clipped(environment.action, action)
        inner, outcome = jax.vmap(environment.step)(inner, action, jax.random.split(of_step, episodes))
        earned = earned + jnp.where(alive, outcome.reward, 0.0)
        alive = alive & ~(outcome.terminated | outcome.truncated)
        return (inner, outcome.observation, earned, alive), None

    of_begin, of_steps = jax.random.split(key)
    lanes = begin(environment, episodes, of_begin)
    carry = (lanes.state, lanes.observation, lanes.earned, jnp.ones(episodes, bool))
    carry, _ = jax.lax.scan(step, carry, jax.random.split(of_steps, environment.horizon))
    return carry[2]
