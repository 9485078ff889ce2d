"""Our rewards and the tensors of imitation's. tests/imitation compares with the real networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from irl.control.imitation_rewards import from_imitation, imitation_tensors, reward_fn
from irl.control.rewards import RewardMlp, ShapedReward, ensemble
from irl.control.spaces import Box, Discrete
from irl.control.types import Transitions
from irl.types import InputError

OBSERVATION, ACTION = Box((3,)), Discrete(2)
CONFIGS = [
    RewardMlp(hidden=(4, 5)),
    RewardMlp(hidden=(), normalise=False, next_observation=True, terminated=True),
    RewardMlp(hidden=(4,), spectral_norm=True, action=False),
    ShapedReward(base=RewardMlp(hidden=(4,)), potential=RewardMlp(hidden=(6, 4), action=False), discount=0.9),
]


def rows(count=6):
    rng = np.random.default_rng(0)
    state, following = (3 * rng.normal(size=(2, count, 3)) + 1).astype(np.float32)
    return state, rng.integers(0, 2, count), following, rng.random(count) < 0.5


def trained(config):
    """(network, params) with biases and moments that are not those of the start."""
    network = config.make(OBSERVATION, ACTION)
    params = network.observe(network.init(jax.random.key(0)), Transitions(*map(jnp.asarray, rows(50))))
    return network, jax.tree.map(lambda leaf: leaf + 0.1, params)


@functools.cache
def tensors():
    return imitation_tensors(CONFIGS[0], trained(CONFIGS[0])[1])


def test_a_reward_as_imitation_calls_it():
    network, params = trained(CONFIGS[1])
    state, action, following, done = rows()
    found = reward_fn(network.apply, params)(state, action, following, done)
    assert isinstance(found, np.ndarray) and found.dtype == np.float32 and found.shape == (6,)
    (layer,) = params["network"]
    inputs = np.concatenate([state, np.eye(2)[action], following, done[:, None]], axis=1)
    assert np.allclose(found, (inputs @ layer["w"] + layer["b"])[:, 0], atol=1e-5)


def test_an_ensemble_as_imitation_calls_it():
    member = CONFIGS[1].make(OBSERVATION, ACTION)
    params = jax.tree.map(lambda leaf: jnp.stack([leaf, 3 * leaf]), member.init(jax.random.key(0)))
    one = reward_fn(member.apply, jax.tree.map(lambda leaf: leaf[0], params))(*rows())
    mean = reward_fn(ensemble(member, 2).portable, params)(*rows())
    assert np.allclose(mean, 2 * one, atol=1e-5), "linear, without biases: the other one says three times as much"


@pytest.mark.parametrize("config", CONFIGS, ids=range(len(CONFIGS)))
def test_tensors_there_and_back(config):
    network, params = trained(config)
    written = imitation_tensors(config, params)
    reads = config.base if isinstance(config, ShapedReward) else config
    read, found = from_imitation(written, OBSERVATION, ACTION, reads=reads, discount=0.9)
    assert type(read) is type(config)
    there, back = (
        reward_fn(net.apply, p)(*rows()) for net, p in ((network, params), (read.make(OBSERVATION, ACTION), found))
    )
    assert np.allclose(there, back, atol=1e-5)


def test_a_network_by_hand():
    """mean 1, variance 4 - 1e-5: inputs (3, one-hot 1) are (1, 0, 1) once normalised; relu(2 - 1) * 3 + 0.5 = 3.5."""
    made = {
        "mlp.normalize_input.running_mean": np.array([1.0, 0.0, 0.0], np.float32),
        "mlp.normalize_input.running_var": np.array([4.0 - 1e-5, 1.0 - 1e-5, 1.0 - 1e-5], np.float32),
        "mlp.normalize_input.count": np.int32(7),
        "mlp.dense0.weight": np.array([[2.0, 9.0, -1.0]], np.float32),
        "mlp.dense0.bias": np.array([0.0], np.float32),
        "mlp.dense_final.weight": np.array([[3.0]], np.float32),
        "mlp.dense_final.bias": np.array([0.5], np.float32),
    }
    config, params = from_imitation(made, Box((1,)), Discrete(2))
    assert config == RewardMlp(hidden=(1,)) and params["moments"].count == 7
    one = (np.array([[3.0]], np.float32), np.array([1]), np.array([[0.0]], np.float32), np.array([False]))
    network = config.make(Box((1,)), Discrete(2))
    assert reward_fn(network.apply, params)(*one) == pytest.approx([3.5], abs=1e-5)


@pytest.mark.parametrize("wrapped", ["_base.", ""])
def test_the_scale_of_outputs_is_left_out(wrapped):
    scaled = {f"{wrapped}{name}": value for name, value in tensors().items()}
    scaled |= {"normalize_output_layer.running_mean": np.ones(1, np.float32)}
    (_, found), (_, plain) = (from_imitation(each, OBSERVATION, ACTION) for each in (scaled, tensors()))
    assert all(map(np.array_equal, jax.tree.leaves(found), jax.tree.leaves(plain)))


@pytest.mark.parametrize(
    ("without", "others", "message"),
    [
        ("mlp.", {}, "tensor mlp.dense_final.weight: missing; expected a BasicRewardNet .* got nothing"),
        ("mlp.dense1.bias", {}, r"tensor mlp.dense1.bias: missing"),
        ("mlp.normalize_input.count", {}, r"tensor mlp.normalize_input.count: missing"),
        ("mlp.", {"cnn.conv0.weight": np.zeros(1)}, r"tensor cnn.conv0.weight: of another kind of network"),
        ("mlp.", {"members.0.mlp.dense0.weight": np.zeros(1)}, "tensor members.0.*a member of an ensemble"),
        ("mlp.dense0.bias", {"mlp.dense0.bias": np.full(4, np.nan)}, r"tensor mlp.dense0.bias: NaN"),
    ],
)
def test_tensors_of_something_else(without, others, message):
    left = {name: value for name, value in tensors().items() if not name.startswith(without)}
    with pytest.raises(InputError, match=message):
        from_imitation(left | others, OBSERVATION, ACTION)


def test_inputs_that_it_was_not_made_with():
    told = r"dense0.weight: expected 8 inputs \(observation 3, action 2, next_observation 3\), got 5; set `reads`"
    with pytest.raises(InputError, match=told):
        from_imitation(tensors(), OBSERVATION, ACTION, reads=RewardMlp(next_observation=True))
