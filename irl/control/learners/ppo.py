"""Proximal policy optimisation: policy-gradient steps on a rollout that stay close to the policy that collected it.

    L = - E[min(w A, clip(w, 1 - c, 1 + c) A)] + k_V E[(V(s) - G)^2] - k_H E[H(pi(.|s))],    w = pi(a|s) / pi_old(a|s)

Schulman et al., "Proximal Policy Optimization Algorithms", 2017 (arXiv 1707.06347), eq. 9, with generalised
advantages A and lambda-returns G (arXiv 1506.02438). Information level: the rewards of the rollout. Differences from
the paper:

1. A truncated episode bootstraps from the value of its last state, a terminated one from 0.
2. Advantages are normalised per minibatch.
3. Policy and value are separate networks, by default with two hidden layers of 64 tanh units.
4. Adam updates all parameters as one vector, which is faster than one update per array.
"""

from dataclasses import replace
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import optax
from annotated_types import Ge, Le
from jaxtyping import Bool, Float, Int

from irl.algorithms.base import Info
from irl.control.agent import Agent
from irl.control.learners.base import Learner
from irl.control.moments import Moments, empty_moments, normalised, update_moments
from irl.control.networks import Distribution, Params, Perceptron, distribution, perceptron
from irl.control.spaces import Space, features
from irl.control.types import Rollout, flat
from reward_models.ranges import CountOrZero, Positive, Rate, Rows, Share, Weight, Widths
from reward_models.records import record
from reward_models.types import Array


class State(NamedTuple):
    params: Params
    opt_state: optax.OptState
    moments: Moments


@record
class Ppo(Learner):
    """Settings of PPO."""

    learning_rate: Rate = 3e-4
    decay: CountOrZero = 0
    """Rollouts over which the learning rate decays linearly to 0; 0: constant."""
    discount: Share = 0.99
    trace_decay: Share = 0.95
    """lambda of the generalised advantages."""
    clip: Positive = 0.2
    entropy: Weight = 0.0
    value: Weight = 0.5
    epochs: Rows = 10
    minibatch: Rows = 256
    max_grad_norm: Positive = 0.5
    hidden: Widths = (64, 64)
    normalise: bool = False
    """Normalise observations by their running mean and variance."""
    initial_log_std: Annotated[float, Ge(-20), Le(20)] = 0.0

    def scheduled(self, rollouts: int) -> "Ppo":
        return replace(self, decay=min(self.decay, rollouts))

    def optimiser(self, updates: int = 1) -> optax.GradientTransformation:
        """The optimiser, for `updates` gradient steps per rollout."""
        fixed, last = self.learning_rate, self.decay * updates
        rate = optax.linear_schedule(fixed, 0.0, last) if self.decay else fixed
        return optax.flatten(optax.chain(optax.clip_by_global_norm(self.max_grad_norm), optax.adam(rate, eps=1e-5)))

    def make(self, observation: Space, action: Space) -> Agent:
        networks = ActorCritic(observation, distribution(action), self)

        def init(key: jax.Array) -> State:
            params = networks.init(key)
            return State(params, self.optimiser().init(params), empty_moments((observation.width,)))

        def act(state: State, observations, key):
            outputs, log_std = networks.policy(state, observations)
            actions = networks.distribution.sample(outputs, log_std, key)
            return actions, networks.distribution.log_prob(outputs, log_std, actions)

        def greedy(state: State, observations):
            return networks.distribution.mode(*networks.policy(state, observations))

        def log_prob(state: State, observations, actions):
            return networks.distribution.log_prob(*networks.policy(state, observations), actions)

        def step(state: State, rollout: Rollout, key: jax.Array) -> tuple[State, Info]:
            return ppo_step(self, networks, state, rollout, key)

        return Agent(init, act, greedy, log_prob, step)


class ActorCritic:
    """Policy and value network; params are {"actor", "critic", "log_std"}."""

    def __init__(self, observation: Space, action_distribution: Distribution, config: Ppo):
        self.observation, self.distribution, self.config = observation, action_distribution, config
        widths = (observation.width, *config.hidden)
        self.actor: Perceptron = perceptron((*widths, action_distribution.parameters), head_scale=0.01)
        self.critic: Perceptron = perceptron((*widths, 1))

    def init(self, key: jax.Array) -> Params:
        actor, critic = jax.random.split(key)
        spread = max(self.distribution.extra, 1)  # at least one for discrete actions: Orbax saves no empty array
        log_std = jnp.full(spread, self.config.initial_log_std, jnp.float32)
        return {"actor": self.actor.init(actor), "critic": self.critic.init(critic), "log_std": log_std}

    def inputs(self, moments: Moments, observations: Array) -> Float[Array, "batch width"]:
        vectors = features(self.observation, observations)
        return normalised(moments, vectors) if self.config.normalise else vectors

    def policy(self, state: State, observations: Array) -> tuple[Array, Array]:
        """Parameters of the distribution: (outputs, log standard deviations)."""
        inputs = self.inputs(state.moments, observations)
        return self.actor.apply(state.params["actor"], inputs), state.params["log_std"]


def ppo_step(
    config: Ppo,
    networks: ActorCritic,
    state: State,
    rollout: Rollout,
    key: jax.Array,
) -> tuple[State, Info]:
    """Train on one rollout for all epochs."""
    moments, (time, envs) = state.moments, rollout.reward.shape
    if config.normalise:
        moments = update_moments(moments, features(networks.observation, flat(rollout.observation)))
    inputs = networks.inputs(moments, flat(rollout.observation))
    next_inputs = networks.inputs(moments, flat(rollout.next_observation))
    both = networks.critic.apply(state.params["critic"], jnp.concatenate([inputs, next_inputs]))[:, 0]
    value, next_value = both.reshape(2, time, envs)
    advantage = advantages(
        rollout, value, next_value, discount=config.discount, trace_decay=config.trace_decay
    ).reshape(-1)
    data = (inputs, flat(rollout.action), flat(rollout.log_prob), advantage, advantage + value.reshape(-1))
    count = len(advantage) // config.minibatch or 1
    size = min(config.minibatch, len(advantage))
    optimiser = config.optimiser(config.epochs * count)

    def loss(params: Params, rows) -> tuple[Array, Info]:
        inputs, action, old, gain, target = rows
        outputs = networks.actor.apply(params["actor"], inputs)
        ratio = jnp.exp(networks.distribution.log_prob(outputs, params["log_std"], action) - old)
        gain = (gain - gain.mean()) / (gain.std() + 1e-8)
        clipped = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
        policy = -jnp.minimum(ratio * gain, clipped * gain).mean()
        error = ((networks.critic.apply(params["critic"], inputs)[:, 0] - target) ** 2).mean()
        entropy = networks.distribution.entropy(outputs, params["log_std"]).mean()
        info = {"policy_loss": policy, "value_loss": error, "entropy": entropy, "clipped": (ratio != clipped).mean()}
        return policy + config.value * error - config.entropy * entropy, info

    def minibatch(carry, rows):
        params, opt_state = carry
        (_, info), grads = jax.value_and_grad(loss, has_aux=True)(params, rows)
        updates, opt_state = optimiser.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), info

    def epoch(carry, rows):
        return jax.lax.scan(minibatch, carry, jax.tree.map(lambda x: x[rows], data))

    rows = orders(key, config.epochs, len(advantage))[:, : count * size].reshape(config.epochs, count, size)
    (params, opt_state), infos = jax.lax.scan(epoch, (state.params, state.opt_state), rows)
    info = jax.tree.map(jnp.mean, infos)
    return State(params, opt_state, moments), info | {"loss": info["policy_loss"] + config.value * info["value_loss"]}


def orders(key: jax.Array, many: int, count: int) -> Int[Array, "many count"]:
    """`many` random permutations of 0 to count - 1, by sorting random bits with the index in the lowest bits.

    `jax.random.permutation` sorts pairs, twice, which took a quarter of the training time of a small policy. Rows with
    equal random bits (one in four thousand, among a million rows) keep their order.
    """
    low = max(count - 1, 1).bit_length()
    bits = jax.random.bits(key, (many, count))
    mixed = jnp.sort(bits >> low << low | jnp.arange(count, dtype=bits.dtype))
    return (mixed & ((1 << low) - 1)).astype(jnp.int32)


def advantages(
    rollout: Rollout,
    value: Float[Array, "time envs"],
    next_value: Float[Array, "time envs"],
    *,
    discount: float,
    trace_decay: float,
) -> Float[Array, "time envs"]:
    """Generalised advantages of a rollout in which episodes end (arXiv 1506.02438, eq. 16).

        A_t = d_t + discount lambda (1 - end_t) A_{t+1},    d_t = r_t + discount (1 - terminated_t) V(s'_t) - V(s_t)

    A truncated step, and the last step of the rollout, bootstrap from the value of the next state.
    """
    delta = rollout.reward + discount * next_value * ~rollout.terminated - value
    continues: Bool[Array, "time envs"] = ~(rollout.terminated | rollout.truncated)

    def step(next_advantage, row):
        delta, continues = row
        advantage = delta + discount * trace_decay * continues * next_advantage
        return advantage, advantage

    return jax.lax.scan(step, jnp.zeros_like(delta[0]), (delta, continues), reverse=True, unroll=8)[1]
