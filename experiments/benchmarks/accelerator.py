"""Reward training and scoring at full size: tokens/s, model FLOPs utilisation, sequences/s, peak memory, compile time.

    python -m experiments.benchmarks.accelerator --model llama-1b --batch 8 --length 2048
    python -m experiments.benchmarks.accelerator --model tiny --batch 4 --length 64 --steps 3        (on a CPU)

Random weights, bfloat16 compute over float32 weights, pairs packed into rows, Bradley-Terry with AdamW, blocks
rematerialised, state donated; the step is the training loop's own. The model is divided over fsdp and tensor, rows over
data and fsdp. What is printed is a table for LOG.md.

FLOPs are those of the model, whatever is computed again (Chowdhery et al. 2022, arXiv 2204.02311, appendix B), a token:

    training  6 N + 12 layers heads head_dim length        scoring  2 N + 4 layers heads head_dim length

N leaves out the embedding, which a reward model looks up and never multiplies with; `length` is that of the token's own
sequence, not of its row. Utilisation is FLOP/s over the peak of all devices, dense bfloat16.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import numpy as np
import tyro
from jax.sharding import Mesh

from experiments.core.memory import keep_freed_memory
from irl.algorithms.bradley_terry import BradleyTerry
from irl.sharding import make_in_place, make_mesh, shard_batch
from irl.train import compile_step
from irl.types import InputError
from reward_models.frozen import split
from reward_models.networks.base import parameter_count
from reward_models.networks.decoder import DecoderConfig, RopeScaling
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.types import PackedPairBatch, TraceBatch

MODELS = {
    # config.json of Qwen/Qwen3-0.6B, Qwen/Qwen3-1.7B and meta-llama/Llama-3.2-1B
    "qwen3-0.6b": DecoderConfig(
        vocab_size=151_936,
        num_layers=28,
        dim=1024,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
        hidden_dim=3072,
        rope_theta=1e6,
        qk_norm=True,
    ),
    "qwen3-1.7b": DecoderConfig(
        vocab_size=151_936,
        num_layers=28,
        dim=2048,
        num_heads=16,
        num_kv_heads=8,
        head_dim=128,
        hidden_dim=6144,
        rope_theta=1e6,
        qk_norm=True,
    ),
    "llama-1b": DecoderConfig(
        vocab_size=128_256,
        num_layers=16,
        dim=2048,
        num_heads=32,
        num_kv_heads=8,
        head_dim=64,
        hidden_dim=8192,
        rope_theta=5e5,
        norm_eps=1e-5,
        rope_scaling=RopeScaling(factor=32.0, low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192),
    ),
    "tiny": DecoderConfig(
        vocab_size=512, num_layers=2, dim=64, num_heads=4, num_kv_heads=2, head_dim=16, hidden_dim=192
    ),
}

# Dense bfloat16 FLOP/s of a device as JAX counts them, by the start of its device_kind; the longest start that fits.
# NVIDIA: data sheets of A100, H100 (with sparsity twice as much) and H200. TPU: cloud.google.com/tpu/docs, per chip.
PEAK = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "TPU v4": 275e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What is measured, and on which mesh."""

    model: Literal["qwen3-0.6b", "qwen3-1.7b", "llama-1b", "tiny"] = "llama-1b"
    batch: int = 8
    """Rows of a step."""
    length: int = 2048
    """Tokens of a row."""
    sequences: int = 2
    """Sequences packed into a row, of equal lengths; an even number, for they are compared in pairs."""
    steps: int = 10
    """Timed steps; two more warm up."""
    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    remat: bool = True
    seed: int = 0

    def __post_init__(self):
        if self.sequences < 2 or self.sequences % 2 or self.length % self.sequences:
            raise InputError(f"sequences: expected an even number that divides length={self.length}: {self.sequences}")


class Measured(NamedTuple):
    """One line of the table."""

    name: str
    seconds: float
    """Of a step."""
    flops: float
    """Of a step, all devices together."""
    compile_seconds: float
    peak_bytes: int
    """Of the device that needs most."""


def main() -> None:
    keep_freed_memory()
    options = tyro.cli(Options)
    mesh = make_mesh(options.data, options.fsdp, options.tensor)
    print("\n".join(table(options, mesh, measure(options, mesh))))


def measure(options: Options, mesh: Mesh) -> list[Measured]:
    """Scoring first: the peak of memory that devices report never falls."""
    decoder = dataclasses.replace(MODELS[options.model], dtype="bfloat16", remat=options.remat)
    network = HeadedDecoderConfig(decoder=decoder, head=LinearHead(), read=LastToken()).make()
    batch = shard_batch(mesh, random_pairs(options, decoder.vocab_size))
    key = jax.random.key(options.seed)

    def score(params: Any, traces: TraceBatch, key: jax.Array) -> tuple[Any, jax.Array]:
        return params, network.apply(params, traces).step

    tokens = options.batch * options.length
    params = make_in_place(mesh, network.init, key)
    forward = flops_per_token(options, parameters_of(options)[1])
    scoring = _measure("scoring", score, mesh, params, batch.traces, options.steps, tokens * forward)
    del params
    algorithm = BradleyTerry().make(network)
    state = make_in_place(mesh, algorithm.init, key)
    training = _measure("training", algorithm.step, mesh, state, batch, options.steps, tokens * 3 * forward)
    return [training, scoring]


def _measure(name: str, step: Callable, mesh: Mesh, state: Any, batch: Any, steps: int, flops: float) -> Measured:
    key, begun = jax.random.key(0), time.perf_counter()
    trained, frozen = split(state)
    compiled = compile_step(step, mesh).lower(trained, frozen, batch, key).compile()
    compile_seconds = time.perf_counter() - begun
    for _ in range(2):
        trained, out = compiled(trained, frozen, batch, key)
    jax.block_until_ready(out)
    begun = time.perf_counter()
    for _ in range(steps):
        trained, out = compiled(trained, frozen, batch, key)
    jax.block_until_ready((trained, out))
    seconds = (time.perf_counter() - begun) / steps
    return Measured(name, seconds, flops, compile_seconds, _peak_bytes(mesh, compiled))


def _peak_bytes(mesh: Mesh, compiled: Any) -> int:
    """What the devices say; those that say nothing (CPUs): what the compiled program asks for."""
    stats = [device.memory_stats() for device in mesh.local_devices]
    if all(stats):
        return max(of_device["peak_bytes_in_use"] for of_device in stats)
    plan = compiled.memory_analysis()
    kept = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return kept + plan.temp_size_in_bytes


def random_pairs(options: Options, vocab_size: int) -> PackedPairBatch:
    """Rows full of sequences of equal length, each of one step and without a prompt; neighbours are pairs."""
    rng, shape = np.random.default_rng(options.seed), (options.batch, options.length)
    slot = np.broadcast_to(np.arange(options.length) // (options.length // options.sequences), shape).astype(np.int32)
    position = np.broadcast_to(np.arange(options.length) % (options.length // options.sequences), shape)
    traces = TraceBatch(
        tokens=rng.integers(vocab_size, size=shape, dtype=np.int32),
        segment=slot + 1,
        position=position.astype(np.int32),
        step_id=slot,
        step_mask=np.ones((options.batch, options.sequences), bool),
        prompt_id=np.arange(options.batch, dtype=np.int32),
    )
    names = np.arange(options.batch * options.sequences, dtype=np.int32)
    pairs = len(names) // 2
    return PackedPairBatch(traces, names[::2], names[1::2], np.ones(pairs, np.float32), np.zeros(pairs, np.float32))


def parameters_of(options: Options) -> tuple[int, int]:
    """(all parameters, those that are multiplied with)."""
    decoder = MODELS[options.model]
    everything = jax.eval_shape(decoder.make().init, jax.random.key(0))
    count = parameter_count(everything) + decoder.dim  # of the head
    return count, count - decoder.vocab_size * decoder.dim


def flops_per_token(options: Options, multiplied: int) -> float:
    """Of a forward pass; a training step is three times as much."""
    decoder = MODELS[options.model]
    length = options.length // options.sequences
    return 2 * multiplied + 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim * length


def peak_flops(device_kind: str) -> float | None:
    """Dense bfloat16 FLOP/s of a device, None for one that is not in the table."""
    known = [start for start in PEAK if device_kind.startswith(start)]
    return PEAK[max(known, key=len)] if known else None


def table(options: Options, mesh: Mesh, lines: list[Measured]) -> list[str]:
    kind, count = jax.devices()[0].device_kind, mesh.devices.size
    everything, multiplied = parameters_of(options)
    peak = peak_flops(kind)
    sizes = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    rows = [
        f"{count} x {kind}, jax {jax.__version__}; mesh {sizes}; {options.model}: {everything / 1e6:.1f}M parameters, "
        f"{multiplied / 1e6:.1f}M without the embedding; bfloat16, remat {options.remat}; "
        f"{options.batch} rows of {options.length} tokens, {options.sequences} sequences a row",
        "",
        "| | s/step | tokens/s | sequences/s | TFLOP/s | utilisation | peak GiB a device | compile s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        rate = line.flops / line.seconds
        share = "-" if peak is None else f"{rate / (peak * count):.1%}"
        rows.append(
            f"| {line.name} | {line.seconds:.4f} | {options.batch * options.length / line.seconds:,.0f} "
            f"| {options.batch * options.sequences / line.seconds:,.1f} | {rate / 1e12:.3f} | {share} "
            f"| {line.peak_bytes / 2**30:.2f} | {line.compile_seconds:.1f} |"
        )
    return rows


if __name__ == "__main__":
    main()
