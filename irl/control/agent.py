"""The interface of everything that acts in an environment: reinforcement learners, and imitators built around them.

An `Agent` is an `Algorithm` (init, step) that can also act. The batch of its step depends on the agent: learners take a
`Rollout`, imitators an `ImitationBatch`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Num

from irl.algorithms.base import Info
from irl.control.spaces import Space, random_values
from irl.control.types import Rollout, Transitions
from reward_models.types import Array

AgentState = Any
Observations = Num[Array, "batch ..."]


class ImitationBatch(NamedTuple):
    """A rollout of the agent, and the demonstrations."""

    rollout: Rollout
    demonstrations: Transitions


def _replace_params(state: AgentState, params: Any) -> AgentState:
    return state._replace(params=params)


def _policy_arrays(state: AgentState) -> dict[str, Any]:
    return {"policy": state.params, "moments": state.moments._asdict()}


def _get_learner(state: AgentState) -> AgentState:
    return state.learner


def _put_learner(state: AgentState, learner: AgentState) -> AgentState:
    return state._replace(learner=learner)


class Agent(NamedTuple):
    """Pure functions; observations and actions are batches.

    The defaults of the last two are for states with the fields `params` and `moments`.
    """

    init: Callable[[jax.Array], AgentState]
    """key -> state"""
    act: Callable[[AgentState, Observations, jax.Array], tuple[Array, Float[Array, " batch"]]]
    """(state, observations, key) -> (exploratory actions, their log-probabilities in nats)"""
    greedy: Callable[[AgentState, Observations], Array]
    """(state, observations) -> greedy (deterministic) actions"""
    log_prob: Callable[[AgentState, Observations, Array], Float[Array, " batch"]]
    """(state, observations, actions) -> nats"""
    step: Callable[[AgentState, Any, jax.Array], tuple[AgentState, Info]]
    """(state, batch, key) -> (state, info)"""
    with_params: Callable[[AgentState, Any], AgentState] = _replace_params
    """(state, params of the policy) -> state; for policies that start from a clone"""
    learned: Callable[[AgentState], dict[str, Any]] = _policy_arrays
    """state -> the arrays of the policy, and of the reward if there is one, for export"""

    def nested(
        self,
        init: Callable[[jax.Array], AgentState],
        step: Callable[[AgentState, Any, jax.Array], tuple[AgentState, Info]],
        get: Callable[[AgentState], AgentState] = _get_learner,
        put: Callable[[AgentState, AgentState], AgentState] = _put_learner,
    ) -> "Agent":
        """An agent with the policy of this one and another (init, step).

        Args:
            init: key -> state of the new agent.
            step: (state, batch, key) -> (state, info).
            get: state of the new agent -> state of this agent; by default, its field `learner`.
            put: (state of the new agent, state of this agent) -> state of the new agent.
        """
        return Agent(
            init,
            act=lambda state, observations, key: self.act(get(state), observations, key),
            greedy=lambda state, observations: self.greedy(get(state), observations),
            log_prob=lambda state, observations, actions: self.log_prob(get(state), observations, actions),
            step=step,
            with_params=lambda state, params: put(state, self.with_params(get(state), params)),
            learned=lambda state: self.learned(get(state)),
        )

    def exploiting(self) -> "Agent":
        """The agent without exploration; it reports log-probabilities of 0."""

        def act(state: AgentState, observations: Observations, key: jax.Array) -> tuple[Array, Array]:
            return self.greedy(state, observations), jnp.zeros(len(observations))

        return self._replace(act=act)


def scripted_agent(policy: Callable[[Observations, jax.Array], Array]) -> Agent:
    """An agent that follows (observations, key) -> actions and learns nothing; its state is None."""
    return Agent(
        init=lambda key: None,
        act=lambda state, observations, key: (policy(observations, key), jnp.zeros(len(observations))),
        greedy=lambda state, observations: policy(observations, jax.random.key(0)),
        log_prob=lambda state, observations, actions: jnp.zeros(len(observations)),
        step=lambda state, batch, key: (state, {}),
    )


def random_agent(action: Space) -> Agent:
    """An agent with uniformly random actions."""
    return scripted_agent(lambda observations, key: random_values(action, key, len(observations)))
