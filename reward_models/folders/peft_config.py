"""adapter_config.json of a PEFT folder <-> LowRank. What LowRank does not express is refused by name.

An adapter that is more or other than W + scale A B says so in some key: DoRA, ranks by pattern, biases, layers left
out. Keys that are not known here must therefore be absent, empty, false or "none", whatever version wrote them.
"""

import dataclasses
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from annotated_types import Gt, Le

from reward_models.folders.hugging_face_tensors import BLOCK
from reward_models.networks.adapters import TARGETS, LowRank, Rank
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderNetwork
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds, VocabularyHead
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.records import InputError, as_part, record

Task = Literal["SEQ_CLS", "TOKEN_CLS", "CAUSAL_LM"]
Head = Literal["full", "low_rank", "frozen"]
"""What an adapter holds of the head: a head of its own, an adapter of the head of the base, or nothing."""
HEAD = "score"
Plain = CriticConfig | SoftAdvantageConfig | HeadedDecoderConfig

_MODULES = {BLOCK[f"{target}.kernel"].split(".")[-2]: target for target in TARGETS}
"""q_proj -> query, ..."""
_HEAD_NAMES = {HEAD, "classifier"}
"""PEFT lists both for every classifier; only the first is a module of these families."""
_INITS = (True, False, "gaussian", "orthogonal", "eva")
"""Ways to start A and B that leave the base as it is."""
_NO_MATTER = {
    "auto_mapping",
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
}
"""Keys that change nothing about a finished adapter; any other key must be absent, empty, false or "none"."""


@record
class AdapterConfig:
    """The keys of adapter_config.json that are read."""

    peft_type: Literal["LORA"]
    task_type: Task | None = None
    r: Rank
    lora_alpha: Annotated[float, Gt(0.0), Le(1e6)]
    target_modules: list[str] | str | None = None
    modules_to_save: list[str] | None = None
    use_rslora: bool | None = None
    init_lora_weights: bool | str = True
    base_model_name_or_path: str | None = None


def read_adapter_config(config: Mapping[str, Any], where: str) -> AdapterConfig:
    """The record of an adapter_config.json. InputError names the key, also for one that is not supported."""
    read = {field.name for field in dataclasses.fields(AdapterConfig)}
    for key in sorted(config.keys() - read - _NO_MATTER):
        if config[key] and config[key] != "none":
            advice = "merge the adapter into its base with PEFT"
            raise InputError(f"{where}: {key}: {reprlib.repr(config[key])} is not supported; {advice}")
    return as_part(AdapterConfig, config, where)


def read_adapters(config: AdapterConfig) -> tuple[LowRank, Head]:
    """The adapters of the layers, and what becomes of the head. ValueError names the key."""
    if config.init_lora_weights not in _INITS:
        changed = f"init_lora_weights: {config.init_lora_weights!r} may have changed the base's own weights"
        raise ValueError(f"{changed}; convert the adapter to a plain one, or merge it into its base, with PEFT")
    modules = _names(config.target_modules, "target_modules", {*_MODULES, HEAD})
    saved = _names(config.modules_to_save, "modules_to_save", _HEAD_NAMES)
    if not modules:
        raise ValueError("target_modules: expected names of linear layers, found none")
    if not modules & set(_MODULES):
        alone = f"target_modules: an adapter of {HEAD!r} alone is not supported"
        raise ValueError(f"{alone}; merge it into its base with PEFT")
    adapters = LowRank(
        rank=config.r,
        alpha=config.lora_alpha,
        targets=tuple(target for name, target in _MODULES.items() if name in modules),
        rank_stabilised=bool(config.use_rslora),
    )
    return adapters, "full" if HEAD in saved else "low_rank" if HEAD in modules else "frozen"


def _names(names: list[str] | str | None, key: str, supported: set[str]) -> set[str]:
    """The modules of a list. PEFT writes "all-linear" as paths, layer by layer; the tensors show if one is left out."""
    names = names or []
    if names == "all-linear":
        return set(_MODULES)
    if isinstance(names, str):
        raise ValueError(f"{key}: {names!r} is not supported, only a list of {', '.join(sorted(supported))}")
    for name in names:
        if name.split(".")[-1] not in supported:
            raise ValueError(f"{key}: {name!r} is not supported, only {', '.join(sorted(supported))}")
    return {name.split(".")[-1] for name in names}


def check_task(config: AdapterConfig, network: DecoderNetwork) -> None:
    """ValueError where an adapter is for something else than its base."""
    task, expected = config.task_type, task_of(network)
    if task not in (None, expected):
        raise ValueError(f"task_type: {task!r}, but the base given is for {expected}; give the base of this adapter")


def task_of(network: DecoderNetwork) -> str:
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


def write_config(network: DecoderNetwork, base_model: str) -> dict[str, Any]:
    """The adapter_config.json of a network with adapters. ValueError for what PEFT has no place for."""
    adapters = network.decoder.adapters
    if adapters is None:
        raise ValueError("adapters: none; export the model with save_hugging_face")
    return {
        "peft_type": "LORA",
        "task_type": task_of(network),
        "base_model_name_or_path": base_model,
        "r": adapters.rank,
        "lora_alpha": int(adapters.alpha) if float(adapters.alpha).is_integer() else adapters.alpha,
        "use_rslora": adapters.rank_stabilised,
        "target_modules": [name for name, target in _MODULES.items() if target in adapters.targets],
        "modules_to_save": [HEAD] if network.has_head else None,
        "bias": "none",
        "lora_dropout": 0.0,
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
    }
