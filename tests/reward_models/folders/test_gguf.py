"""Weights and sizes of GGUF files: they come back as they were written, and what is no such file is named."""

import dataclasses
import importlib
import random
import sys

import jax
import numpy as np
import pytest

from irl.text.hugging_face import read_tokenizer
from irl.types import InputError
from reward_models.folders import ModelFolderError, open_model
from reward_models.folders.opening import layout_of, tokenizer_files
from reward_models.networks.decoder import RopeScaling, frequencies
from tests.gguf_files import DECODERS, gguf, random_params, tiny_gguf

LLAMA3 = RopeScaling(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192)


def leaves(params):
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(params)}


@pytest.mark.parametrize("architecture", DECODERS)
def test_sizes_and_weights_come_back(tmp_path, architecture):
    network = DECODERS[architecture]
    model = open_model(tiny_gguf(tmp_path / "model.gguf", architecture))
    assert layout_of(tmp_path / "model.gguf") == "gguf"
    assert model.network == network
    expected, read = leaves(random_params(network)), leaves(model.params)
    assert read.keys() == expected.keys()
    assert all(np.array_equal(read[name], expected[name]) for name in expected)
    assert model.spec.information == "none" and model.config["eos_token_id"] == 2


@pytest.mark.parametrize(
    ("kind", "error"), [("F16", 1e-3), ("BF16", 1e-2), ("Q8_0", 0.01), ("Q5_1", 0.05), ("Q4_0", 0.15), ("Q4_1", 0.15)]
)
def test_quantised_weights(tmp_path, kind, error):
    """Values are near the original ones, at the place of the original ones."""
    model = open_model(tiny_gguf(tmp_path / "model.gguf", kind=kind))
    expected, read = leaves(random_params(DECODERS["llama"])), leaves(model.params)
    for name, leaf in expected.items():
        assert np.abs(read[name] - leaf).max() <= error * max(1, np.abs(leaf).max()), name
        assert np.corrcoef(read[name].ravel(), leaf.ravel())[0, 1] > 0.98, name


def test_bfloat16(tmp_path):
    model = open_model(tiny_gguf(tmp_path / "model.gguf"), dtype="bfloat16")
    assert model.network.dtype == "bfloat16"
    assert {leaf.dtype.name for leaf in jax.tree.leaves(model.params)} == {"bfloat16"}


def test_sizes_that_may_be_absent(tmp_path):
    """llama.cpp derives them: heads of keys, size of a head, and the base of rotary embeddings."""
    network = dataclasses.replace(DECODERS["llama"], num_kv_heads=4, head_dim=8, tie_embeddings=True)
    names = ("attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.freq_base")
    without = [f"llama.{name}" for name in (*names, "vocab_size", "rope.dimension_count")]
    assert open_model(tiny_gguf(tmp_path / "model.gguf", network=network, without=without)).network == network


def test_a_sliding_window(tmp_path):
    for architecture in ("llama", "qwen2"):
        key = {f"{architecture}__attention__sliding_window": 16}
        file = tiny_gguf(tmp_path / f"{architecture}.gguf", architecture, **key)
        assert open_model(file).network == dataclasses.replace(DECODERS[architecture], sliding_window=16)


def test_scaling_of_rotary_embeddings(tmp_path):
    network = dataclasses.replace(DECODERS["llama"], rope_theta=500_000.0, rope_scaling=LLAMA3)
    plain = frequencies(network.head_dim, network.rope_theta, None)
    divisors = np.asarray(plain / frequencies(network.head_dim, network.rope_theta, LLAMA3))
    file = tiny_gguf(tmp_path / "a.gguf", network=network, tensors={"rope_freqs.weight": divisors})
    assert open_model(file).network == network
    file = tiny_gguf(tmp_path / "b.gguf", network=network, tensors={"rope_freqs.weight": np.ones_like(divisors)})
    assert open_model(file).network == dataclasses.replace(network, rope_scaling=None)
    file = tiny_gguf(tmp_path / "c.gguf", network=network, tensors={"rope_freqs.weight": divisors + 1})
    with pytest.raises(ModelFolderError, match=r"rope_freqs.weight': other scalings of rotary embeddings"):
        open_model(file)


BAD = {
    "architecture": (
        {"general__architecture": "mamba"},
        "general.architecture: 'mamba' is not supported, only llama, qwen2, qwen3",
    ),
    "experts": ({"llama__expert_count": 8}, "llama.expert_count: 8 is not supported, only 0"),
    "part of a head": ({"llama__rope__dimension_count": 8}, "llama.rope.dimension_count: 8 is not supported, only 16"),
    "yarn": ({"llama__rope__scaling__type": "yarn"}, "llama.rope.scaling.type: 'yarn' is not supported, only 'none'"),
    "parts": ({"split__count": 3}, "split.count: the model is split over several files; merge"),
    "no sizes": ({"without": ["llama.block_count"]}, "llama.block_count: missing in the metadata; convert the model"),
    "a size of texts": ({"llama__block_count": "two"}, "llama.block_count: expected int, got str"),
    "heads": ({"llama__attention__head_count_kv": 3}, "metadata: num_key_value_heads: expected a divisor of"),
    "no layer": ({"llama__block_count": 0}, "metadata: num_hidden_layers: expected at least 1, got 0"),
    "no embedding": ({"tensors": {"token_embd.weight": None}}, "tensor 'token_embd.weight' is missing; download"),
    "no norm": ({"tensors": {"blk.1.ffn_norm.weight": None}}, "tensor 'blk.1.ffn_norm.weight' is missing; download"),
    "a bias": ({"tensors": {"blk.0.attn_q.bias": np.ones(64, "f4")}}, "'blk.0.attn_q.bias' is not expected .1 such.;"),
    "a shape": (
        {"tensors": {"blk.0.attn_norm.weight": np.ones(8, "f4")}},
        r"tensor 'blk.0.attn_norm.weight': expected \[32\] by the metadata, got \[8\]; download",
    ),
    "not a number": (
        {"tensors": {"output_norm.weight": np.full(32, np.nan, "f4")}},
        "tensor 'output_norm.weight': 32 of 32 values are NaN or infinite; download",
    ),
    "an integer": (
        {"tensors": {"output_norm.weight": np.ones(32, "i4")}},
        "tensor 'output_norm.weight': the quantisation I32 is not supported by gguf; take a file in Q8_0",
    ),
    "no end": ({"without": ["tokenizer.ggml.eos_token_id"]}, "tokenizer.ggml.eos_token_id: missing in the metadata"),
    "an end beyond": ({"tokenizer__ggml__eos_token_id": 999}, "eos_token_id: expected the id of one of 320 tokens"),
    "no tokenizer": ({"without": ["tokenizer.ggml.model"]}, "tokenizer.ggml.model: missing in the metadata"),
    "word pieces": ({"tokenizer__ggml__model": "bert"}, "tokenizer.ggml.model: 'bert' is not supported, only gpt2"),
    "a pattern": (
        {"tokenizer__ggml__pre": "chameleon"},
        "tokenizer.ggml.pre: 'chameleon' is not a known way to split texts; known names: deepseek-r1-qwen, falcon3",
    ),
    "types": ({"tokenizer__ggml__token_type": [1, 1]}, "tokenizer.ggml.token_type: 2 types of 320 tokens"),
    "merges": ({"tokenizer__ggml__merges": ["a b c"]}, "tokenizer.ggml.merges: expected pairs of tokens"),
    "a token twice": ({"tokenizer__ggml__tokens": ["a"] * 320}, "tokenizer.ggml.tokens: 'a' occurs twice"),
    "no scores": ({"tokenizer__ggml__model": "llama"}, "tokenizer.ggml.scores: missing in the metadata"),
}


@pytest.mark.parametrize(("changes", "message"), BAD.values(), ids=BAD)
def test_files_that_are_not_read(tmp_path, changes, message):
    """The message names the file, and the field or the tensor."""
    file = tiny_gguf(tmp_path / "model.gguf", **changes)
    with pytest.raises(ModelFolderError, match=rf"^{file}: .*{message}"):
        open_model(file)


def test_an_unknown_quantisation(tmp_path):
    file = tiny_gguf(tmp_path / "model.gguf")
    content = file.read_bytes()
    name = b"blk.0.ffn_up.weight"
    kind = content.index(name) + len(name) + 4 + 2 * 8
    file.write_bytes(content[:kind] + (250).to_bytes(4, "little") + content[kind + 4 :])
    with pytest.raises(ModelFolderError, match=r"tensor 'blk.0.ffn_up.weight': the quantisation type 250 is not supp"):
        open_model(file)


def test_damaged_files(tmp_path):
    file = tiny_gguf(tmp_path / "model.gguf")
    content = file.read_bytes()
    for length in (4, 7, 20, 100, 2000, len(content) // 2, len(content) - 40):
        file.write_bytes(content[:length])
        with pytest.raises(ModelFolderError, match=rf"^{file}: .*truncated.*download the file again"):
            open_model(file)
    file.write_bytes(content[:4] + (3 << 24).to_bytes(4, "little") + content[8:])
    with pytest.raises(ModelFolderError, match=r"version 50331648 of GGUF is not read, only 2 and 3"):
        open_model(file)
    count = content.index(b"tokenizer.ggml.token_type") + len(b"tokenizer.ggml.token_type") + 8
    file.write_bytes(content[:count] + (1 << 62).to_bytes(8, "little") + content[count + 8 :])
    with pytest.raises(ModelFolderError, match="truncated or damaged"):
        open_model(file)


def test_files_with_wrong_bytes(tmp_path):
    """Whatever byte is wrong, the file is read or the message names it."""
    content = tiny_gguf(tmp_path / "model.gguf").read_bytes()
    header = content.index(b"blk.1.ffn_up.weight")
    for seed in range(150):
        rng = random.Random(seed)
        damaged = bytearray(content)
        for _ in range(rng.choice([1, 2, 4])):
            damaged[rng.randrange(header)] = rng.choice([0, 1, 128, 255])
        file = tmp_path / f"{seed}.gguf"
        file.write_bytes(damaged)
        try:
            read_tokenizer(tokenizer_files(file))
        except InputError as error:
            assert str(error).startswith(str(file))
        file.unlink()


@pytest.mark.parametrize("content", [b"", b"GGU", b"{}", b"PK\3\4" * 9])
def test_other_files(tmp_path, content):
    (tmp_path / "model.bin").write_bytes(content)
    with pytest.raises(ModelFolderError, match=r"model.bin: expected a model folder or a GGUF file, which begins with"):
        open_model(tmp_path / "model.bin")


def test_a_folder_of_gguf_files(tmp_path):
    tiny_gguf(tmp_path / "model.gguf")
    with pytest.raises(ModelFolderError, match=r"holds model.gguf; give the file itself"):
        open_model(tmp_path)


def test_without_the_package(tmp_path, monkeypatch):
    file = tiny_gguf(tmp_path / "model.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ModelFolderError, match=r"need the package gguf: pip install 'traceward\[gguf\]'"):
        open_model(file)
    monkeypatch.undo()
    assert importlib.import_module("gguf") is gguf
