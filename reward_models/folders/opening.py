"""The one loader of models: it recognises the layout of a folder, or a GGUF file, and reads it.

native         model.safetensors, config.json, tokenizer.json, manifest.json, as a run saves it (native.py)
hugging_face   a config.json of transformers beside safetensors (hugging_face.py)
peft           low-rank adapters on a base: a Hugging Face folder or a GGUF file (peft.py)
gguf           one file with a language model and its tokenizer, as llama.cpp reads it (gguf.py)
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax

from reward_models.folders import peft
from reward_models.folders.gguf import load_gguf
from reward_models.folders.gguf_file import read_gguf
from reward_models.folders.gguf_tokenizer import tokenizer_texts
from reward_models.folders.hugging_face import load_hugging_face
from reward_models.folders.hugging_face_tensors import CONFIG, json_object
from reward_models.folders.manifest import MANIFEST, Manifest
from reward_models.folders.native import TOKENIZER, WEIGHTS, ModelFolderError, folder_errors, load_folder
from reward_models.folders.tensor_file import check_params
from reward_models.folders.tokenizer_files import TokenizerFiles, read_folder
from reward_models.frozen import without_frozen
from reward_models.networks.adapters import with_base
from reward_models.networks.base import NetworkConfig, Params
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.records import InputError, read_json
from reward_models.types import Information, ScoreSpec

Layout = Literal["native", "hugging_face", "peft", "gguf"]


class Model(NamedTuple):
    """What a folder of any layout holds. `network` is a config; `network.make()` builds it."""

    network: Any
    params: Params
    spec: ScoreSpec
    files: TokenizerFiles
    """The texts of the tokenizer and of a chat template."""
    manifest: Manifest | None = None
    """Of a native folder."""
    config: Mapping[str, Any] = {}
    """config.json of a Hugging Face folder or of a GGUF file, or of the base of adapters: ids of special tokens and the
    like."""


def layout_of(folder: Path) -> Layout:
    """The layout of a folder; native for a folder of none, whose loader reports what is wrong with it.

    Any file is taken for a GGUF file.
    """
    if os.path.isfile(folder):
        return "gguf"
    if os.path.isfile(folder / peft.CONFIG):
        return "peft"
    try:
        config = read_json(folder / CONFIG)
    except InputError:
        return "native"
    known = isinstance(config, dict) and ("architectures" in config or "model_type" in config)
    return "hugging_face" if known else "native"


def folders_of(path: str | os.PathLike[str], base: str | os.PathLike[str] | None = None) -> list[Path]:
    """Every folder that `open_model` reads: the folder itself, and the base of adapters."""
    folder = Path(path)
    return [folder, _base_of(folder, base)] if layout_of(folder) == "peft" else [folder]


def open_base(path: str | os.PathLike[str], dtype: str) -> Model:
    """The language model that training starts from. All that is trained on it in a process shares its weights."""
    return _open_base(Path(path).resolve(), dtype)


@lru_cache(maxsize=1)
def _open_base(path: Path, dtype: str) -> Model:
    base = open_model(path, dtype=dtype)
    if not isinstance(base.network, DecoderConfig) or base.network.adapters is not None:
        raise ModelFolderError(f"{path}: expected a causal language model, got one with a head or with adapters")
    return base


def open_model(
    path: str | os.PathLike[str],
    *,
    base: str | os.PathLike[str] | None = None,
    dtype: str = "float32",
    label: int | None = None,
    information: Information | None = None,
) -> Model:
    """Read a model folder of any layout, or a GGUF file.

    Args:
        path: The folder or file.
        base: The folder or file of the base of adapters, where it is not the one that adapter_config.json names.
        dtype: float32 or bfloat16: what a network of a Hugging Face folder or a GGUF file is kept and computed in.
        label: Which label of a Hugging Face head is the score, where it has several.
        information: Replaces the information level that is assumed of a Hugging Face head.

    Raises:
        ModelFolderError: The folder cannot be read; the message names file, tensor or field.
    """
    folder = Path(path)
    layout = layout_of(folder)
    inside = sorted(folder.glob("*.gguf")) if layout == "native" and not (folder / CONFIG).exists() else []
    if inside:
        raise ModelFolderError(f"{folder}: holds {inside[0].name}; give the file itself")
    if layout in ("hugging_face", "gguf") and base is not None:
        raise ModelFolderError(f"{folder}: --base is for adapters; leave it out")
    match layout:
        case "native":
            return _native(folder, base)
        case "peft":
            plain = open_model(_base_of(folder, base), dtype=dtype, label=label, information=information)
            return _adapted(folder, plain, information)
        case "gguf":
            file = read_gguf(folder)
            files = tokenizer_texts(file)
            read = load_gguf(file, dtype=dtype, label=label, information=information)
        case "hugging_face":
            files = read_folder(folder)
            read = load_hugging_face(folder, dtype=dtype, label=label, information=information)
    return Model(read.network, read.params, read.spec, files, config=read.config)


def tokenizer_files(path: str | os.PathLike[str]) -> TokenizerFiles:
    """The texts of the tokenizer of a Hugging Face folder or a GGUF file, without its weights."""
    file = Path(path)
    return tokenizer_texts(read_gguf(file)) if layout_of(file) == "gguf" else read_folder(file)


def _adapted(folder: Path, plain: Model, information: Information | None) -> Model:
    """The base with its adapters, and the tokenizer of the adapters where they have their own."""
    pad = plain.config.get("pad_token_id")
    read = peft.load_peft(folder, network=plain.network, params=plain.params, pad_token=pad, information=information)
    files = read_folder(folder)
    return plain._replace(
        network=read.network,
        params=read.params,
        spec=read.network.make().spec,
        files=files if TOKENIZER in files.texts else plain.files,
    )


def _native(folder: Path, base: str | os.PathLike[str] | None) -> Model:
    read = load_folder(folder)
    params, under = read.params, read.manifest.base
    if base is not None:
        if under is None:
            raise ModelFolderError(f"{folder}: --base is for adapters; leave it out")
        under = str(base)
    if isinstance(read.network, NetworkConfig | DecoderConfig):
        shapes = jax.eval_shape(read.network.make().init, jax.random.key(0))
        try:
            check_params(params, without_frozen(shapes))
        except ValueError as error:
            raise ModelFolderError(f"{folder / WEIGHTS}: {error}") from error
        if under is not None:
            params = _on_base(folder, read.network, params, under)
    files = TokenizerFiles(folder, {TOKENIZER: read.tokenizer_json})
    return Model(read.network, params, read.spec, files, read.manifest)


def _on_base(folder: Path, network: Any, own: Params, under: str) -> Params:
    """The params of a native folder of adapters, with the weights of their base."""
    while isinstance(network, EnsembleConfig):
        network = network.member
    decoder = network if isinstance(network, DecoderConfig) else network.decoder
    where = f"{folder / MANIFEST}: base: {under!r}"
    if not Path(under).exists():
        raise ModelFolderError(f"{where} does not exist here; give the base of the training by --base")
    base = open_base(under, decoder.dtype)
    if replace(base.network, adapters=decoder.adapters, remat=decoder.remat) != decoder:
        raise ModelFolderError(f"{where} has another shape than the adapters; give the base of the training by --base")
    if isinstance(network, DecoderConfig):
        return with_base(own["adapters"], base.params)
    return network.with_trunk(own, with_base(network.trunk_of(own)["adapters"], base.params))


def _base_of(folder: Path, given: str | os.PathLike[str] | None) -> Path:
    """The folder or file of the base: the one given, or the one that adapter_config.json names."""
    with folder_errors():
        named = json_object(folder / peft.CONFIG).get("base_model_name_or_path")
    base = Path(str(named) if given is None else given)
    if not base.is_file() and not (base / CONFIG).is_file():
        where = "base" if given else f"{folder / peft.CONFIG}: base_model_name_or_path"
        raise ModelFolderError(f"{where}: {str(base)!r} is no model folder here; give the folder of the base (--base)")
    return base
