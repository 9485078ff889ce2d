"""Hugging Face model folders <-> our networks, without torch and without transformers.

Read: Llama, Mistral, Qwen2 and Qwen3 as causal language models, sequence classifiers (a score per trace) and token
classifiers (a score per step), and Qwen2.5-Math's RM and PRM; from one safetensors file or from shards with an
index, tied or not, in float32, bfloat16, float16 or a mixture. Write: a folder that `AutoModelForCausalLM`,
`AutoModelForSequenceClassification` or `AutoModelForTokenClassification` loads with the same scores.

Nothing of a folder is run; a tensor that is missing, too many, of another shape or not finite is an error. The
caller brings the tokenizer, and must tokenise what a chat template wrote without adding special tokens again.
"""

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from reward_models.folders.hugging_face_config import HuggingFaceNetwork, read_config, write_config
from reward_models.folders.hugging_face_tensors import CONFIG, json_object, read_params, their_tensors, write_shards
from reward_models.folders.native import ModelFolderError, folder_errors, new_folder
from reward_models.networks.base import NetworkConfig, Params
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, DecoderNetwork
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, VocabularyHead, from_critic
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import Information, ScoreSpec


class HuggingFaceModel(NamedTuple):
    """What a folder holds. `network` is a DecoderConfig for a language model, else a HeadedDecoderConfig."""

    network: HuggingFaceNetwork
    params: Params
    spec: ScoreSpec
    config: dict[str, Any]
    """config.json as it stands, for ids of special tokens and the like."""


def load_hugging_face(
    path: str | os.PathLike[str],
    *,
    dtype: str = "float32",
    label: int | None = None,
    information: Information | None = None,
) -> HuggingFaceModel:
    """Read a downloaded model folder.

    `dtype` (float32 or bfloat16) is what the trunk is kept and computed in; heads are float32. `label` says which of
    several labels is the score. `information` replaces the level assumed of a head: "preferences" of a score per
    trace, "step labels" of one per step. A process reward model that marks step ends with a token of its own needs
    `dataclasses.replace(network, read=StepEnds(marker=id))`. Raises ModelFolderError.
    """
    folder = Path(path)
    if dtype not in ("float32", "bfloat16"):
        raise ModelFolderError(f"dtype: expected float32 or bfloat16, got {dtype!r}")
    with folder_errors():
        config = json_object(folder / CONFIG)
        where = str(folder / CONFIG)
        network = read_config(config, dtype=dtype, label=label, information=information, where=where)
        params = read_params(network, folder, dtype)
    spec = ScoreSpec(information="none") if isinstance(network, DecoderConfig) else network.make().spec
    return HuggingFaceModel(network, params, spec, config)


def save_hugging_face(
    path: str | os.PathLike[str],
    *,
    network: DecoderConfig | NetworkConfig,
    params: Params,
    pad_token: int,
    eos_token: int | None = None,
    bos_token: int | None = None,
    dtype: str = "float32",
    files: Mapping[str, str] | None = None,
    shard_bytes: int = 5_000_000_000,
) -> None:
    """Write a new folder that transformers loads; `files` are further texts, such as tokenizer.json.

    A step critic becomes a token classifier of two labels, a VocabularyHead or a soft advantage the language model it
    is; adapters are merged into the weights. transformers reads the score of a trace at its rightmost token other than
    `pad_token`, so no trace may end with that token, unless the network was read so itself (LastToken.skip). Raises
    ModelFolderError.
    """
    with new_folder(Path(path)) as new:
        network, params = _exported(network, params, pad_token)
        config = write_config(network, pad_token=pad_token, eos_token=eos_token, bos_token=bos_token, dtype=dtype)
        tensors = their_tensors(network, params, dtype)
        new.mkdir(parents=True)
        write_shards(new, tensors, shard_bytes)
        for name, text in {**(files or {}), CONFIG: json.dumps(config, indent=2) + "\n"}.items():
            (new / name).write_text(text, encoding="utf-8", newline="\n")


def _exported(
    network: DecoderConfig | NetworkConfig, params: Params, pad_token: int
) -> tuple[HuggingFaceNetwork, Params]:
    """The network as transformers has it, and its parameters without an output matrix that no score reads."""
    if isinstance(network, DecoderNetwork):
        network, params = network.merged(params)
    elif isinstance(network, DecoderConfig) and (adapters := network.adapters) is not None:
        network, params = dataclasses.replace(network, adapters=None), adapters.merged(params)
    if isinstance(network, CriticConfig):
        network, params = from_critic(network, params)
    if isinstance(network, SoftAdvantageConfig):
        network = network.decoder
    if isinstance(network, DecoderConfig):
        return network, params
    if not isinstance(network, HeadedDecoderConfig):
        written = "a language model, a step critic or a decoder with a head"
        raise ValueError(f"network: transformers has no class for {type(network).__name__}; expected {written}")
    if isinstance(network.head, VocabularyHead):
        return network.decoder, params["trunk"]
    if isinstance(network.read, LastToken) and network.read.skip not in (None, pad_token):
        raise ValueError(f"pad_token: {pad_token}, but scores were read past token {network.read.skip}; give that one")
    trunk = {name: leaf for name, leaf in params["trunk"].items() if name != "head"}
    headless = dataclasses.replace(network.decoder, tie_embeddings=True)
    return dataclasses.replace(network, decoder=headless), {**params, "trunk": trunk}
