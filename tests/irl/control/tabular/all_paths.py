"""A tiny world path by path, in plain Python: an implementation that shares nothing with the recursions it checks."""

import itertools

import jax.numpy as jnp
import numpy as np

from irl.control.tabular.mdp import TabularMdp

STATES, ACTIONS, HORIZON = 3, 2, 3


def tiny_mdp(*, discount=1.0, horizon=HORIZON, deterministic=False, seed=0):
    rng = np.random.default_rng(seed)
    transition = rng.dirichlet(np.ones(STATES), (STATES, ACTIONS))
    if deterministic:
        transition = np.eye(STATES)[transition.argmax(axis=-1)]
    initial = rng.dirichlet(np.ones(STATES))
    return TabularMdp(jnp.asarray(transition), jnp.asarray(initial), horizon, discount)


def tiny_reward(axes, seed=1):
    shape = (STATES, ACTIONS, STATES)[:axes]
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def random_policy(*shape, seed=2):
    return jnp.asarray(np.random.default_rng(seed).dirichlet(np.ones(ACTIONS), shape))


def paths():
    """(states, actions), the states one more."""
    for states in itertools.product(range(STATES), repeat=HORIZON + 1):
        for actions in itertools.product(range(ACTIONS), repeat=HORIZON):
            yield states, actions


def luck(mdp, path):
    """p_0 and the dynamics' share of a path's probability."""
    states, actions = path
    steps = zip(states, actions, states[1:], strict=False)
    return float(mdp.initial[states[0]]) * float(np.prod([np.asarray(mdp.transition)[step] for step in steps]))


def chance(policy, path):
    """The policy's share of a path's probability."""
    policy = np.broadcast_to(np.asarray(policy), (HORIZON, STATES, ACTIONS))
    return float(np.prod([policy[t, s, a] for t, (s, a) in enumerate(zip(*path, strict=False))]))


def earned(mdp, reward, path):
    """Discounted sum of rewards along a path."""
    states, actions = path
    steps = enumerate(zip(states, actions, states[1:], strict=False))
    return sum(mdp.discount**t * float(np.asarray(reward)[step[: np.ndim(reward)]]) for t, step in steps)


def counted(mdp, weights):
    """sum over paths of weight * discounted counts of their transitions."""
    counts = np.zeros((STATES, ACTIONS, STATES))
    for path, weight in weights.items():
        states, actions = path
        for t, step in enumerate(zip(states, actions, states[1:], strict=False)):
            counts[step] += weight * mdp.discount**t
    return counts
