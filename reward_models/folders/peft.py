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
from typing import Any, NamedTuple, cast

import jax
import numpy as np
import safetensors

from reward_models.folders import tensor_file
from reward_models.folders.hugging_face_tensors import StoredTensor, joined, json_object, their_names
from reward_models.folders.native import ModelFolderError, folder_errors, new_folder
from reward_models.folders.peft_config import (
    HEAD,
    AdapterConfig,
    Head,
    Plain,
    check_task,
    read_adapter_config,
    read_adapters,
    write_config,
)
from reward_models.frozen import without_frozen
from reward_models.networks.adapters import LowRank, fresh_adapters, merge, with_base
from reward_models.networks.base import Params, flatten
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, StepEnds, from_critic
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.records import InputError
from reward_models.types import Information

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."


class PeftModel(NamedTuple):
    """A base with its adapters. `network.merged(params)` is the same without adapters."""

    network: Plain
    """Its decoder has adapters."""
    params: Params
    """The head, if there is one, is that of the adapter."""
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
        adapters, head = read_adapters(config)
    with _open(folder) as tensors:
        if isinstance(network, DecoderConfig):
            network, params = _with_task(network, params, config, tensors, folder, pad_token, information)
        with _about(folder / CONFIG):
            check_task(config, network)
            if head != "frozen" and not network.has_head:
                raise ValueError(f"{HEAD!r} is the head of a classifier, and the base has none; give its own base")
        network = network.adapted(adapters)
        own = _read(network, _expected(network, head), tensors, folder)
    params = network.with_trunk(params, with_base(network.trunk_of(own)["adapters"], network.trunk_of(params)))
    if head == "full":
        params = {**params, "head": own["head"]}
    elif head == "low_rank":
        params = {**params, "head": merge(params["head"], own["head"]["adapters"], adapters.scale)}
    return PeftModel(network, params, config.base_model_name_or_path, written)


def save_peft(
    path: str | os.PathLike[str],
    *,
    network: Plain,
    params: Params,
    base_model: str,
    files: Mapping[str, str] | None = None,
) -> None:
    """Write a new folder that PEFT loads on `base_model`, the name or path of the base's Hugging Face folder.

    The decoder of `network` has adapters; `params` may be without their base. `files` are further texts, such as
    tokenizer.json. PEFT holds the head of a classifier whole. A step critic becomes a token classifier of two labels.
    Raises ModelFolderError.
    """
    with new_folder(Path(path)) as new:
        own = without_frozen(params)
        tensor_file.check_params(own, _expected(network, "full"))
        if isinstance(network, CriticConfig):
            network, own = from_critic(network, own)
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


def _expected(network: Plain, head: Head) -> Params:
    """The shapes of what an adapter holds. {"adapters"} in place of a head that has an adapter."""
    shapes = without_frozen(jax.eval_shape(network.make().init, jax.random.key(0)))
    of_head = shapes.pop("head", None)
    if of_head is None or head == "frozen":
        return shapes
    if head == "low_rank":
        rank = cast(LowRank, network.decoder.adapters).rank
        kernels = {path: leaf.shape for path, leaf in flatten(of_head).items() if path.endswith("kernel")}
        of_head = {"adapters": jax.eval_shape(lambda: fresh_adapters(jax.random.key(0), kernels, rank))}
    return {**shapes, "head": of_head}


def _places(ours: str, network: Plain) -> tuple[str, list[str]]:
    """(the parameter that a tensor of ours is about, its names with them): "trunk.adapters.blocks.up.a" -> ..."""
    decoder_or_headed: Any = network.decoder if isinstance(network, SoftAdvantageConfig) else network
    parts = [part for part in ours.split(".") if part != "adapters"]
    kind = {"a": "lora_A.", "b": "lora_B."}.get(parts[-1], "")
    kernel = ".".join([*parts[:-1], "kernel" if kind else parts[-1]])
    names = [_PREFIX + name for name in their_names(kernel, decoder_or_headed)]
    return kernel, [name.removesuffix("weight") + kind + "weight" if kind else name for name in names]


def _read(network: Plain, expected: Params, tensors: Mapping[str, StoredTensor], folder: Path) -> Params:
    """The tensors of an adapter in float32, in a tree like `expected`."""
    shapes = {ours: leaf.shape for ours, leaf in flatten(expected).items()}
    places = {ours: _places(ours, network) for ours in shapes}
    names = {name for _, of_ours in places.values() for name in of_ours}
    for name in sorted(names - tensors.keys()):
        raise ModelFolderError(
            f"{folder / WEIGHTS}: tensor {name!r} is missing; download it again, or correct {CONFIG}"
        )
    for name in sorted(tensors.keys() - names):
        reason = f"tensor {name!r} is none of an adapter with this {CONFIG} on this base"
        raise ModelFolderError(f"{folder / WEIGHTS}: {reason}; give the base of its training")
    for ours, shape in shapes.items():
        one = shape if ours.endswith("bias") else shape[-2:][::-1]
        for name in places[ours][1]:
            tensors[name].check(one, f"by r of {CONFIG} and by the base")
    own: Params = {}
    for ours, shape in shapes.items():
        kernel, of_ours = places[ours]
        *parents, last = ours.split(".")
        node = own
        for parent in parents:
            node = node.setdefault(parent, {})
        node[last] = joined([tensors[name] for name in of_ours], kernel, shape, "float32")
    return own


def _written_tensors(network: Plain, own: Params) -> dict[str, np.ndarray]:
    tensors = {}
    for ours, leaf in flatten(own).items():
        kernel, names = _places(ours, network)
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
