"""Deep Q-learning: the value of every action, by regression on what it led to.

    L = E[huber(Q(s, a) - y)],    y = r + discount Q'(s', argmax_b Q(s', b))

Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015, algorithm 1; the action of
the maximum chosen by Q and valued by the slow copy Q', as van Hasselt, Guez & Silver 2016 do (arXiv 1509.06461).
Information level: rewards, of whatever kind the rollout holds. Differences from the papers:

1. y = r only where the task is over (terminated); where a time limit cut it off, it bootstraps.
2. Perceptrons on vectors, Adam, several environments at once, soft target updates (see off_policy.py).
3. Learning starts with the first rollout: no steps by chance before.
4. `log_prob` is that of the epsilon-greedy policy, epsilon as far as the schedule is, but its gradient is that of
   log softmax(Q): the true one is zero, and behavioural cloning would teach nothing.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from irl.algorithms.base import Info
from irl.control.agent import Agent
from irl.control.learners.off_policy import Learner, OffPolicy, learning
from irl.control.learners.replay import Experience
from irl.control.networks import Params, perceptron
from irl.control.spaces import Discrete, Space
from irl.types import InputError
from reward_models.ranges import Count, Share, Widths
from reward_models.records import record


@record
class Dqn:
    """Settings of DQN."""

    discount: Share = 0.99
    double: bool = True
    """Q' values the action that Q, not Q' itself, thinks best."""
    first_epsilon: Share = 1.0
    last_epsilon: Share = 0.05
    epsilon_steps: Count = 10_000
    """Environment steps from the first epsilon to the last."""
    hidden: Widths = (64, 64)
    training: OffPolicy = OffPolicy()

    def __post_init__(self):
        if self.last_epsilon > self.first_epsilon:
            raise InputError(
                f"Dqn.last_epsilon: expected at most first_epsilon, {self.first_epsilon}, got {self.last_epsilon}"
            )

    def make(self, observation: Space, action: Space) -> Agent:
        return learning(self.training, self.build(observation, action), observation, action)

    def build(self, observation: Space, action: Space) -> Learner:
        """What learns, without its memory."""
        if not isinstance(action, Discrete):
            raise InputError(f"Dqn: expected discrete actions, got {action}; Sac is for boxes")
        network = perceptron((observation.width, *self.hidden, action.n), jax.nn.relu)

        def log_policy(params: Params, inputs, taken) -> Float[Array, "batch n"]:
            return log_epsilon_greedy(network.apply(params, inputs), self.epsilon(taken))

        def act(params: Params, inputs, taken, key):
            chances = log_policy(params, inputs, taken)
            actions = jax.random.categorical(key, chances).astype(jnp.int32)
            return actions, at(chances, actions)

        def loss(params: Params, target: Params, batch: Experience, key) -> tuple[Array, Info]:
            value, next_value = network.apply(params, batch.observation), network.apply(target, batch.next_observation)
            judge = network.apply(params, batch.next_observation) if self.double else next_value
            future = jnp.where(batch.terminated, 0.0, at(next_value, jnp.argmax(judge, axis=-1)))
            goal = jax.lax.stop_gradient(batch.reward + self.discount * future)
            q = at(value, batch.action)
            return optax.huber_loss(q, goal).mean(), {"q": q.mean()}

        return Learner(
            network.init,
            slow=lambda params: params,
            act=act,
            best=lambda params, inputs: jnp.argmax(network.apply(params, inputs), axis=-1).astype(jnp.int32),
            log_prob=lambda params, inputs, taken, actions: at(log_policy(params, inputs, taken), actions),
            loss=loss,
        )

    def epsilon(self, taken: Int[Array, ""]) -> Float[Array, ""]:
        """The share of actions that are left to chance after `taken` steps."""
        done = jnp.minimum(taken / self.epsilon_steps, 1.0)
        return self.first_epsilon + done * (self.last_epsilon - self.first_epsilon)


def at(values: Float[Array, "batch n"], actions: Int[Array, " batch"]) -> Float[Array, " batch"]:
    """Each row's entry at its action."""
    chosen = jax.nn.one_hot(actions, values.shape[-1], dtype=bool)
    return jnp.where(chosen, values, 0.0).sum(axis=-1)


def log_epsilon_greedy(values: Float[Array, "batch n"], epsilon: Float[Array, ""]) -> Float[Array, "batch n"]:
    """log(epsilon / n + (1 - epsilon) [a = argmax]), with the gradient of log softmax(values)."""
    n = values.shape[-1]
    greedy = jax.nn.one_hot(jnp.argmax(values, axis=-1), n)
    chances = jnp.log(epsilon / n + (1 - epsilon) * greedy)
    smooth = jax.nn.log_softmax(values)
    return jax.lax.stop_gradient(chances - smooth) + smooth
