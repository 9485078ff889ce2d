"""DAgger: the expert labels the states that the learner visits.

    pi_i = beta_i pi* + (1 - beta_i) pi^_i,    D <- D u {(s, pi*(s)): s visited by pi_i},    pi^_{i+1} = argmin L_D

Ross, Gordon & Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning",
AISTATS 2011 (arXiv 1011.0686), algorithm 3.1. Information level: demonstrations, and an expert that can be queried in
any state. Differences from the paper:

1. L is the likelihood of behavioural cloning. Training of pi^_{i+1} continues from pi^_i instead of starting from
   scratch: a round consists of `updates` batches drawn from all of D.
2. D is an array of fixed size; when it is full, new labels overwrite the oldest ones.
3. The result is the last policy, not the best one on held-out data.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from irl.algorithms.base import Algorithm, Info
from irl.control.agent import Agent, AgentState
from irl.control.algorithms import behavioural_cloning
from irl.control.algorithms.base import ImitationProblem, Imitator
from irl.control.algorithms.behavioural_cloning import BehaviouralCloning, Labelled, number_of_steps
from irl.control.networks import Params
from irl.control.spaces import Space
from irl.control.types import Rollout, flat
from irl.types import InputError
from reward_models.ranges import Count, Rows, Share
from reward_models.records import record
from reward_models.types import Array

Expert = Callable[[Params, Num[Array, "batch ..."]], Array]
"""(params, observations) -> actions, pure"""


class Beta(ABC):
    """The config class of a schedule of beta."""

    @abstractmethod
    def at(self, rounds: Int[Array, ""]) -> Float[Array, ""]:
        """beta_i after `rounds` completed rounds."""


@record
class ExponentialBeta(Beta):
    """beta_i = decay^i. At decay 0 the expert acts in the first round only: the paper's parameter-free choice."""

    decay: Share = 0.0

    def at(self, rounds: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.where(rounds == 0, 1.0, self.decay ** rounds.astype(jnp.float32))


@record
class LinearBeta(Beta):
    """beta_i = max(0, 1 - i / rounds)."""

    rounds: Count = 15

    def at(self, rounds: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.maximum(0.0, 1 - rounds / self.rounds)


class State(NamedTuple):
    cloning: behavioural_cloning.State
    data: Labelled
    """D; unused rows are zero."""
    inserted: Int[Array, ""]
    """Number of labels so far."""
    rounds: Int[Array, ""]

    @property
    def params(self) -> Params:
        """The learner's parameters."""
        return self.cloning.params


class GuidedState(NamedTuple):
    learner: State
    expert: Params

    @property
    def params(self) -> Params:
        """The learner's parameters."""
        return self.learner.params

    @property
    def agent(self) -> AgentState:
        """The state of the learner as an agent."""
        return self.learner.cloning.agent

    def with_agent(self, agent: AgentState) -> "GuidedState":
        cloning = self.learner.cloning._replace(params=agent.params, rest=agent._replace(params=None))
        return self._replace(learner=self.learner._replace(cloning=cloning))


@record
class Dagger(Imitator):
    """Settings of DAgger."""

    cloning: BehaviouralCloning = BehaviouralCloning()
    beta: Beta = ExponentialBeta()
    updates: Rows = 200
    """Batches per round."""
    batch: Rows = 64
    capacity: Rows = 100_000
    """Size of D, in labels."""

    def make(self, agent: Agent, observation: Space, action: Space) -> Algorithm:
        """(init, step) whose batch is the `Labelled` rows of one round, from any source."""
        cloning = self.cloning.make(agent, action)

        def init(key: jax.Array) -> State:
            empty = Labelled(*(jnp.zeros((self.capacity, *s.shape), s.dtype) for s in (observation, action)))
            return State(cloning.init(key), empty, jnp.int32(0), jnp.int32(0))

        def step(state: State, batch: Labelled, key: jax.Array) -> tuple[State, Info]:
            before = agent.log_prob(state.cloning.agent, batch.observation, batch.action).mean()
            data, inserted = aggregated(state.data, state.inserted, batch)

            def update(learner: behavioural_cloning.State, key: jax.Array):
                row_key, step_key = jax.random.split(key)
                rows = jax.random.randint(row_key, (self.batch,), 0, jnp.minimum(inserted, self.capacity))
                return cloning.step(learner, jax.tree.map(lambda leaf: leaf[rows], data), step_key)

            learner, infos = jax.lax.scan(update, state.cloning, jax.random.split(key, self.updates))
            info = jax.tree.map(jnp.mean, infos) | {"log_likelihood_before": before}
            return State(learner, data, inserted, state.rounds + 1), info

        return Algorithm(init, step)

    def imitate(self, learner: Agent, problem: ImitationProblem) -> tuple[Agent, None]:
        if problem.expert_policy is None:
            raise InputError("Dagger: expected an expert to query, got a file; set expert=TrainedExpert(...)")
        guided = self.guided(learner, problem.observation, problem.action, problem.expert_policy, problem.expert_state)
        return guided._replace(step=lambda state, batch, key: guided.step(state, batch.rollout, key)), None

    def guided(self, agent: Agent, observation: Space, action: Space, expert: Expert, params: Params) -> Agent:
        """An agent that mixes in the expert's actions, and whose step labels the rollout with the expert.

        `greedy` and `log_prob` are those of the learner. Every step is a round.
        """
        learning = self.make(agent, observation, action)

        def init(key: jax.Array) -> GuidedState:
            return GuidedState(learning.init(key), params)

        def act(state: GuidedState, observations: Array, key: jax.Array):
            learner_key, choice_key = jax.random.split(key)
            learner_actions, _ = agent.act(state.agent, observations, learner_key)
            count, ndim = len(learner_actions), learner_actions.ndim
            by_expert = jax.random.uniform(choice_key, (count,)) < self.beta.at(state.learner.rounds)
            expert_actions = expert(state.expert, observations).astype(learner_actions.dtype)
            actions = jnp.where(by_expert.reshape(-1, *[1] * (ndim - 1)), expert_actions, learner_actions)
            return actions, agent.log_prob(state.agent, observations, actions)

        def step(state: GuidedState, rollout: Rollout, key: jax.Array) -> tuple[GuidedState, Info]:
            observations = flat(rollout.observation)
            labels = expert(state.expert, observations).astype(action.dtype)
            learner, info = learning.step(state.learner, Labelled(observations, labels), key)
            return state._replace(learner=learner), info | {"beta": self.beta.at(state.learner.rounds)}

        return agent.nested(init, step, lambda state: state.agent, GuidedState.with_agent)._replace(act=act)


def aggregated(data: Labelled, inserted: Int[Array, ""], new: Labelled) -> tuple[Labelled, Int[Array, ""]]:
    """(D with the new labels in its ring buffer, number of labels so far)."""
    count, capacity = number_of_steps(new), len(data.action)
    if count > capacity:
        raise InputError(f"Dagger.capacity: expected at least {count}, the labels of one round, got {capacity}")
    rows = (inserted + jnp.arange(count)) % capacity
    return jax.tree.map(lambda old, add: old.at[rows].set(add.astype(old.dtype)), data, new), inserted + count
