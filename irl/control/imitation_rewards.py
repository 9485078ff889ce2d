"""Conversion of rewards to and from imitation 1.0, without importing it: `RewardFn`, and reward network tensors.

    BasicRewardNet          mlp.normalize_input.{running_mean,running_var,count}, mlp.dense{i}.{weight,bias},
                            mlp.dense_final.{weight,bias}                                           <-> RewardMlp
    BasicShapedRewardNet    _base.mlp.*, potential._potential_net.*                                 <-> ShapedReward

The inputs of both are [observation, action, next observation, done], each flattened, discrete ones one-hot; both use
ReLU, and shape with discount (1 - done) h(s') - h(s). Differences:

1. imitation normalises by sqrt(variance + 1e-5), we by sqrt(variance + 1e-8): the conversion adjusts the variance.
2. We clip normalised inputs at 10 standard deviations, imitation does not.
3. `done` of imitation includes time limits; our `terminated` does not.
4. Dropout and the output scale of `NormalizedRewardNet` are ignored: the function read is `predict`.
5. The tensors contain neither the choice of inputs nor the discount; these are arguments.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Num

from irl.control.moments import Moments
from irl.control.networks import Params, spectral_norm_of
from irl.control.rewards import RewardConfig, RewardMlp, ShapedReward
from irl.control.spaces import Space
from irl.control.types import Transitions
from irl.types import InputError

RewardFn = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""(state, action, next_state, done) -> rewards: imitation.rewards.reward_function.RewardFn"""
Tensors = Mapping[str, np.ndarray]

STATE_AND_ACTION = RewardMlp()
"""The default inputs of imitation's networks."""
_THEIR_EPSILON, _OUR_EPSILON = 1e-5, 1e-8
_NORM, _LAST = "normalize_input", "dense_final"
_BASE, _POTENTIAL = "_base.", "potential._potential_net."


def reward_fn(function: Callable[[Params, Transitions], Float[Array, " batch"]], params: Params) -> RewardFn:
    """A `RewardFn` of imitation, such as `reward_fn(network.portable, params)` of a network or an ensemble.

    Compiled once per batch size. Every `done` counts as terminated.
    """
    compiled = jax.jit(function)

    def reward(
        state: Num[np.ndarray, "batch *observation"],
        action: Num[np.ndarray, "batch *action"],
        next_state: Num[np.ndarray, "batch *observation"],
        done: Bool[np.ndarray, " batch"],
    ) -> Float[np.ndarray, " batch"]:
        transitions: Any = Transitions(*map(jnp.asarray, (state, action, next_state, done)))
        return np.asarray(compiled(params, transitions))

    return reward


def imitation_tensors(config: RewardConfig, params: Params) -> dict[str, np.ndarray]:
    """The state dict of the equivalent network of imitation; weights are divided by their spectral norms."""
    if isinstance(config, RewardMlp):
        return _of_mlp(config, params, "mlp.")
    if not isinstance(config, ShapedReward):
        raise InputError(f"reward network: expected RewardMlp or ShapedReward, got {type(config).__name__}")
    base = _of_mlp(config.base, params["base"], f"{_BASE}mlp.")
    return base | _of_mlp(config.potential, params["potential"], _POTENTIAL)


def from_imitation(
    tensors: Tensors, observation: Space, action: Space, *, reads: RewardMlp = STATE_AND_ACTION, discount: float = 0.99
) -> tuple[RewardConfig, Params]:
    """(config, params) of the state dict of a BasicRewardNet or BasicShapedRewardNet, alone or in a wrapper.

    Args:
        tensors: From `safetensors.numpy.load_file`, or from torch by `tensor.numpy()`.
        observation: Space of observations.
        action: Space of actions.
        reads: The inputs of the network (use_state, use_action, use_next_state, use_done).
        discount: Its discount_factor.
    """
    shaped = any(name.startswith(_POTENTIAL) for name in tensors)
    prefix = f"{_BASE}mlp." if any(name.startswith(_BASE) for name in tensors) else "mlp."
    _check_names(tensors, (prefix, _POTENTIAL, "normalize_output_layer."))
    base, of_base = _to_mlp(tensors, prefix, reads, observation, action)
    if not shaped:
        return base, of_base
    potential, of_potential = _to_mlp(tensors, _POTENTIAL, RewardMlp(action=False), observation, action)
    config = ShapedReward(base=base, potential=potential, discount=discount)
    return config, {"base": of_base, "potential": of_potential}


def _of_mlp(config: RewardMlp, params: Params, prefix: str) -> dict[str, np.ndarray]:
    layers = params["network"]
    names = [*(f"dense{index}" for index in range(len(layers) - 1)), _LAST]
    tensors: dict[str, Any] = {}
    for name, layer in zip(names, layers, strict=True):
        w = layer["w"] / spectral_norm_of(layer["w"]) if config.spectral_norm else layer["w"]
        tensors |= {f"{name}.weight": w.T, f"{name}.bias": layer["b"]}
    if config.normalise:
        moments = params["moments"]
        tensors |= {
            f"{_NORM}.running_mean": moments.mean,
            f"{_NORM}.running_var": moments.variance + (_OUR_EPSILON - _THEIR_EPSILON),
            f"{_NORM}.count": jnp.int32(moments.count),
        }
    return {f"{prefix}{name}": np.array(value, order="C") for name, value in tensors.items()}


def _to_mlp(
    tensors: Tensors, prefix: str, reads: RewardMlp, observation: Space, action: Space
) -> tuple[RewardMlp, Params]:
    count = 0
    while f"{prefix}dense{count}.weight" in tensors:
        count += 1
    names = [f"{prefix}{name}" for name in (*(f"dense{index}" for index in range(count)), _LAST)]
    weights = [_tensor(tensors, f"{name}.weight") for name in names]
    biases = [_tensor(tensors, f"{name}.bias") for name in names]
    _check_width(f"{names[0]}.weight", weights[0], reads, observation, action)
    normalise = f"{prefix}{_NORM}.running_mean" in tensors
    config = replace(reads, hidden=tuple(len(b) for b in biases[:-1]), normalise=normalise, spectral_norm=False)
    network = [{"w": jnp.asarray(w.T), "b": jnp.asarray(b)} for w, b in zip(weights, biases, strict=True)]
    return config, {"network": network, "moments": _moments(tensors, f"{prefix}{_NORM}.", weights[0].shape[1])}


def _moments(tensors: Tensors, prefix: str, width: int) -> Moments:
    if f"{prefix}running_mean" not in tensors:
        return Moments(jnp.zeros(()), jnp.zeros(width), jnp.ones(width))
    count, mean, variance = (_tensor(tensors, f"{prefix}{name}") for name in ("count", "running_mean", "running_var"))
    return Moments(jnp.float32(count), jnp.asarray(mean), jnp.asarray(variance) + (_THEIR_EPSILON - _OUR_EPSILON))


def _tensor(tensors: Tensors, name: str) -> np.ndarray:
    if name not in tensors:
        some = ", ".join(sorted(tensors)[:6]) or "nothing"
        raise InputError(f"tensor {name}: missing; expected a BasicRewardNet or BasicShapedRewardNet, got {some}")
    value = np.asarray(tensors[name])
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise InputError(f"tensor {name}: NaN or infinite values; train the network again")
    return value


def _check_names(tensors: Tensors, prefixes: tuple[str, ...]) -> None:
    others = sorted(name for name in tensors if not name.startswith(prefixes))
    if others:
        expected = "a BasicRewardNet, a BasicShapedRewardNet or a member of an ensemble"
        raise InputError(f"tensor {others[0]}: of another kind of network; expected {expected}")


def _check_width(name: str, weight: np.ndarray, reads: RewardMlp, observation: Space, action: Space) -> None:
    parts = {
        "observation": observation.width * reads.observation,
        "action": action.width * reads.action,
        "next_observation": observation.width * reads.next_observation,
        "terminated": int(reads.terminated),
    }
    expected = sum(parts.values())
    if weight.shape[1] != expected:
        listed = ", ".join(f"{part} {width}" for part, width in parts.items() if width)
        problem = f"expected {expected} inputs ({listed}), got {weight.shape[1]}"
        raise InputError(f"tensor {name}: {problem}; set `reads` and the spaces to those of the network")
