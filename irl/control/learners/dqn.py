"""Deep Q-learning: the value of every action, by temporal-difference regression.

    L = E[huber(Q(s, a) - y)],    y = r + discount Q'(s', argmax_b Q(s', b))

Mnih et al., "Human-level control through deep reinforcement learning", Nature 518, 2015, algorithm 1, with double
Q-learning: Q selects the maximising action and the target network Q' evaluates it (van Hasselt, Guez & Silver 2016,
arXiv 1509.06461). Information level: the rewards of the rollout. Differences from the papers:

1. y = r only if the task has terminated; a truncated step bootstraps.
2. Perceptrons on vectors, Adam, several environments at once, soft target updates (see off_policy.py).
3. Training starts with the first rollout, without preceding random steps.
4. `log_prob` is that of the epsilon-greedy policy at the current epsilon, but its gradient is that of log softmax(Q):
   the true gradient is zero, so behavioural cloning would learn nothing.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from irl.algorithms.base import Info
from irl.control.learners.off_policy import OffPolicy, OffPolicyFunctions, OffPolicyLearner
from irl.control.learners.replay import Experience
from irl.control.networks import Params, at_actions, perceptron
from irl.control.spaces import Discrete, Space
from irl.types import InputError
from reward_models.ranges import Count, Share, Widths
from reward_models.records import record


@record
class Dqn(OffPolicyLearner):
    """Settings of DQN."""

    discount: Share = 0.99
    double: bool = True
    """Q selects the action that Q' evaluates, instead of Q' itself."""
    first_epsilon: Share = 1.0
    last_epsilon: Share = 0.05
    epsilon_steps: Count = 10_000
    """Environment steps over which epsilon decays linearly."""
    hidden: Widths = (64, 64)
    training: OffPolicy = OffPolicy()

    def __post_init__(self):
        if self.last_epsilon > self.first_epsilon:
            raise InputError(
                f"Dqn.last_epsilon: expected at most first_epsilon, {self.first_epsilon}, got {self.last_epsilon}"
            )

    def build(self, observation: Space, action: Space) -> OffPolicyFunctions:
        if not isinstance(action, Discrete):
            raise InputError(f"Dqn: expected discrete actions, got {action}; use Sac for boxes")
        network = perceptron((observation.width, *self.hidden, action.n), jax.nn.relu)

        def log_policy(params: Params, inputs, steps) -> Float[Array, "batch n"]:
            return log_epsilon_greedy(network.apply(params, inputs), self.epsilon(steps))

        def act(params: Params, inputs, steps, key):
            log_probs = log_policy(params, inputs, steps)
            actions = jax.random.categorical(key, log_probs).astype(jnp.int32)
            return actions, at_actions(log_probs, actions)

        def loss(params: Params, target: Params, batch: Experience, key) -> tuple[Array, Info]:
            value, next_value = network.apply(params, batch.observation), network.apply(target, batch.next_observation)
            selector = network.apply(params, batch.next_observation) if self.double else next_value
            future = jnp.where(batch.terminated, 0.0, at_actions(next_value, jnp.argmax(selector, axis=-1)))
            y = jax.lax.stop_gradient(batch.reward + self.discount * future)
            q = at_actions(value, batch.action)
            return optax.huber_loss(q, y).mean(), {"q": q.mean()}

        return OffPolicyFunctions(
            network.init,
            target=lambda params: params,
            act=act,
            greedy=lambda params, inputs: jnp.argmax(network.apply(params, inputs), axis=-1).astype(jnp.int32),
            log_prob=lambda params, inputs, steps, actions: at_actions(log_policy(params, inputs, steps), actions),
            loss=loss,
        )

    def epsilon(self, steps: Int[Array, ""]) -> Float[Array, ""]:
        """Probability of a random action after `steps` environment steps."""
        progress = jnp.minimum(steps / self.epsilon_steps, 1.0)
        return self.first_epsilon + progress * (self.last_epsilon - self.first_epsilon)


def log_epsilon_greedy(values: Float[Array, "batch n"], epsilon: Float[Array, ""]) -> Float[Array, "batch n"]:
    """log(epsilon / n + (1 - epsilon) [a = argmax]), with the gradient of log softmax(values)."""
    n = values.shape[-1]
    greedy = jax.nn.one_hot(jnp.argmax(values, axis=-1), n)
    log_probs = jnp.log(epsilon / n + (1 - epsilon) * greedy)
    smooth = jax.nn.log_softmax(values)
    return jax.lax.stop_gradient(log_probs - smooth) + smooth
