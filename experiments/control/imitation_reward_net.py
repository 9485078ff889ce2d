"""Learned rewards as torch networks of imitation 1.0, in an environment of its own.

imitation pins gymnasium 0.29; `make test` creates `.venv-imitation` for it. imitation and torch are imported only when
a function is called.
"""

from typing import Any

import numpy as np

from irl.control.imitation_rewards import imitation_tensors
from irl.control.networks import Params
from irl.control.rewards import RewardConfig, RewardMlp, ShapedReward


def imitation_reward_net(config: RewardConfig, params: Params, observation_space: Any, action_space: Any) -> Any:
    """An equivalent `imitation.rewards.reward_nets.RewardNet`, which can be trained further.

    A RewardMlp becomes a BasicRewardNet, a ShapedReward a ShapedRewardNet with the tensors of a BasicShapedRewardNet.
    Spaces are Gymnasium's.
    """
    import torch
    from imitation.rewards.reward_nets import BasicPotentialMLP, ShapedRewardNet

    tensors = {name: torch.from_numpy(tensor) for name, tensor in imitation_tensors(config, params).items()}
    if isinstance(config, RewardMlp):
        net = _basic(config, observation_space, action_space)
    else:
        assert isinstance(config, ShapedReward)
        potential = BasicPotentialMLP(observation_space, config.potential.hidden, **_norm(config.potential))
        base = _basic(config.base, observation_space, action_space)
        net = ShapedRewardNet(base, potential, discount_factor=config.discount)
    net.load_state_dict(tensors)
    return net.eval()


def tensors_of(net: Any) -> dict[str, np.ndarray]:
    """The state dict of a torch network as arrays: for `from_imitation`, or for `safetensors.numpy.save_file`."""
    return {name: np.array(tensor.detach().cpu().numpy()) for name, tensor in net.state_dict().items()}


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
    """RunningNorm with our clipping."""
    from imitation.util.networks import RunningNorm

    class ClippedNorm(RunningNorm):
        def forward(self, inputs: Any) -> Any:
            return super().forward(inputs).clamp(-10.0, 10.0)

    return {"normalize_input_layer": ClippedNorm} if config.normalise else {}
