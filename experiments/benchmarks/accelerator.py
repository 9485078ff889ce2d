"""Sampling, scoring and training at full size: tokens/s, model FLOPs utilisation, peak memory, compile time.

    python -m experiments.benchmarks.accelerator --model llama-1b --batch 8 --length 2048
    python -m experiments.benchmarks.accelerator --model tiny --batch 4 --length 64 --steps 3        (on a CPU)

The weights are random and in float32, the computation is in bfloat16, blocks are rematerialised, and AdamW updates a
donated state in the step of the training loop. The model is divided over fsdp and tensor, rows over data and fsdp. The
printed table, for LOG.md, has four lines:

- sampling: `samples` samples of `new_tokens` tokens for each of `prompts` prompts;
- scoring: `batch` rows of packed sequences, scored by a decoder with a scalar head;
- reward training: Bradley-Terry on pairs of these sequences;
- GRPO: one policy update on a group of `batch` rows of random tokens, with the exact KL to the reference and one row of
  demonstrations per device of data x fsdp. Sampling and scoring the rows is not part of it.

Model FLOPs per token, without recomputation (Chowdhery et al. 2022, arXiv 2204.02311, appendix B):

    forward  2 N + 4 layers heads head_dim length        backward  twice as much

N counts the weights that are multiplied with: a policy multiplies with its tied embedding, a reward model does not.
`length` is the number of tokens of the token's own sequence, not of its row; for sampling it is that of the prompt and
half the new tokens. GRPO runs forward and backward through the policy and forward through the reference. Utilisation is
FLOP/s over the peak of all devices, dense bfloat16.
"""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.sharding import Mesh

from experiments.benchmarks.shapes import MODELS, peak_flops
from experiments.core.memory import keep_freed_memory
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.grpo import Grpo, GrpoBatch
from irl.policies.base import Sampling
from irl.policies.language_model import LanguageModel
from irl.sharding import make_in_place, make_mesh, shard_batch
from irl.train import compile_step
from irl.types import InputError
from reward_models.frozen import split
from reward_models.networks.base import parameter_count
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.types import PackedPairBatch, TraceBatch


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
    prompts: int = 8
    """Prompts that are sampled together."""
    samples: int = 32
    """Samples of each prompt."""
    prompt_tokens: int = 256
    new_tokens: int = 256
    """Tokens of each sample."""
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


class Work(NamedTuple):
    """What a step computes, on all devices together."""

    name: str
    tokens: int
    sequences: int
    flops: float


class Measured(NamedTuple):
    """One line of the table."""

    work: Work
    seconds: float
    """Of a step."""
    compile_seconds: float
    peak_bytes: int
    """Of the device that needs most."""


def main() -> None:
    keep_freed_memory()
    options = tyro.cli(Options)
    mesh = make_mesh(options.data, options.fsdp, options.tensor)
    print("\n".join(table(options, mesh, measure(options, mesh))))


def measure(options: Options, mesh: Mesh) -> list[Measured]:
    """In order of memory, because the peak that a device reports never falls."""
    decoder = dataclasses.replace(MODELS[options.model], dtype="bfloat16", remat=options.remat)
    network = HeadedDecoderConfig(decoder=decoder, head=LinearHead(), read=LastToken())
    policy = LanguageModel(network=decoder)
    return [
        measure_sampling(options, mesh, policy),
        measure_scoring(options, mesh, network),
        measure_reward_training(options, mesh, network),
        measure_grpo(options, mesh, policy),
    ]


def measure_sampling(options: Options, mesh: Mesh, policy: LanguageModel) -> Measured:
    """Samples of random prompts; nothing stops a sample before its last token."""
    sampling = Sampling(options.samples, options.samples, options.new_tokens, stop=())

    def sample(params: Any, prompts: jax.Array, key: jax.Array) -> tuple[Any, jax.Array]:
        lengths = jnp.full(prompts.shape[0], options.prompt_tokens)
        return params, policy.sample(params, key, prompts, lengths, sampling).log_prob

    rng, shape = np.random.default_rng(options.seed), (options.prompts, options.prompt_tokens)
    prompts = shard_batch(mesh, rng.integers(policy.network.vocab_size, size=shape, dtype=np.int32))
    sequences = options.prompts * options.samples
    tokens = sequences * options.new_tokens
    flops = tokens * policy_flops(options.model, options.prompt_tokens + options.new_tokens // 2)
    params = make_in_place(mesh, policy.network.make().init, jax.random.key(options.seed))
    return _measure(Work("sampling", tokens, sequences, flops), sample, mesh, params, prompts, options.steps)


def measure_scoring(options: Options, mesh: Mesh, network: HeadedDecoderConfig) -> Measured:
    """A forward pass of a reward model."""
    model = network.make()

    def score(params: Any, traces: TraceBatch, key: jax.Array) -> tuple[Any, jax.Array]:
        return params, model.apply(params, traces).step

    params = make_in_place(mesh, model.init, jax.random.key(options.seed))
    traces = shard_batch(mesh, random_pairs(options, network.decoder.vocab_size)).traces
    return _measure(_of_rows("scoring", options, 1), score, mesh, params, traces, options.steps)


def measure_reward_training(options: Options, mesh: Mesh, network: HeadedDecoderConfig) -> Measured:
    """A Bradley-Terry update of all weights."""
    algorithm = BradleyTerry().make(network.make())
    state = make_in_place(mesh, algorithm.init, jax.random.key(options.seed))
    batch = shard_batch(mesh, random_pairs(options, network.decoder.vocab_size))
    return _measure(_of_rows("reward training", options, 3), algorithm.step, mesh, state, batch, options.steps)


def measure_grpo(options: Options, mesh: Mesh, policy: LanguageModel) -> Measured:
    """A GRPO update of all weights."""
    start = make_in_place(mesh, policy.network.make().init, jax.random.key(options.seed))
    grpo = Grpo(samples_per_prompt=options.batch, rows_at_once=options.batch)
    algorithm = grpo.make(policy, start)
    state = algorithm.init(jax.random.key(options.seed))
    rows, experts = (
        random_traces((count, options.length), 1, policy.network.vocab_size, options.seed)
        for count in (options.batch, mesh.shape["data"] * mesh.shape["fsdp"])
    )
    reward = np.random.default_rng(options.seed).normal(size=options.batch).astype(np.float32)
    batch = shard_batch(mesh, GrpoBatch(rows, reward, experts))
    tokens, of_experts = (options.length * traces.tokens.shape[0] for traces in (rows, experts))
    flops = (4 * tokens + 3 * of_experts) * policy_flops(options.model, options.length)
    return _measure(Work("GRPO", tokens, options.batch, flops), algorithm.step, mesh, state, batch, options.steps)


def _of_rows(name: str, options: Options, passes: int) -> Work:
    """The work of so many forward passes through a reward model."""
    tokens = options.batch * options.length
    flops = passes * tokens * reward_flops(options.model, options.length // options.sequences)
    return Work(name, tokens, options.batch * options.sequences, flops)


def _measure(work: Work, step: Callable, mesh: Mesh, state: Any, batch: Any, steps: int) -> Measured:
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
    return Measured(work, seconds, compile_seconds, _peak_bytes(mesh, compiled))


def _peak_bytes(mesh: Mesh, compiled: Any) -> int:
    """What the devices say; those that say nothing (CPUs): what the compiled program asks for."""
    stats = [device.memory_stats() for device in mesh.local_devices]
    if all(stats):
        return max(of_device["peak_bytes_in_use"] for of_device in stats)
    plan = compiled.memory_analysis()
    kept = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    return kept + plan.temp_size_in_bytes


def random_traces(shape: tuple[int, int], sequences: int, vocab_size: int, seed: int) -> TraceBatch:
    """Rows full of sequences of equal length, each of one step and without a prompt."""
    rows, length = shape
    slot, position = np.divmod(np.arange(length), length // sequences)
    slot = np.broadcast_to(slot, shape).astype(np.int32)
    return TraceBatch(
        tokens=np.random.default_rng(seed).integers(vocab_size, size=shape, dtype=np.int32),
        segment=slot + 1,
        position=np.broadcast_to(position, shape).astype(np.int32),
        step_id=slot,
        step_mask=np.ones((rows, sequences), bool),
        prompt_id=np.arange(rows, dtype=np.int32),
    )


def random_pairs(options: Options, vocab_size: int) -> PackedPairBatch:
    """`random_traces` whose neighbours are pairs."""
    traces = random_traces((options.batch, options.length), options.sequences, vocab_size, options.seed)
    names = np.arange(traces.step_mask.size, dtype=np.int32)
    pairs = len(names) // 2
    return PackedPairBatch(traces, names[::2], names[1::2], np.ones(pairs, np.float32), np.zeros(pairs, np.float32))


def policy_parameters(model: str) -> int:
    """All parameters of a decoder; its head is the embedding, so all are multiplied with."""
    return parameter_count(jax.eval_shape(MODELS[model].make().init, jax.random.key(0)))


def reward_parameters(model: str) -> tuple[int, int]:
    """(all parameters, those that are multiplied with) of a decoder with a scalar head."""
    decoder = MODELS[model]
    count = policy_parameters(model) + decoder.dim
    return count, count - decoder.vocab_size * decoder.dim


def policy_flops(model: str, length: int) -> int:
    """Of a forward pass of a policy, per token of a sequence of this length."""
    return 2 * policy_parameters(model) + _attention_flops(model, length)


def reward_flops(model: str, length: int) -> int:
    """Of a forward pass of a reward model, per token of a sequence of this length."""
    return 2 * reward_parameters(model)[1] + _attention_flops(model, length)


def _attention_flops(model: str, length: int) -> int:
    decoder = MODELS[model]
    return 4 * decoder.num_layers * decoder.num_heads * decoder.head_dim * length


def table(options: Options, mesh: Mesh, lines: list[Measured]) -> list[str]:
    kind, count = jax.devices()[0].device_kind, mesh.devices.size
    everything, multiplied = reward_parameters(options.model)
    peak = peak_flops(kind)
    sizes = ", ".join(f"{axis} {size}" for axis, size in mesh.shape.items())
    rows = [
        f"{count} x {kind}, jax {jax.__version__}; mesh {sizes}; {options.model}: {everything / 1e6:.1f}M parameters, "
        f"{multiplied / 1e6:.1f}M without the embedding; bfloat16, remat {options.remat}; "
        f"{options.batch} rows of {options.length} tokens, {options.sequences} sequences a row; "
        f"{options.prompts} x {options.samples} samples of {options.new_tokens} tokens behind {options.prompt_tokens}",
        "",
        "| | s/step | tokens/s | sequences/s | TFLOP/s | utilisation | peak GiB a device | compile s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for line in lines:
        work, seconds = line.work, line.seconds
        rate = work.flops / seconds
        share = "-" if peak is None else f"{rate / (peak * count):.1%}"
        rows.append(
            f"| {work.name} | {seconds:.4f} | {work.tokens / seconds:,.0f} "
            f"| {work.sequences / seconds:,.1f} | {rate / 1e12:.3f} | {share} "
            f"| {line.peak_bytes / 2**30:.2f} | {line.compile_seconds:.1f} |"
        )
    return rows


if __name__ == "__main__":
    main()
