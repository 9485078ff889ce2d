"""Model folders (ours of every network, of claims, of Hugging Face, of PEFT) and GGUF files, damaged and loaded."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from experiments.cli import main as traceward
from irl.domains.gsm8k.exercises import Calculations
from irl.rewards import open_scorer
from irl.rewards.questions import Answer, Question
from irl.text.tokenize import number_tokenizer
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.manifest import Provenance
from reward_models.folders.native import load_folder, save_folder
from reward_models.folders.opening import open_model
from reward_models.folders.peft import save_peft
from reward_models.networks.adapters import LowRank
from reward_models.networks.critic import CriticConfig
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.ensemble import EnsembleConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead, MLPHead, StepEnds
from reward_models.networks.regret import RegretConfig
from reward_models.networks.soft_advantage import SoftAdvantageConfig
from reward_models.types import ScoreSpec
from tests.fuzz import mutate
from tests.fuzz.cases import Case, Target
from tests.fuzz.trees import damage_folder, flip_bit
from tests.gguf_files import tiny_gguf

CHATML = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
UNREAD = ("model_card.md", "NOTICE.txt")
"""Files of a model folder that no reader opens."""
ROW = {"prompt": "4 5 6 10", "completion": "10 - 4 = 6 (left: 5 6 6)\n\nAnswer: 6 * 6 = 36"}
QUESTION = Question("q", ROW["prompt"], (), (Answer(0, ROW["completion"]),))
SMALL = DecoderConfig(
    vocab_size=number_tokenizer().get_vocab_size(),
    num_layers=1,
    dim=8,
    num_heads=2,
    num_kv_heads=1,
    head_dim=4,
    hidden_dim=12,
)


def _byte_tokenizer() -> Tokenizer:
    vocabulary = {sign: i for i, sign in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.add_special_tokens(["<pad>", "<|start|>", "<|end|>", "<extra_0>"])
    return tokenizer


def _random(network: Any) -> Any:
    """Parameters near one in the shapes of a network, which compiles nothing."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(network.make().init, jax.random.key(0))
    return jax.tree.map(lambda leaf: rng.normal(1.0, 0.3, leaf.shape).astype(leaf.dtype), shapes)


# ----------------------------------------------------------------------------------------------------- ours


def _networks() -> Mapping[str, Any]:
    critic, headed = (
        CriticConfig(decoder=SMALL),
        HeadedDecoderConfig(decoder=SMALL, head=LinearHead(), read=LastToken()),
    )
    rope = RopeScaling(factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=64)
    return {
        "soft_advantage": SoftAdvantageConfig(decoder=replace(SMALL, rope_scaling=rope)),
        "critic": critic,
        "headed": headed,
        "adapters": headed.adapted(LowRank(rank=2)),
        "ensemble": EnsembleConfig(member=critic, members=2, reduction="pessimistic"),
    }


def _prepare_ours(folder: Path) -> Mapping[str, Path]:
    folder.mkdir(parents=True)
    tokenizer = number_tokenizer()
    for name, network in _networks().items():
        note = Provenance(seed=0, environment="Countdown", windows="states" if name == "critic" else "whole trace")
        if name == "adapters":
            note = Provenance(seed=0, environment="Countdown", base=str(folder / "policy"))
        save_ours(folder / name, network, network.make().spec, tokenizer, note)
    save_ours(folder / "policy", SMALL, ScoreSpec("reward", "sum", "demonstrations"), tokenizer, Provenance(seed=0))
    claims, note = RegretConfig(decoder=SMALL, judged=(1, 2, 3)), Provenance(seed=0, windows="equations")
    save_ours(folder / "claims", claims, claims.make().spec, Calculations().tokenizer(), note)
    return {path.name: path for path in sorted(folder.iterdir())}


def save_ours(folder: Path, network: Any, spec: ScoreSpec, tokenizer: Tokenizer, manifest: Provenance) -> None:
    params = _random(network)
    save_folder(folder, params=params, network=network, spec=spec, tokenizer_json=tokenizer.to_str(), manifest=manifest)
    (folder / "model_card.md").write_text("# A model\n", encoding="utf-8")


def _load_ours(name: str, folder: Path) -> None:
    if name == "policy":
        load_folder(folder)
    else:
        open_scorer(folder)


def _draw_ours(rng: Random, prepared: Mapping[str, Path], folder: Path) -> Case:
    """One flipped bit, or other damage, of a folder that has digests: accepting a change is an error."""
    name = rng.choice(list(prepared))
    copy = shutil.copytree(prepared[name], folder / name)
    what = flip_bit(rng, copy) if rng.random() < 0.6 else damage_folder(rng, copy)
    changed = _contents(copy) != _contents(prepared[name])
    if name != "policy" and rng.random() < 0.02:
        return Case(_score(copy, folder), (str(copy),), changed, f"score with {name}: {what}")
    return Case(lambda: _load_ours(name, copy), (str(copy),), changed, f"{name}: {what}")


def _contents(folder: Path) -> dict[str, bytes | None]:
    """What a reader reads."""
    files = (file for file in folder.iterdir() if file.name not in UNREAD)
    return {file.name: file.read_bytes() if file.is_file() else None for file in files}


def _score(model: Path, folder: Path, *options: str) -> Callable[[], None]:
    """`traceward score` with a model."""
    rows, output = folder / "rows.jsonl", folder / "scores.jsonl"
    rows.write_text(json.dumps(ROW) + "\n", encoding="utf-8")
    return lambda: traceward(["score", "--model", str(model), "--input", str(rows), "--output", str(output), *options])


# --------------------------------------------------------------------------------------------- Hugging Face


def _prepare_hugging_face(folder: Path) -> Mapping[str, Path]:
    folder.mkdir(parents=True)
    tokenizer = _byte_tokenizer()
    llama = replace(SMALL, vocab_size=tokenizer.get_vocab_size(), context_length=256)
    qwen2, qwen3 = replace(llama, attention_bias=True), replace(llama, qk_norm=True)
    scaled = replace(llama, rope_scaling=_networks()["soft_advantage"].decoder.rope_scaling)
    networks = {
        "causal": replace(qwen3, tie_embeddings=False),
        "sequence": HeadedDecoderConfig(decoder=scaled, head=LinearHead(), read=LastToken()),
        "window": HeadedDecoderConfig(decoder=replace(llama, sliding_window=64), head=LinearHead(), read=LastToken()),
        "token": HeadedDecoderConfig(decoder=llama, head=LinearHead(labels=2, bias=True), read=StepEnds()),
        "process": HeadedDecoderConfig(
            decoder=qwen2, head=MLPHead(labels=2), read=StepEnds(), information="step labels"
        ),
    }
    texts = {"tokenizer.json": tokenizer.to_str(), "tokenizer_config.json": _tokenizer_config()}
    pad = tokenizer.token_to_id("<pad>")
    for name, network in networks.items():
        shards = 1000 if name == "causal" else 5_000_000_000
        save_hugging_face(
            folder / name, network=network, params=_random(network), pad_token=pad, files=texts, shard_bytes=shards
        )
    _prepare_peft(folder, networks)
    return {path.name: path for path in sorted(folder.iterdir())}


def _tokenizer_config() -> str:
    return json.dumps({"chat_template": CHATML, "eos_token": "<|end|>", "pad_token": {"content": "<pad>"}})


def _prepare_peft(folder: Path, networks: Mapping[str, Any]) -> None:
    network = networks["sequence"].adapted(LowRank(rank=2))
    save_peft(folder / "peft", network=network, params=_random(network), base_model=str(folder / "sequence"))


def _load_hugging_face(name: str, folder: Path, base: Path | None, score: bool) -> None:
    scorer = open_scorer(folder, base=base, step_tokens="+,-" if name == "causal" else None)
    if score:
        scorer.answers([QUESTION])


def _draw_hugging_face(rng: Random, prepared: Mapping[str, Path], folder: Path) -> Case:
    """Damage of a folder without digests: what is accepted must be a model, now and then it scores too."""
    name = rng.choice(list(prepared))
    copy = shutil.copytree(prepared[name], folder / name)
    base = None
    if name == "peft" and rng.random() < 0.5:
        base = shutil.copytree(prepared["sequence"], folder / "base")
    attacked = base if base is not None and rng.random() < 0.5 else copy
    what = flip_bit(rng, attacked) if rng.random() < 0.2 else damage_folder(rng, attacked)
    places = (str(folder), str(prepared["sequence"]))
    if rng.random() < 0.02:
        options = ["--step-tokens=+,-"] if name == "causal" else []
        return Case(_score(copy, folder, *options, *(["--base", str(base)] if base else [])), places, what=what)
    scores = rng.random() < 0.04
    return Case(lambda: _load_hugging_face(name, copy, base, scores), places, what=f"{name}: {what}")


# ------------------------------------------------------------------------------------------------------ GGUF


def _draw_gguf(rng: Random, prepared: Path, folder: Path) -> Case:
    """Damage of the header or of the whole file: what is accepted is a model."""
    content = prepared.read_bytes()
    header = content.index(b"blk.1.ffn_up.weight") if rng.random() < 0.8 else len(content)
    file = folder / "model.gguf"
    file.write_bytes(mutate.bytes_(rng, content[:header]) + content[header:])
    return Case(lambda: open_model(file), (str(file),), what="gguf")


TARGETS = (
    Target("our folders", 12, _prepare_ours, _draw_ours),
    Target("hugging face", 10, _prepare_hugging_face, _draw_hugging_face),
    Target("gguf", 4, lambda folder: tiny_gguf(folder.with_suffix(".gguf")), _draw_gguf),
)
