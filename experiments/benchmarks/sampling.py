"""Sampling one prompt many times: ours, which shares the prompt's cache, beside transformers' `generate`.

    python -m experiments.benchmarks.sampling --model MODEL        (needs the extra `hf`: torch and transformers)

Both sides draw the same number of tokens from the same weights at temperature 1, with a key-value cache. They run in
one process, one after the other, and each is warmed up before it is timed. The log-probabilities of our samples must be
those of transformers. The floor of a step is to read all weights once and, for each row, two operations per weight.
"""

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.core.memory import keep_freed_memory
from irl.policies.base import Samples, Sampling
from irl.policies.language_model import LanguageModel
from irl.text.tokenizer_configs import HuggingFaceTokenizer
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.folders.opening import Model, open_base
from reward_models.networks.base import parameter_count

PROMPT = (
    "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


@dataclass(frozen=True, kw_only=True)
class Options:
    """A causal language model in float32."""

    model: str
    """A Hugging Face folder or a GGUF file."""
    samples: int = 64
    tokens: int = 96
    """New tokens of each sample."""
    prompt: str = PROMPT
    repeats: int = 3
    seed: int = 0


def main() -> None:
    keep_freed_memory()
    options = tyro.cli(Options)
    model = open_base(options.model, "float32")
    encoder = HuggingFaceTokenizer(folder=options.model).encoder([], 4096, 64, lambda text: (text,))
    prompt = encoder.prompt(options.prompt)
    samples, our_seconds = _ours(options, model, prompt)
    with tempfile.TemporaryDirectory() as folder:
        difference, their_seconds = _transformers(options, model, Path(folder) / "model", prompt, samples)
    count = options.samples * options.tokens
    weights = parameter_count(model.params)
    print(f"{options.samples} samples of {options.tokens} tokens behind {len(prompt)} tokens, {weights:,} weights")
    print(f"transformers {count / their_seconds:.0f} tokens/s, ours {count / our_seconds:.0f} tokens/s")
    print(f"{their_seconds / our_seconds:.2f} times as fast (the lowest time of {options.repeats} on each side)")
    print(f"ours: {2 * weights * count / our_seconds / 1e9:.0f} GFLOP/s in products with weights")
    print(f"ours: {4 * weights * options.tokens / our_seconds / 1e9:.1f} GB/s of weights")
    print(f"largest difference of a token's log-probability {difference:.1e}")
    if difference > 1e-3:
        raise SystemExit("the two sides do not compute the same log-probabilities")


def _ours(options: Options, model: Model, prompt: list[int]) -> tuple[Samples, float]:
    sampling = Sampling(options.samples, options.samples, options.tokens, stop=())
    policy, ids = LanguageModel(network=model.network), np.array([prompt])

    def draw() -> Samples:
        key = jax.random.key(options.seed)
        return jax.block_until_ready(policy.sample(model.params, key, ids, np.array([len(prompt)]), sampling))

    samples = draw()
    return jax.device_get(samples), _fastest(draw, options.repeats)


def _transformers(
    options: Options, model: Model, folder: Path, prompt: list[int], samples: Samples
) -> tuple[float, float]:
    """(largest difference of a log-probability of our samples, seconds)"""
    import torch
    import transformers

    save_hugging_face(folder, network=model.network, params=model.params, pad_token=0)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.tensor([prompt])
    settings: dict[str, Any] = {"do_sample": True, "top_k": 0, "num_return_sequences": options.samples}
    settings |= {"min_new_tokens": options.tokens, "max_new_tokens": options.tokens, "pad_token_id": 0}

    def draw() -> Any:
        with torch.no_grad():
            return theirs.generate(ids, attention_mask=torch.ones_like(ids), **settings)

    draw()
    few = samples.tokens[0, :4]
    rows = torch.tensor(np.concatenate([np.tile(prompt, (len(few), 1)), few], axis=1))
    with torch.no_grad():
        logits = theirs(rows).logits[:, len(prompt) - 1 : -1]
    log_prob = torch.log_softmax(logits, -1).gather(-1, torch.tensor(few[..., None]).long())[..., 0].numpy()
    return float(np.abs(log_prob - samples.log_prob[0, :4]).max()), _fastest(draw, options.repeats)


def _fastest(work: Any, repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return min(seconds)


if __name__ == "__main__":
    main()
