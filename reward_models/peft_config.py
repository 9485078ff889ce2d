"""adapter_config.json of a PEFT folder <-> our LowRankConfig. What an adapter of ours cannot be is refused by name.

An adapter that is more or other than W + scale A B says so in some key: DoRA, ranks by pattern, biases, layers left
out. Keys that are not known here must therefore be absent, empty, false or "none", whatever version wrote them.
"""

from collections.abc import Mapping
from typing import Any

from reward_models.hugging_face_tensors import BLOCK
from reward_models.networks.critic import CriticConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds, VocabularyHead
from reward_models.networks.low_rank import TARGETS, LowRankConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig

TASKS = ("SEQ_CLS", "TOKEN_CLS", "CAUSAL_LM")
HEAD = "score"
Plain = CriticConfig | SoftAdvantageConfig | HeadedDecoderConfig

_MODULES = {BLOCK[f"{target}.kernel"].split(".")[-2]: target for target in TARGETS}
"""q_proj -> query, ..."""
_HEAD_NAMES = {HEAD, "classifier"}
"""PEFT lists both for every classifier; only the first is a module of these families."""
_READ = {"peft_type", "task_type", "r", "lora_alpha", "target_modules", "modules_to_save", "use_rslora"}
_INITS = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to start A and B that leave the base as it is."""
_NO_MATTER = {
    "auto_mapping",
    "base_model_name_or_path",
    "corda_config",
    "eva_config",
    "inference_mode",
    "init_lora_weights",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
}
"""Keys that change nothing about a finished adapter; any other key must be absent, empty, false or "none"."""


def read_fields(config: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a LowRankConfig but its network. ValueError names the key."""
    if config.get("peft_type") != "LORA":
        raise ValueError(f"peft_type: {config.get('peft_type')!r} is not supported, only 'LORA'")
    for key in sorted(config.keys() - _READ - _NO_MATTER):
        if config[key] and config[key] != "none":
            raise ValueError(f"{key}: {config[key]!r} is not supported; merge the adapter into its base with PEFT")
    if config.get("init_lora_weights", True) not in _INITS:
        told = f"init_lora_weights: {config['init_lora_weights']!r} may have changed the base's own weights"
        raise ValueError(f"{told}; convert the adapter to a plain one, or merge it into its base, with PEFT")
    modules = _names(config, "target_modules", {*_MODULES, HEAD})
    saved = _names(config, "modules_to_save", _HEAD_NAMES)
    if not modules:
        raise ValueError("target_modules: expected names of linear layers, found none")
    return {
        "rank": _rank(config),
        "alpha": _alpha(config),
        "targets": tuple(target for name, target in _MODULES.items() if name in modules),
        "head": "full" if HEAD in saved else "low_rank" if HEAD in modules else "frozen",
        "rank_stabilised": bool(config.get("use_rslora")),
    }


def _names(config: Mapping[str, Any], key: str, supported: set[str]) -> set[str]:
    """The modules of a list. PEFT writes "all-linear" as paths, layer by layer; the tensors tell if one is left out."""
    names = config.get(key) or []
    if names == "all-linear" and key == "target_modules":
        return set(_MODULES)
    if not isinstance(names, list):
        raise ValueError(f"{key}: {names!r} is not supported, only a list of {', '.join(sorted(supported))}")
    for name in names:
        if not isinstance(name, str) or name.split(".")[-1] not in supported:
            raise ValueError(f"{key}: {name!r} is not supported, only {', '.join(sorted(supported))}")
    return {name.split(".")[-1] for name in names}


def _rank(config: Mapping[str, Any]) -> int:
    rank = config.get("r")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"r: expected a whole number above 0, found {rank!r}")
    return rank


def _alpha(config: Mapping[str, Any]) -> float:
    alpha = config.get("lora_alpha")
    if not isinstance(alpha, int | float) or isinstance(alpha, bool):
        raise ValueError(f"lora_alpha: expected a number, found {alpha!r}")
    return float(alpha)


def check_task(config: Mapping[str, Any], network: Plain) -> None:
    """ValueError where an adapter is for something else than its base."""
    task, expected = config.get("task_type"), task_of(network)
    if task not in (None, expected):
        raise ValueError(f"task_type: {task!r}, but the base given is for {expected}; give the base of this adapter")


def task_of(network: Plain) -> str:
    """What PEFT calls it. ValueError for what no transformers class computes."""
    match network:
        case SoftAdvantageConfig() | HeadedDecoderConfig(head=VocabularyHead()):
            return "CAUSAL_LM"
        case HeadedDecoderConfig(head=LinearHead(bias=False) | MLPHead(), read=LastToken()):
            return "SEQ_CLS"
        case HeadedDecoderConfig(head=LinearHead(bias=True) | MLPHead(), read=StepEnds()) | CriticConfig():
            return "TOKEN_CLS"
    raise ValueError(
        "no transformers class has this head and reading; it has LinearHead(bias=False) with LastToken and "
        "LinearHead(bias=True) with StepEnds"
    )


def write_config(network: LowRankConfig, base_model: str) -> dict[str, Any]:
    """The adapter_config.json of a config whose head, if any, is full. ValueError for what PEFT has no place for."""
    if not network.targets:
        raise ValueError("targets: none, which PEFT does not load; export the merged model with save_hugging_face")
    return {
        "peft_type": "LORA",
        "task_type": task_of(network.network),
        "base_model_name_or_path": base_model,
        "r": network.rank,
        "lora_alpha": int(network.alpha) if float(network.alpha).is_integer() else network.alpha,
        "use_rslora": network.rank_stabilised,
        "target_modules": [name for name, target in _MODULES.items() if target in network.targets],
        "modules_to_save": [HEAD] if network.head == "full" else None,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }
