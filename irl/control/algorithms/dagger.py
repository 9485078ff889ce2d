"""DAgger: the expert says what it would have done in the states that the learner gets into.

    pi_i = beta_i pi* + (1 - beta_i) pi^_i,    D <- D u {(s, pi*(s)): s visited by pi_i},    pi^_{i+1} = argmin L_D

Ross, Gordon & Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online Learning",
AISTATS 2011 (arXiv 1011.0686), algorithm 3.1. Information level: demonstrations, and an expert that answers in any
state. Differences from the paper:

1. L is the likelihood of behavioural cloning, and pi^_{i+1} goes on from pi^_i instead of being fitted from scratch: a
   round is `updates` batches drawn from all of D.
2. D is an array of fixed size; when it is full, the newest labels take the place of the oldest.
3. The last policy is kept, not the best one on held-out data.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int, Num

from irl.algorithms.base import Algorithm, Info
from irl.control.agent import Agent
from irl.control.algorithms import behavioural_cloning
from irl.control.algorithms.base import Imitator, Shown
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


@record
class ExponentialBeta:
    """beta_i = decay^i. With 0 the expert acts in the first round only: the paper's parameter-free choice."""

    decay: Share = 0.0

    def at(self, done: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.where(done == 0, 1.0, self.decay ** done.astype(jnp.float32))


@record
class LinearBeta:
    """beta_i = 1 - i / rounds, and 0 from then on."""

    rounds: Count = 15

    def at(self, done: Int[Array, ""]) -> Float[Array, ""]:
        return jnp.maximum(0.0, 1 - done / self.rounds)


Beta = ExponentialBeta | LinearBeta


class State(NamedTuple):
    cloning: behavioural_cloning.State
    data: Labelled
    """The array: rows that were not yet filled are zero."""
    seen: Int[Array, ""]
    """Labels so far."""
    rounds: Int[Array, ""]

    @property
    def params(self) -> Params:
        """The novice's."""
        return self.cloning.params


class GuidedState(NamedTuple):
    learner: State
    expert: Params

    @property
    def params(self) -> Params:
        """The novice's."""
        return self.learner.params


@record
class Dagger(Imitator):
    """Settings of DAgger."""

    cloning: BehaviouralCloning = BehaviouralCloning()
    beta: Beta = ExponentialBeta()
    updates: Rows = 200
    """Batches in a round."""
    batch: Rows = 64
    capacity: Rows = 100_000
    """Labels that are kept."""

    def make(self, agent: Agent, observation: Space, action: Space) -> Algorithm:
        """(init, step) on `Labelled` rows of one round, wherever they were gathered and labelled."""
        cloning = self.cloning.make(agent, action)

        def init(key: jax.Array) -> State:
            empty = Labelled(*(jnp.zeros((self.capacity, *s.shape), s.dtype) for s in (observation, action)))
            return State(cloning.init(key), empty, jnp.int32(0), jnp.int32(0))

        def step(state: State, batch: Labelled, key: jax.Array) -> tuple[State, Info]:
            before = agent.log_prob(state.cloning.agent, batch.observation, batch.action).mean()
            data, seen = aggregated(state.data, state.seen, batch)

            def update(learner: behavioural_cloning.State, key: jax.Array):
                of_rows, of_step = jax.random.split(key)
                rows = jax.random.randint(of_rows, (self.batch,), 0, jnp.minimum(seen, self.capacity))
                return cloning.step(learner, jax.tree.map(lambda leaf: leaf[rows], data), of_step)

            learner, infos = jax.lax.scan(update, state.cloning, jax.random.split(key, self.updates))
            info = jax.tree.map(jnp.mean, infos) | {"log_likelihood_before": before}
            return State(learner, data, seen, state.rounds + 1), info

        return Algorithm(init, step)

    def imitate(self, learner: Agent, shown: Shown) -> tuple[Agent, None]:
        """InputError: the expert cannot be asked."""
        if shown.asked is None:
            raise InputError("Dagger: demonstrations from a file cannot be asked; give it expert=TrainedExpert(...)")
        guided = self.guided(learner, shown.observation, shown.action, shown.asked, shown.expert)
        return guided._replace(step=lambda state, batch, key: guided.step(state, batch.rollout, key)), None

    def guided(self, agent: Agent, observation: Space, action: Space, expert: Expert, params: Params) -> Agent:
        """An agent for `in_graph`: it acts with the expert's help, and its step has the expert label the rollout.

        `best` and `log_prob` are the novice's own. Every step of `in_graph` is a round.
        """
        learning = self.make(agent, observation, action)

        def init(key: jax.Array) -> GuidedState:
            return GuidedState(learning.init(key), params)

        def act(state: GuidedState, observations: Array, key: jax.Array):
            of_novice, of_choice = jax.random.split(key)
            novice = state.learner.cloning.agent
            own, _ = agent.act(novice, observations, of_novice)
            asks = jax.random.uniform(of_choice, (len(own),)) < self.beta.at(state.learner.rounds)
            shown = expert(state.expert, observations).astype(own.dtype)
            actions = jnp.where(asks.reshape(-1, *[1] * (own.ndim - 1)), shown, own)
            return actions, agent.log_prob(novice, observations, actions)

        def step(state: GuidedState, rollout: Rollout, key: jax.Array) -> tuple[GuidedState, Info]:
            observations = flat(rollout.observation)
            labels = expert(state.expert, observations).astype(action.dtype)
            learner, info = learning.step(state.learner, Labelled(observations, labels), key)
            return state._replace(learner=learner), info | {"beta": self.beta.at(state.learner.rounds)}

        return Agent(
            init,
            act,
            best=lambda state, observations: agent.best(state.learner.cloning.agent, observations),
            log_prob=lambda state, observations, actions: agent.log_prob(
                state.learner.cloning.agent, observations, actions
            ),
            step=step,
        )


def aggregated(data: Labelled, seen: Int[Array, ""], new: Labelled) -> tuple[Labelled, Int[Array, ""]]:
    """D with the new labels in it, in a ring, and how many there have been."""
    count, capacity = number_of_steps(new), len(data.action)
    if count > capacity:
        raise InputError(f"Dagger.capacity: {capacity} is less than the {count} labels of one round; make it larger")
    rows = (seen + jnp.arange(count)) % capacity
    return jax.tree.map(lambda old, add: old.at[rows].set(add.astype(old.dtype)), data, new), seen + count
