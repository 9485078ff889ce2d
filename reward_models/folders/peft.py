"""Folders of low-rank adapters as PEFT writes them <-> our adapters, without torch and without PEFT.

    adapter_config.json           LORA: rank r, lora_alpha, target_modules, modules_to_save (the head), task_type
    adapter_model.safetensors     base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight [r, inputs], lora_B
                                  [outputs, r], ..., and the head whole: base_model.model.score.weight

The base stays with whoever has it: a sequence classifier, a token classifier, or the language model to which the
adapter brings the head. What is not W + scale A B (DoRA, ranks by pattern, initialisations that change the base, other
methods) is refused by name, and so is a tensor that is missing, too many, of another shape or not finite.
"""

import dataclasses
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors

from reward_models.folders import tensor_file
from reward_models.folders.hugging_face_tensors import StoredTensor, joined, json_object, their_names
from reward_models.folders.native import ModelFolderError, folder_errors, new_folder
from reward_models.folders.peft_config import (
    HEAD,
    AdapterConfig,
    Plain,
    check_task,
    read_adapter_config,
    read_fields,
    write_config,
)
from reward_models.networks.base import Params, flatten
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, DecoderNetwork
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, StepEnds, from_critic
from reward_models.networks.low_rank import LowRankConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.records import InputError
from reward_models.types import Information

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


class PeftModel(NamedTuple):
    """An adapter on its base. `network.merged(params)` are the params of the plain `network.network`."""

    network: LowRankConfig
    params: Params
    """{"base", "adapters", "head"}, the last if the adapter brings one."""
    base_model: str | None
    """What the folder says it was trained on: a name or path that nobody has checked."""
    config: dict[str, Any]
    """adapter_config.json as it stands."""


def load_peft(
    path: str | os.PathLike[str],
    *,
    network: DecoderConfig | Plain,
    params: Params,
    pad_token: int | None = None,
    information: Information | None = None,
) -> PeftModel:
    """Read an adapter for the base `network` with `params`, as load_hugging_face gives them.

    On a language model (DecoderConfig) the adapter says by its task_type what comes of it: a score per trace, read at
    the last token other than `pad_token` (the pad_token_id of the base, if it has one), a score per step, or the soft
    advantage of a better language model; `information` then replaces the level assumed: "preferences", "step labels",
    "none". Raises ModelFolderError.
    """
    folder = Path(path)
    with folder_errors():
        written = json_object(folder / CONFIG)
        config = read_adapter_config(written, str(folder / CONFIG))
    with _about(folder / CONFIG):
        fields = read_fields(config)
    with _open(folder) as tensors:
        if isinstance(network, DecoderConfig):
            network, params = _with_task(network, params, config, tensors, folder, pad_token, information)
        with _about(folder / CONFIG):
            check_task(config, network)
            low_rank = LowRankConfig(network=network, **fields)
        own = _read(low_rank, tensors, folder)
    base = params if "head" in params or "head" not in own else {**params, "head": own["head"]}
    return PeftModel(low_rank, {"base": base, **own}, config.base_model_name_or_path, written)


def save_peft(
    path: str | os.PathLike[str],
    *,
    network: LowRankConfig,
    params: Params,
    base_model: str,
    files: Mapping[str, str] | None = None,
) -> None:
    """Write a new folder that PEFT loads on `base_model`, the name or path of the base's Hugging Face folder.

    `files` are further texts, such as tokenizer.json. PEFT holds the head of a classifier whole, so a head that is
    frozen or has an adapter is written as what it comes to, for which `params` must have their base; else they may be
    without it. A step critic becomes a token classifier of two labels. Raises ModelFolderError.
    """
    with new_folder(Path(path)) as new:
        own = {name: part for name, part in params.items() if name != "base"}
        tensor_file.check_params(own, _own_shapes(network))
        network, own = _exported(network, own, params.get("base"))
        config, tensors = write_config(network, base_model), _written_tensors(network, own)
        new.mkdir(parents=True)
        tensor_file.save_arrays(new / WEIGHTS, tensors, {"format": "pt"})
        for name, text in {**(files or {}), CONFIG: json.dumps(config, indent=2) + "\n"}.items():
            (new / name).write_text(text, encoding="utf-8", newline="\n")


def _with_task(
    decoder: DecoderConfig,
    params: Params,
    config: AdapterConfig,
    tensors: Mapping[str, StoredTensor],
    folder: Path,
    pad_token: int | None,
    information: Information | None,
) -> tuple[Plain, Params]:
    """A language model as the network for the adapter's task, without its output matrix where a head takes over."""
    task = config.task_type or "CAUSAL_LM"
    if task == "CAUSAL_LM":
        return SoftAdvantageConfig(decoder=decoder, information=information or "none"), params
    labels, most = _count_labels(tensors, folder), 1 if task == "SEQ_CLS" else 2
    if labels > most:
        reason = f"a head of {labels} labels, and a language model does not say which is the score"
        raise ModelFolderError(f"{folder / WEIGHTS}: {reason}; give the base as a classifier, loaded with label=")
    decoder = dataclasses.replace(decoder, tie_embeddings=True)
    trunk = {"trunk": {name: part for name, part in params.items() if name != "head"}}
    head = LinearHead(labels=labels, bias=task == "TOKEN_CLS")
    read = LastToken(skip=pad_token) if task == "SEQ_CLS" else StepEnds(label=labels - 1)
    level: Information = information or ("preferences" if task == "SEQ_CLS" else "step labels")
    return HeadedDecoderConfig(decoder=decoder, head=head, read=read, information=level), trunk


def _count_labels(tensors: Mapping[str, StoredTensor], folder: Path) -> int:
    name = f"{_PREFIX}{HEAD}.weight"
    if name not in tensors:
        reason = f"tensor {name!r} is missing, and a language model has no head of its own"
        raise ModelFolderError(f"{folder / WEIGHTS}: {reason}; give the classifier that this adapter was trained on")
    shape = tensors[name].handle.get_slice(name).get_shape()
    if len(shape) != 2 or not shape[0]:
        raise ModelFolderError(f"{folder / WEIGHTS}: tensor {name!r}: expected [labels, width], got {shape}")
    return shape[0]


def _own_shapes(network: LowRankConfig) -> Params:
    shapes = jax.eval_shape(network.make().init, jax.random.key(0))
    return {name: part for name, part in shapes.items() if name != "base"}


def _places(ours: str, network: DecoderNetwork) -> tuple[str, list[str]]:
    """(the parameter that a tensor of ours is about, its names with them): "adapters.trunk.blocks.up.a" -> ..."""
    decoder_or_headed: Any = network.decoder if isinstance(network, SoftAdvantageConfig) else network
    kind = {".a": "lora_A.", ".b": "lora_B."}.get(ours[-2:], "") if ours.startswith("adapters.") else ""
    kernel = f"{ours.removeprefix('adapters.')[:-2]}.kernel" if kind else ours
    names = [_PREFIX + name for name in their_names(kernel, decoder_or_headed)]
    return kernel, [name.removesuffix("weight") + kind + "weight" if kind else name for name in names]


def _read(network: LowRankConfig, tensors: Mapping[str, StoredTensor], folder: Path) -> Params:
    """{"adapters", "head"} in float32."""
    shapes = {ours: leaf.shape for ours, leaf in flatten(_own_shapes(network)).items()}
    places = {ours: _places(ours, network.network) for ours in shapes}
    expected = {name for _, names in places.values() for name in names}
    for name in sorted(expected - tensors.keys()):
        raise ModelFolderError(
            f"{folder / WEIGHTS}: tensor {name!r} is missing; download it again, or correct {CONFIG}"
        )
    for name in sorted(tensors.keys() - expected):
        reason = f"tensor {name!r} is none of an adapter with this {CONFIG} on this base"
        raise ModelFolderError(f"{folder / WEIGHTS}: {reason}; give the base of its training")
    for ours, shape in shapes.items():
        one = shape if ours.endswith("bias") else shape[-2:][::-1]
        for name in places[ours][1]:
            tensors[name].check(one, f"by r of {CONFIG} and by the base")
    own: Params = {}
    for ours, shape in shapes.items():
        kernel, names = places[ours]
        *parents, last = ours.split(".")
        node = own
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = joined([tensors[name] for name in names], kernel, shape, "float32")
    return own


def _exported(network: LowRankConfig, own: Params, base: Params | None) -> tuple[LowRankConfig, Params]:
    """With the head whole, and a step critic as the token classifier that transformers has."""
    if network.network.has_head and network.head != "full":
        if base is None:
            raise ValueError(f"head: {network.head!r}, but PEFT holds it whole; give params with their base")
        adapters = {name: part for name, part in own["adapters"].items() if name != "head"}
        own = {"adapters": adapters, "head": network.merged({"base": base, **own})["head"]}
        network = dataclasses.replace(network, head="full")
    if isinstance(network.network, CriticConfig):
        plain, own = from_critic(network.network, own)
        network = dataclasses.replace(network, network=plain)
    return network, own


def _written_tensors(network: LowRankConfig, own: Params) -> dict[str, np.ndarray]:
    tensors = {}
    for ours, leaf in flatten(own).items():
        kernel, names = _places(ours, network.network)
        array = np.asarray(leaf, np.float32)
        if not np.isfinite(array).all():
            raise ValueError(f"tensor {names[0]!r}: not finite; take an earlier checkpoint")
        for name, part in zip(names, array if "blocks" in ours else array[None], strict=True):
            tensors[name] = np.ascontiguousarray(part.T if kernel.endswith("kernel") else part)
    return tensors


@contextmanager
def _open(folder: Path) -> Iterator[dict[str, StoredTensor]]:
    file = folder / WEIGHTS
    if not file.is_file():
        pickled = (folder / "adapter_model.bin").is_file()
        advice = "pickled weights are never read: save them as safetensors" if pickled else "download it again"
        raise ModelFolderError(f"{file}: no such file; {advice}")
    try:
        handle = safetensors.safe_open(file, framework="numpy")
    except (safetensors.SafetensorError, OSError) as error:
        raise ModelFolderError(f"{file}: truncated or damaged ({error}); download it again") from error
    with handle:
        yield {name: StoredTensor(file, handle, name) for name in handle.keys()}


@contextmanager
def _about(file: Path) -> Iterator[None]:
    try:
        yield
    except (InputError, ValueError) as error:
        raise ModelFolderError(f"{file}: {error}") from error
