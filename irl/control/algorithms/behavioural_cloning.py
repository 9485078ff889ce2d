"""Behavioural cloning: the policy under which the demonstrated actions are likeliest.

    L = - E_{(s, a) ~ expert}[log pi(a|s)] - k_H E_{s ~ expert}[H(pi(.|s))] + k_2 |params|^2 / 2

Pomerleau, "Efficient Training of Artificial Neural Networks for Autonomous Navigation", Neural Computation 3(1), 1991.
Information level: demonstrations. It never acts, so errors add up with the square of the horizon (Ross & Bagnell 2010,
theorem 2.1): see dagger.py. Differences from the paper:

1. The policy is that of any `Agent`, and what is fitted is its likelihood: no squared errors, no discretised actions.
2. Entropy bonus and penalty. The entropy of discrete actions is exact; that of others is estimated by one action per
   state, drawn so that gradients pass through it.
3. The penalty is on all parameters of the agent, those of a critic included, which the likelihood leaves alone.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Num, PyTree

from irl.algorithms.base import Algorithm, Info
from irl.control.agent import Agent, AgentState
from irl.control.algorithms import adversarial
from irl.control.algorithms.base import Imitator, Shown
from irl.control.moments import no_moments, updated
from irl.control.networks import Params
from irl.control.rollout import in_graph
from irl.control.spaces import Discrete, Space, features
from irl.control.types import Transitions
from irl.types import InputError
from reward_models.ranges import Rate, Weight
from reward_models.records import record
from reward_models.types import Array


class Labelled(NamedTuple):
    """States, and what the expert does there: all that cloning reads of demonstrations."""

    observation: Num[Array, "batch *observation"]
    action: Num[Array, "batch *action"]


class State(NamedTuple):
    params: Params
    opt_state: optax.OptState
    rest: AgentState
    """The agent's state around its params."""

    @property
    def agent(self) -> AgentState:
        """The agent's state, to act and to go on learning with."""
        return self.rest._replace(params=self.params)


@record
class BehaviouralCloning(Imitator):
    """Settings of behavioural cloning. Batches are `Transitions` or `Labelled`."""

    learning_rate: Rate = 1e-3
    entropy: Weight = 0.0
    """k_H."""
    l2: Weight = 0.0
    """k_2."""

    def imitate(self, learner: Agent, shown: Shown) -> tuple[Agent, None]:
        """The agent that is cloned; it learns from the demonstrations alone, without acting (`make`)."""
        return learner, None

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
            updates, opt_state = optimiser.update(grads, state.opt_state, state.params)
            return State(optax.apply_updates(state.params, updates), opt_state, state.rest), info

        return Algorithm(init, step)


def entropy(
    agent: Agent, space: Space, state: AgentState, observations: Num[Array, "batch ..."], key: jax.Array
) -> Float[Array, ""]:
    """Mean entropy of the policy in nats: exact for discrete actions, else estimated by an action per state."""
    if not isinstance(space, Discrete):
        return -agent.act(state, observations, key)[1].mean()
    every = jnp.arange(space.n, dtype=jnp.int32)[:, None].repeat(len(observations), axis=1)
    log_prob = jax.vmap(agent.log_prob, in_axes=(None, None, 0))(state, observations, every)
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
    """All epochs in one compiled scan; info has a mean per epoch.

    Batches are whole: the few rows left over are others in every epoch. For data that fits on the device;
    otherwise `irl.train.train` with an `ArraySource` does the same.
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
        of_order, of_steps = jax.random.split(key)
        order = jax.random.permutation(of_order, rows)[: count * size].reshape(count, size)

        def one(state: PyTree, at) -> tuple[PyTree, Info]:
            chosen, key = at
            return step(state, jax.tree.map(lambda leaf: leaf[chosen], data), key)

        state, infos = jax.lax.scan(one, state, (order, jax.random.split(of_steps, count)))
        return state, jax.tree.map(jnp.mean, infos)

    return jax.lax.scan(epoch, state, keys)


def number_of_steps(demonstrations: Transitions | Labelled) -> int:
    """Their common number; InputError: none, or different numbers of different things."""
    lengths = {name: len(values) for name, values in demonstrations._asdict().items()}
    if len(set(lengths.values())) > 1:
        raise InputError(f"demonstrations: expected as many of each, got {lengths}")
    steps = len(demonstrations.observation)
    if steps == 0:
        raise InputError("demonstrations: empty; expected at least one step")
    return steps


def knowing(agent: Agent, observation: Space, demonstrations: Transitions | Labelled) -> Agent:
    """An agent that normalises observations, with its running moments begun from those of the demonstrations.

    Cloning itself moves no moments. Take the same agent for what follows a warm start.
    """
    moments = updated(no_moments((observation.width,)), features(observation, demonstrations.observation))
    return agent._replace(init=lambda key: agent.init(key)._replace(moments=moments))


def warm_start(state: AgentState, params: Params) -> AgentState:
    """A state to begin from with the cloned `params`: an agent's own, or of the learner in an adversarial game.

    Also takes the state of `in_graph`. What else is in the state (optimiser, replay buffer, discriminator) stays.
    """
    match state:
        case in_graph.State():
            return state._replace(agent=warm_start(state.agent, params))
        case adversarial.State():
            return state._replace(learner=warm_start(state.learner, params))
    return state._replace(params=params)
