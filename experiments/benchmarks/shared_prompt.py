"""Scoring many candidates of one prompt: ours, which computes the prompt once, beside transformers' forward pass.

    python -m experiments.benchmarks.shared_prompt            (needs the extra `hf`: torch and transformers)

Both score the same random Llama on the same tokens, in one process, one after the other; each is warmed up before it is
timed, and the scores must agree. What bounds ours from below: the prompt is 8 times a candidate, so leaving it out of
all candidates but one saves at most 576,000 / 64,512 = 8.9 times the matrix products; attention to it remains.
"""

import tempfile
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import tyro

from experiments.core.memory import keep_freed_memory
from reward_models.folders.hugging_face import load_hugging_face
from reward_models.networks.heads import HeadedDecoderConfig
from reward_models.scoring import make_score_fn
from reward_models.types import TraceBatch


@dataclass(frozen=True, kw_only=True)
class Options:
    """A small Llama sequence classifier in float32."""

    candidates: int = 1000
    prompt: int = 512
    """Tokens."""
    response: int = 64
    """Tokens of a candidate."""
    dim: int = 256
    layers: int = 4
    heads: int = 4
    vocab: int = 4096
    batch: int = 16
    """Candidates per batch on transformers' side; the fastest of 8, 16, 32 and 64 when this was written."""
    seed: int = 0


def main() -> None:
    keep_freed_memory()
    options = tyro.cli(Options)
    tokens = _tokens(options)
    with tempfile.TemporaryDirectory() as folder:
        theirs, their_seconds = _transformers(options, tokens, folder)
        ours, our_seconds = _ours(tokens, options.prompt, folder)
    difference = float(np.abs(ours - theirs).max())
    print(f"{options}")
    print(
        f"transformers {their_seconds:.2f} s, ours {our_seconds:.2f} s: {their_seconds / our_seconds:.1f} times as fast"
    )
    print(f"largest difference of a score {difference:.1e}")
    if difference > 1e-3:
        raise SystemExit("the two sides do not compute the same scores")


def _tokens(options: Options) -> np.ndarray:
    rng = np.random.default_rng(options.seed)
    prompt = rng.integers(3, options.vocab, size=options.prompt)
    responses = rng.integers(3, options.vocab, size=(options.candidates, options.response))
    return np.concatenate([np.tile(prompt, (options.candidates, 1)), responses], axis=1).astype(np.int32)


def _transformers(options: Options, tokens: np.ndarray, folder: str) -> tuple[np.ndarray, float]:
    """Scores and seconds of transformers; leaves the model in the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    torch.manual_seed(options.seed)
    shape: dict[str, Any] = {
        "vocab_size": options.vocab,
        "hidden_size": options.dim,
        "intermediate_size": options.dim * 3,
        "num_hidden_layers": options.layers,
        "num_attention_heads": options.heads,
        "num_key_value_heads": options.heads,
        "num_labels": 1,
        "pad_token_id": 0,
        "max_position_embeddings": 4096,
    }
    model = LlamaForSequenceClassification(LlamaConfig(**shape)).eval()
    model.save_pretrained(folder)
    ids = torch.from_numpy(tokens.astype(np.int64))

    def score(rows):
        return torch.cat([model(part).logits[:, 0] for part in rows.split(options.batch)])

    with torch.inference_mode():
        score(ids[: options.batch])
        begun = time.perf_counter()
        scores = score(ids)
        return scores.numpy(), time.perf_counter() - begun


def _ours(tokens: np.ndarray, prompt: int, folder: str) -> tuple[np.ndarray, float]:
    """Scores and seconds of this library, from the same folder."""
    model = load_hugging_face(folder)
    assert isinstance(model.network, HeadedDecoderConfig)
    score = make_score_fn(model.network.make(), tokens_per_batch=8192)
    count, width = tokens.shape
    step_id = np.broadcast_to(np.where(np.arange(width) >= prompt, 0, -1), tokens.shape).astype(np.int32)
    position = np.broadcast_to(np.arange(width, dtype=np.int32), tokens.shape)
    traces = TraceBatch(
        tokens, np.ones_like(tokens), position, step_id, np.ones((count, 1), bool), np.zeros(count, np.int32)
    )
    score(model.params, traces)
    begun = time.perf_counter()
    scores = score(model.params, traces).trace
    return scores, time.perf_counter() - begun


if __name__ == "__main__":
    main()
