"""Language models in GGUF files, as llama.cpp reads them: weights and sizes of Llama, Qwen2 and Qwen3.

The metadata become the config.json that transformers has of the same model, and tensors get their names there, so a
GGUF file is checked and assembled like a Hugging Face folder. Differences of the format:

1. Queries and keys of `llama` are stored for rotary embeddings of neighbouring pairs (gguf_file.py).
2. Llama 3.1's scaling of rotary embeddings is a tensor of divisors, `rope_freqs.weight`.
3. There is no `tie_word_embeddings`: an output matrix that is absent is the embedding.
4. Numbers are float32: a norm_eps of 1e-5 is stored as 9.999999747e-06.
"""

from typing import Any

import numpy as np

from reward_models.folders.gguf_file import GgufFile, GgufTensor
from reward_models.folders.hugging_face import HuggingFaceModel
from reward_models.folders.hugging_face_config import read_config
from reward_models.folders.hugging_face_tensors import BLOCK, TRUNK, all_names, assemble
from reward_models.folders.native import ModelFolderError, folder_errors
from reward_models.networks.decoder import DecoderConfig, RopeScaling, frequencies
from reward_models.types import ScoreSpec

FAMILIES = {"llama": "Llama", "qwen2": "Qwen2", "qwen3": "Qwen3"}
"""Architectures of GGUF that are read, by the names of transformers."""
_ROPE = "rope_freqs.weight"
_LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""The settings of every published Llama of version 3.1 and later; only the factor differs."""
_TRUNK = {"embedding": "token_embd.weight", "final_norm.scale": "output_norm.weight", "head.kernel": "output.weight"}
_BLOCK = {
    "input_norm.scale": "attn_norm.weight",
    "query.kernel": "attn_q.weight",
    "query.bias": "attn_q.bias",
    "key.kernel": "attn_k.weight",
    "key.bias": "attn_k.bias",
    "value.kernel": "attn_v.weight",
    "value.bias": "attn_v.bias",
    "output.kernel": "attn_output.weight",
    "query_norm.scale": "attn_q_norm.weight",
    "key_norm.scale": "attn_k_norm.weight",
    "post_norm.scale": "ffn_norm.weight",
    "gate.kernel": "ffn_gate.weight",
    "up.kernel": "ffn_up.weight",
    "down.kernel": "ffn_down.weight",
}
_NAMES = {TRUNK[ours]: name for ours, name in _TRUNK.items()} | {BLOCK[ours]: name for ours, name in _BLOCK.items()}


def load_gguf(file: GgufFile, *, dtype: str = "float32", **head: Any) -> HuggingFaceModel:
    """The language model of a GGUF file.

    `dtype` is what it is kept and computed in; `head` are arguments of `read_config` for models with one, and refused
    there. Raises ModelFolderError.
    """
    architecture = file.get("general.architecture", str)
    if architecture not in FAMILIES:
        known = ", ".join(FAMILIES)
        raise ModelFolderError(f"{file.path}: general.architecture: {architecture!r} is not supported, only {known}")
    if file.metadata.get("split.count", 1) != 1:
        merge = "merge the parts with `llama-gguf-split --merge` first"
        raise ModelFolderError(f"{file.path}: split.count: the model is split over several files; {merge}")
    config = _config(file, architecture)
    with folder_errors():
        network = read_config(config, dtype=dtype, where=f"{file.path}: metadata", **head)
    assert isinstance(network, DecoderConfig)
    tensors = _tensors(file, network, architecture)
    params = assemble(network, tensors, dtype)
    return HuggingFaceModel(network, params, ScoreSpec(information="none"), config)


def _config(file: GgufFile, architecture: str) -> dict[str, Any]:
    """The config.json that transformers would have of the same model."""
    prefix = f"{architecture}."
    heads = file.get(prefix + "attention.head_count", int)
    width = file.get(prefix + "embedding_length", int)
    head_dim = file.get(prefix + "attention.key_length", int, width // max(heads, 1))
    for key, expected in (
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
        ("expert_count", 0),
        ("rope.scaling.type", "none"),
        ("rope.scale_linear", 1.0),
    ):
        if file.metadata.get(prefix + key, expected) != expected:
            got = f"{file.metadata[prefix + key]!r} is not supported, only {expected!r}"
            raise ModelFolderError(f"{file.path}: {prefix}{key}: {got}; take another model")
    theta = _short(file.get(prefix + "rope.freq_base", float, 10_000.0))
    window = file.metadata.get(prefix + "attention.sliding_window")
    family = "Mistral" if architecture == "llama" and window else FAMILIES[architecture]
    return {
        "architectures": [f"{family}ForCausalLM"],
        "vocab_size": _tensor(file, _TRUNK["embedding"]).shape[0],
        "hidden_size": width,
        "intermediate_size": file.get(prefix + "feed_forward_length", int),
        "num_hidden_layers": file.get(prefix + "block_count", int),
        "num_attention_heads": heads,
        "num_key_value_heads": file.get(prefix + "attention.head_count_kv", int, heads),
        "head_dim": head_dim,
        "max_position_embeddings": file.get(prefix + "context_length", int),
        "rms_norm_eps": _short(file.get(prefix + "attention.layer_norm_rms_epsilon", float)),
        "rope_theta": theta,
        "rope_scaling": _rope_scaling(file, head_dim, theta),
        "tie_word_embeddings": _TRUNK["head.kernel"] not in file.tensors,
        "sliding_window": window or None,
        "use_sliding_window": bool(window),
        "max_window_layers": 0,
        **{f"{name}_token_id": file.metadata.get(f"tokenizer.ggml.{key}_token_id") for name, key in _TOKENS.items()},
    }


_TOKENS = {"bos": "bos", "eos": "eos", "pad": "padding"}


def _short(number: float) -> float:
    """The shortest decimal that is the same float32."""
    return float(str(np.float32(number)))


def _tensor(file: GgufFile, name: str) -> GgufTensor:
    if name not in file.tensors:
        raise ModelFolderError(f"{file.path}: tensor {name!r} is missing; download the file again")
    return file.tensors[name]


def _rope_scaling(file: GgufFile, head_dim: int, theta: float) -> dict[str, Any] | None:
    """Llama 3.1's stretching, where the file has its divisors. ModelFolderError for divisors of another kind."""
    if _ROPE not in file.tensors:
        return None
    tensor = file.tensors[_ROPE]
    tensor.check((head_dim // 2,))
    divisors = tensor.read()
    factor = _short(float(divisors.max()))
    if factor <= 1.0:
        return None
    low, high, length = _LLAMA3.values()
    scaling = RopeScaling(factor=factor, low_freq_factor=low, high_freq_factor=high, original_length=int(length))
    expected = np.asarray(frequencies(head_dim, theta, None) / frequencies(head_dim, theta, scaling))
    if not np.allclose(divisors, expected, rtol=1e-3):
        where = f"{file.path}: tensor {_ROPE!r}"
        raise ModelFolderError(f"{where}: other scalings of rotary embeddings than Llama 3.1's are not supported")
    return {"rope_type": "llama3", "factor": factor, **_LLAMA3}


def _tensors(file: GgufFile, network: DecoderConfig, architecture: str) -> dict[str, GgufTensor]:
    """The tensors by their names in transformers. ModelFolderError for one that is missing or too many."""
    names = {theirs: _stored_name(theirs) for theirs in all_names(network)}
    other = sorted(file.tensors.keys() - set(names.values()) - {_ROPE})
    if other:
        advice = f"the file is no plain model of the architecture {architecture}"
        raise ModelFolderError(f"{file.path}: tensor {other[0]!r} is not expected ({len(other)} such); {advice}")
    tensors = {theirs: _tensor(file, name) for theirs, name in names.items()}
    if architecture == "llama":
        heads = {"q_proj": network.num_heads, "k_proj": network.num_kv_heads}
        for theirs, tensor in tensors.items():
            tensors[theirs] = tensor._replace(heads=heads.get(theirs.split(".")[-2], 0))
    return tensors


def _stored_name(theirs: str) -> str:
    """The name in a GGUF file of a tensor of transformers."""
    if not theirs.startswith("model.layers."):
        return _NAMES[theirs]
    layer, name = theirs.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{_NAMES[name]}"
