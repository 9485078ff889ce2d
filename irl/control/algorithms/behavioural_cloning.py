"""Behavioural cloning: maximise the likelihood of the demonstrated actions.

    L = - E_{(s, a) ~ expert}[log pi(a|s)] - k_H E_{s ~ expert}[H(pi(.|s))] + k_2 |params|^2 / 2

Pomerleau, "Efficient Training of Artificial Neural Networks for Autonomous Navigation", Neural Computation 3(1), 1991.
Information level: demonstrations. It never acts, so errors grow with the square of the horizon (Ross & Bagnell 2010,
theorem 2.1): see dagger.py. Differences from the paper:

1. The policy is that of any `Agent`, fitted by maximum likelihood, without squared errors or discretised actions.
2. An entropy bonus and an L2 penalty. The entropy of discrete actions is exact; otherwise it is estimated with one
   reparametrised action per state.
3. The penalty applies to all parameters of the agent, including those of a critic, which have no likelihood gradient.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Num, PyTree

from irl.algorithms.base import Algorithm, Info, apply_gradient
from irl.control.agent import Agent, AgentState
from irl.control.algorithms.base import ImitationProblem, Imitator
from irl.control.networks import Params
from irl.control.spaces import Discrete, Space
from irl.control.types import Transitions
from irl.types import InputError
from reward_models.ranges import Rate, Weight
from reward_models.records import record
from reward_models.types import Array


class Labelled(NamedTuple):
    """Observations with the expert's actions: the part of demonstrations that cloning uses."""

    observation: Num[Array, "batch *observation"]
    action: Num[Array, "batch *action"]


class State(NamedTuple):
    params: Params
    opt_state: optax.OptState
    rest: AgentState
    """The agent's state without its params."""

    @property
    def agent(self) -> AgentState:
        """The agent's state, to act and to continue training."""
        return self.rest._replace(params=self.params)


@record
class BehaviouralCloning(Imitator):
    """Settings of behavioural cloning. Batches are `Transitions` or `Labelled`."""

    learning_rate: Rate = 1e-3
    entropy: Weight = 0.0
    """k_H."""
    l2: Weight = 0.0
    """k_2."""

    def imitate(self, learner: Agent, problem: ImitationProblem) -> tuple[Agent, None]:
        return learner, None

    def offline(self, agent: Agent, action: Space) -> Algorithm:
        return self.make(agent, action)

    def make(self, agent: Agent, action: Space) -> Algorithm:
        optimiser = optax.flatten(optax.adam(self.learning_rate))

        def init(key: jax.Array) -> State:
            state = agent.init(key)
            return State(state.params, optimiser.init(state.params), state._replace(params=None))

        def loss(params: Params, rest: AgentState, batch: Transitions | Labelled, key: jax.Array):
            state = rest._replace(params=params)
            log_likelihood = agent.log_prob(state, batch.observation, batch.action).mean()
            value, info = -log_likelihood, {"log_likelihood": log_likelihood}
            if self.entropy:
                info["entropy"] = entropy(agent, action, state, batch.observation, key)
                value -= self.entropy * info["entropy"]
            if self.l2:
                value += 0.5 * self.l2 * optax.tree.norm(params, squared=True)
            return value, info | {"loss": value}

        def step(state: State, batch: Transitions | Labelled, key: jax.Array) -> tuple[State, Info]:
            (_, info), grads = jax.value_and_grad(loss, has_aux=True)(state.params, state.rest, batch, key)
            return apply_gradient(optimiser, state, grads), info

        return Algorithm(init, step)


def entropy(
    agent: Agent, space: Space, state: AgentState, observations: Num[Array, "batch ..."], key: jax.Array
) -> Float[Array, ""]:
    """Mean entropy of the policy in nats: exact for discrete actions, otherwise estimated from one action per state."""
    if not isinstance(space, Discrete):
        return -agent.act(state, observations, key)[1].mean()
    every_action = jnp.arange(space.n, dtype=jnp.int32)[:, None].repeat(len(observations), axis=1)
    log_prob = jax.vmap(agent.log_prob, in_axes=(None, None, 0))(state, observations, every_action)
    return -jnp.sum(jnp.exp(log_prob) * log_prob, axis=0).mean()


def train_epochs(
    algorithm: Algorithm,
    state: PyTree,
    demonstrations: Transitions | Labelled,
    key: jax.Array,
    *,
    epochs: int = 1,
    batch: int = 32,
) -> tuple[PyTree, Info]:
    """Train for all epochs in one compiled scan; info has one mean per epoch.

    All batches are full: the remaining rows differ between epochs. The data must fit on the device; for other data use
    `irl.train.train`.
    """
    rows = number_of_steps(demonstrations)
    if epochs < 1 or batch < 1:
        raise InputError(f"train_epochs: expected epochs and batch of at least 1, got {epochs}, {batch}")
    keys = jax.random.split(key, epochs)
    return _epochs(algorithm.step, min(batch, rows), state, jax.tree.map(jnp.asarray, demonstrations), keys)


@partial(jax.jit, static_argnums=(0, 1))
def _epochs(step, size: int, state: PyTree, data: Transitions | Labelled, keys: jax.Array) -> tuple[PyTree, Info]:
    rows = number_of_steps(data)
    count = rows // size

    def epoch(state: PyTree, key: jax.Array) -> tuple[PyTree, Info]:
        order_key, step_key = jax.random.split(key)
        order = jax.random.permutation(order_key, rows)[: count * size].reshape(count, size)

        def one(state: PyTree, rows_and_key) -> tuple[PyTree, Info]:
            rows, key = rows_and_key
            return step(state, jax.tree.map(lambda leaf: leaf[rows], data), key)

        state, infos = jax.lax.scan(one, state, (order, jax.random.split(step_key, count)))
        return state, jax.tree.map(jnp.mean, infos)

    return jax.lax.scan(epoch, state, keys)


def number_of_steps(demonstrations: Transitions | Labelled) -> int:
    """The number of demonstrated steps. Raises InputError if there are none, or if arrays differ in length."""
    lengths = {name: len(values) for name, values in demonstrations._asdict().items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"demonstrations: expected arrays of one length, got {lengths}")
    steps = len(demonstrations.observation)
    if steps == 0:
        raise InputError("demonstrations: empty; expected at least one step")
    return steps
