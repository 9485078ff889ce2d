"""Rewards of imitation 1.0.1 and ours give the same numbers, in both directions, and train SB3's learner."""

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from imitation.rewards import reward_nets
from imitation.rewards.reward_wrapper import RewardVecEnvWrapper
from imitation.util.networks import EMANorm, RunningNorm
from imitation.util.util import make_vec_env
from stable_baselines3 import PPO

from experiments.control.imitation_reward_net import imitation_reward_net, tensors_of
from irl.control.imitation_rewards import from_imitation, reward_fn
from irl.control.rewards import RewardMlp, ShapedReward
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions

ROWS = 16
SPACES = {
    "discrete": (gym.spaces.Box(-np.inf, np.inf, (3,)), gym.spaces.Discrete(2), Box((3,)), Discrete(2)),
    "box": (gym.spaces.Box(-np.inf, np.inf, (3,)), gym.spaces.Box(-1, 1, (2,)), Box((3,)), Box((2,), -1.0, 1.0)),
}
EVERY = dict(use_next_state=True, use_done=True)
NETS = {
    "basic": (lambda o, a: reward_nets.BasicRewardNet(o, a, normalize_input_layer=RunningNorm), RewardMlp()),
    "inputs": (
        lambda o, a: reward_nets.BasicRewardNet(o, a, **EVERY, hid_sizes=(8,)),
        RewardMlp(next_observation=True, terminated=True),
    ),
    "state": (lambda o, a: reward_nets.BasicRewardNet(o, a, use_action=False), RewardMlp(action=False)),
    "shaped": (lambda o, a: reward_nets.BasicShapedRewardNet(o, a, normalize_input_layer=EMANorm), RewardMlp()),
    "scaled": (
        lambda o, a: reward_nets.NormalizedRewardNet(reward_nets.BasicRewardNet(o, a), RunningNorm),
        RewardMlp(),
    ),
}


def rows(space):
    rng = np.random.default_rng(0)
    state, following = rng.normal(1, 3, (2, ROWS, 3)).astype(np.float32)
    discrete = space == "discrete"
    action = rng.integers(0, 2, ROWS) if discrete else rng.uniform(-1, 1, (ROWS, 2)).astype(np.float32)
    return state, action, following, rng.random(ROWS) < 0.5


def its_net(name, space):
    """A network of its own with running moments that have seen something."""
    torch.manual_seed(0)
    make, reads = NETS[name]
    net = make(*SPACES[space][:2]).train()
    net(*net.preprocess(*rows(space)))
    return net, reads


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("space", SPACES)
def test_its_network_is_ours(name, space):
    net, reads = its_net(name, space)
    spaces = SPACES[space][2:]
    config, params = from_imitation(tensors_of(net), *spaces, reads=reads)
    found = reward_fn(config.make(*spaces).apply, params)(*rows(space))
    assert np.allclose(found, net.predict(*rows(space)), atol=1e-5)


@pytest.mark.parametrize(
    "config",
    [
        RewardMlp(hidden=(4,), spectral_norm=True),
        RewardMlp(hidden=(4, 4), normalise=False, next_observation=True, terminated=True),
        ShapedReward(base=RewardMlp(hidden=(4,)), potential=RewardMlp(hidden=(), normalise=False, action=False)),
    ],
    ids=["spectral", "inputs", "shaped"],
)
@pytest.mark.parametrize("space", SPACES)
def test_ours_is_its_network(config, space):
    """Also outside of what was seen, where inputs are clipped; and it has gradients."""
    network = config.make(*SPACES[space][2:])
    seen = Transitions(*map(jnp.asarray, rows(space)))
    params = network.observe(network.init(jax.random.key(0)), seen)
    net = imitation_reward_net(config, params, *SPACES[space][:2])
    assert isinstance(net, reward_nets.RewardNet)
    state, *others = rows(space)
    far = np.concatenate([state[:1] + 1e4, state[1:]])
    assert np.allclose(net.predict(far, *others), reward_fn(network.apply, params)(far, *others), rtol=1e-4, atol=1e-4)
    net(*net.preprocess(*rows(space))).sum().backward()
    assert all(weight.grad is not None for weight in net.parameters())


@pytest.mark.parametrize("as_network", [True, False])
def test_sb3_learns_from_our_reward(as_network):
    config, spaces = RewardMlp(hidden=(4,)), (Box((4,)), Discrete(2))
    network = config.make(*spaces)
    params = network.init(jax.random.key(0))
    venv = make_vec_env("seals:seals/CartPole-v0", rng=np.random.default_rng(0), n_envs=2)
    its = imitation_reward_net(config, params, venv.observation_space, venv.action_space)
    paid = RewardVecEnvWrapper(venv, its.predict_processed if as_network else reward_fn(network.portable, params))
    PPO("MlpPolicy", paid, n_steps=16, batch_size=16, n_epochs=1, device="cpu").learn(32)
    state, actions = paid.reset(), np.array([0, 1])
    following, rewards, *_ = paid.step(actions)
    assert np.allclose(
        rewards, reward_fn(network.portable, params)(state, actions, following, np.zeros(2, bool)), atol=1e-5
    )
