"""Learned rewards as torch networks of imitation 1.0, and its saved networks as ours. Needs its own environment.

imitation pins gymnasium 0.29; `make test` makes `.venv-imitation` for it. Neither imitation nor torch is imported
before a function here is called.
"""

from typing import Any

import numpy as np

from irl.control.imitation_rewards import imitation_tensors
from irl.control.networks import Params
from irl.control.rewards import RewardConfig, RewardMlp
from irl.data.json_lines import FilePath
from irl.types import InputError


def imitation_reward_net(config: RewardConfig, params: Params, observation_space: Any, action_space: Any) -> Any:
    """An `imitation.rewards.reward_nets.RewardNet` that gives what our reward gives, and can be trained further.

    A BasicRewardNet for a RewardMlp, a ShapedRewardNet of the same tensors as BasicShapedRewardNet for a ShapedReward;
    spaces are Gymnasium's.
    """
    import torch
    from imitation.rewards.reward_nets import BasicPotentialMLP, ShapedRewardNet

    if isinstance(config, RewardMlp):
        net = _basic(config, observation_space, action_space)
    else:
        potential = BasicPotentialMLP(observation_space, config.potential.hidden, **_norm(config.potential))
        base = _basic(config.base, observation_space, action_space)
        net = ShapedRewardNet(base, potential, discount_factor=config.discount)
    net.load_state_dict({name: torch.from_numpy(t) for name, t in imitation_tensors(config, params).items()})
    return net.eval()


def tensors_of(net: Any) -> dict[str, np.ndarray]:
    """The state dict of a torch network as arrays: for `from_imitation`, or for `safetensors.numpy.save_file`."""
    return {name: np.array(tensor.detach().cpu().numpy()) for name, tensor in net.state_dict().items()}


def load_reward_net(path: FilePath) -> Any:
    """A reward network that imitation saved whole with `torch.save`, which torch 2.6 and later refuse to load.

    Only classes of reward networks, their layers and spaces are made (torch.serialization.safe_globals): a file that
    names anything else is refused and runs no code.
    """
    import torch

    try:
        with torch.serialization.safe_globals(_classes()):
            others = sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
            if others:
                told = f"names {', '.join(others)}, no part of a reward network"
                raise InputError(f"{path}: {told}; it may run code, so save the network's state_dict() instead")
            return torch.load(path, map_location="cpu", weights_only=True)
    except (torch.serialization.pickle.UnpicklingError, RuntimeError, ValueError, OSError) as error:
        raise InputError(f"{path}: no network saved whole by torch.save ({error})") from error


def _basic(config: RewardMlp, observation_space: Any, action_space: Any) -> Any:
    from imitation.rewards.reward_nets import BasicRewardNet

    return BasicRewardNet(
        observation_space,
        action_space,
        use_state=config.observation,
        use_action=config.action,
        use_next_state=config.next_observation,
        use_done=config.terminated,
        hid_sizes=config.hidden,
        **_norm(config),
    )


def _norm(config: RewardMlp) -> dict[str, Any]:
    """RunningNorm, clipped as ours is."""
    from imitation.util.networks import RunningNorm

    class ClippedNorm(RunningNorm):
        def forward(self, inputs: Any) -> Any:
            return super().forward(inputs).clamp(-10.0, 10.0)

    return {"normalize_input_layer": ClippedNorm} if config.normalise else {}


def _classes() -> list[Any]:
    """What a file of `load_reward_net` may name."""
    import gymnasium
    import torch
    from imitation.rewards import reward_nets
    from imitation.util import networks

    nets = ("BasicRewardNet", "BasicShapedRewardNet", "ShapedRewardNet", "NormalizedRewardNet", "BasicPotentialMLP")
    ensembles = ("RewardEnsemble", "AddSTDRewardWrapper")
    layers = ("Linear", "Sequential", "ModuleList", "ReLU", "Tanh", "Flatten", "Dropout", "Identity")
    arrays = [np.ndarray, np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8", "u1", "u4", "?"))]
    rebuild = np.empty(0).__reduce__()[0]
    number = np.float32(0).__reduce__()[0]
    return [
        *(getattr(reward_nets, name) for name in (*nets, *ensembles)),
        *(getattr(networks, name) for name in ("SqueezeLayer", "RunningNorm", "EMANorm")),
        *(getattr(torch.nn, name) for name in layers),
        *(gymnasium.spaces.Box, gymnasium.spaces.Discrete),
        *arrays,
        *(rebuild, number, (rebuild, "numpy.core.multiarray._reconstruct"), (number, "numpy.core.multiarray.scalar")),
        *_random_state(),
    ]


def _random_state() -> list[Any]:
    """Of spaces that have drawn samples."""
    generator = np.random.default_rng()
    seeds = generator.bit_generator.seed_seq
    return [
        generator.__reduce__()[0],
        generator.bit_generator.__reduce__()[0],
        type(generator),
        type(generator.bit_generator),
        type(seeds),
        seeds.__reduce__()[0],
    ]
