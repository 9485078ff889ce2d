"""Small GGUF files for tests: a decoder of ours and a byte-level tokenizer, written with the package `gguf`."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from reward_models.networks.decoder import DecoderConfig

gguf = pytest.importorskip("gguf")

TEXTS = [f"Count on from {n}\n{n} is first\n\nnext is {n + 1}.\n  Done, at last.\n\n\n" for n in range(30)]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
ABSENT = ("tokenizer.ggml.merges", "tokenizer.ggml.add_bos_token", "tokenizer.ggml.padding_token_id")
"""Metadata that SentencePiece does not have."""
PRE = {"llama": "smollm", "qwen2": "qwen2", "qwen3": "qwen2"}
_SHAPE = {"vocab_size": 320, "num_layers": 2, "dim": 32, "num_heads": 4, "num_kv_heads": 2, "head_dim": 16}
_SHARED = {**_SHAPE, "hidden_dim": 64, "context_length": 128, "norm_eps": 1e-5}
DECODERS = {
    "llama": DecoderConfig(**_SHARED, tie_embeddings=False),
    "qwen2": DecoderConfig(**_SHARED | {"num_heads": 2, "num_kv_heads": 1}, attention_bias=True, rope_theta=1e6),
    "qwen3": DecoderConfig(**_SHARED | {"head_dim": 128, "num_heads": 2, "num_kv_heads": 1}, qk_norm=True),
}
"""Qwen2 and Qwen3 have the size of heads that transformers assumes of a GGUF file."""


def byte_level(split=None):
    """A byte-level BPE tokenizer of fewer than 320 tokens; `split` comes before it."""
    tokenizer = Tokenizer(models.BPE())
    plain = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = plain if split is None else pre_tokenizers.Sequence([split, plain])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return tokenizer


def sentence_piece():
    """The SentencePiece of Llama 2 as Hugging Face has it, and its tokens with scores, as llama.cpp has them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{number:02X}>" for number in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special + bytes_, show_progress=False)
    tokenizer.train_from_iterator([text.replace("\n", " ") for text in TEXTS], trainer)
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in special]
    tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokens = sorted(state["model"]["vocab"], key=state["model"]["vocab"].get)
    ranks = {left + right: rank for rank, (left, right) in enumerate(state["model"]["merges"])}
    return tokenizer, {
        "tokenizer__ggml__model": "llama",
        "tokenizer__ggml__pre": "default",
        "tokenizer__ggml__tokens": tokens,
        "tokenizer__ggml__scores": [-float(ranks.get(token, 1000)) for token in tokens],
        "tokenizer__ggml__token_type": [2, 3, 3, *[6] * 256, *[1] * (len(tokens) - 259)],
    }


def random_params(network, seed=0):
    """Weights at which every part of the network matters."""
    shapes = jax.eval_shape(network.make().init, jax.random.key(0))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.3, leaf.shape), jnp.float32), shapes)


def metadata_of(architecture, network, tokenizer=None):
    """The metadata of a file by key."""
    tokenizer = byte_level() if tokenizer is None else tokenizer
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    sizes = {
        "block_count": network.num_layers,
        "context_length": network.context_length,
        "embedding_length": network.dim,
        "feed_forward_length": network.hidden_dim,
        "attention.head_count": network.num_heads,
        "attention.head_count_kv": network.num_kv_heads,
        "attention.key_length": network.head_dim,
        "attention.value_length": network.head_dim,
        "rope.freq_base": float(network.rope_theta),
        "attention.layer_norm_rms_epsilon": network.norm_eps,
        "vocab_size": network.vocab_size,
        **({"rope.dimension_count": network.head_dim} if architecture == "llama" else {}),
    }
    ids = {"bos_token_id": 1, "eos_token_id": 2, "padding_token_id": 0, "unknown_token_id": 0}
    vocabulary = {
        "model": "gpt2",
        "pre": PRE[architecture],
        "tokens": tokens + [f"[PAD{n}]" for n in range(len(tokens), network.vocab_size)],
        "token_type": [3 if token in SPECIAL else 1 for token in tokens] + [5] * (network.vocab_size - len(tokens)),
        "merges": [" ".join(pair) for pair in model["merges"]],
        "add_bos_token": False,
        **ids,
    }
    return {
        **{f"{architecture}.{key}": value for key, value in sizes.items()},
        **{f"tokenizer.ggml.{key}": value for key, value in vocabulary.items()},
        "tokenizer.chat_template": CHATML,
    }


def tensors_of(architecture, network, params):
    """The tensors of a file by name, in the order of llama.cpp."""
    heads = {"query": network.num_heads, "key": network.num_kv_heads} if architecture == "llama" else {}
    names = {
        "input_norm": "attn_norm",
        "query": "attn_q",
        "key": "attn_k",
        "value": "attn_v",
        "output": "attn_output",
        "query_norm": "attn_q_norm",
        "key_norm": "attn_k_norm",
        "post_norm": "ffn_norm",
        "gate": "ffn_gate",
        "up": "ffn_up",
        "down": "ffn_down",
    }
    tensors = {"token_embd.weight": params["embedding"], "output_norm.weight": params["final_norm"]["scale"]}
    if "head" in params:
        tensors["output.weight"] = params["head"]["kernel"].T
    for part, leaves in params["blocks"].items():
        for kind, leaf in leaves.items():
            suffix = "bias" if kind == "bias" else "weight"
            for layer, array in enumerate(np.asarray(leaf)):
                array = array.T if kind == "kernel" else array
                if part in heads:  # [heads, half, pair member] becomes [heads, pair, half member]
                    halves = array.reshape(heads[part], 2, network.head_dim // 2, -1)
                    array = np.stack([halves[:, 0], halves[:, 1]], axis=2).reshape(array.shape)
                tensors[f"blk.{layer}.{names[part]}.{suffix}"] = array
    return {name: np.ascontiguousarray(array) for name, array in tensors.items()}


def write_gguf(path, architecture, metadata, tensors, kind="F32"):
    """A GGUF file; matrices are quantised as `kind`, vectors are float32."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in metadata.items():
        add(writer, key, value)
    for name, array in tensors.items():
        stored = gguf.GGMLQuantizationType[kind if array.ndim == 2 else "F32"]
        if stored.name in ("F32", "F16"):
            writer.add_tensor(name, array.astype("f2") if stored.name == "F16" else array)
        else:
            writer.add_tensor(name, gguf.quants.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def add(writer, key, value):
    match value:
        case bool():
            writer.add_bool(key, value)
        case int():
            writer.add_uint32(key, value)
        case float():
            writer.add_float32(key, value)
        case str():
            writer.add_string(key, value)
        case _:
            writer.add_array(key, value)


def tiny_gguf(
    path, architecture="llama", *, network=None, kind="F32", without=(), tensors=(), tokenizer=None, **changed
):
    """A file of a random decoder; `without` and `changed` alter metadata, `tensors` alter tensors (None: absent)."""
    network = network or DECODERS[architecture]
    metadata = metadata_of(architecture, network, tokenizer)
    metadata |= {key.replace("__", "."): value for key, value in changed.items()}
    metadata = {key: value for key, value in metadata.items() if key not in without}
    stored = tensors_of(architecture, network, random_params(network)) | dict(tensors)
    stored = {name: array for name, array in stored.items() if array is not None}
    return write_gguf(path, architecture, metadata, stored, kind)
