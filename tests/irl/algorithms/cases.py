"""Every trace algorithm on a batch of hand-sized traces, for the contract tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from irl.algorithms.airl import Airl, AirlBatch
from irl.algorithms.base import Algorithm
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.grpo import Grpo, GrpoBatch
from irl.algorithms.maxent import MaxEnt, MaxEntBatch
from irl.algorithms.optimiser import AdamW
from irl.algorithms.pairwise_critic import CriticBatch, PairwiseCritic
from irl.algorithms.process import Process
from irl.algorithms.sft import Sft
from irl.policies.language_model import LanguageModel
from reward_models.aggregation import aggregate_steps, sum_by_step
from reward_models.networks.base import Network
from reward_models.networks.decoder import DecoderConfig
from reward_models.types import LabelledBatch, PackedPairBatch, PairBatch, Scores, TraceBatch

ROWS, STEPS, WIDTH, SAMPLES = 8, 3, 10, 2
DECODER = DecoderConfig(vocab_size=13, num_layers=1, dim=16, num_heads=2, num_kv_heads=1, head_dim=8, hidden_dim=24)
POLICY = LanguageModel(network=DECODER)
OPTIMISER = AdamW(learning_rate=1e-2, warmup_steps=2, total_steps=20)


class Case(NamedTuple):
    """An algorithm with its batches."""

    config: Any
    make: Callable[[], Algorithm]
    batch: Callable[[int], Any]
    """The batch of a seed; all batches have the same shapes."""
    group: int = 1
    """Consecutive rows that belong together."""


def drawn(init: Callable[[jax.Array], Any]) -> Any:
    """Parameters drawn by NumPy, which compiles nothing."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), leaf.dtype), shapes)


def apply_table(params: Any, traces: TraceBatch) -> Scores:
    """Token scores from the token and its position, at most 0: log-probabilities, as `Process` needs."""
    hidden = jnp.tanh(params["embedding"][traces.tokens] + params["position"][traces.position])
    token = jax.nn.log_sigmoid(hidden @ params["out"])
    token = jnp.where(traces.response, token, 0.0)
    step = sum_by_step(token, traces.step_id, traces.step_mask.shape[1])
    return Scores(aggregate_steps(step, traces.step_mask, "sum"), step, token)


def table_network() -> Network:
    """A network that compiles in no time. Its first parameters depend on the key by a common factor."""
    rng = np.random.default_rng(0)
    shapes = {"embedding": (DECODER.vocab_size, 6), "position": (WIDTH, 6), "out": (6,)}
    start = {name: jnp.asarray(rng.normal(size=shape), jnp.float32) for name, shape in shapes.items()}
    return Network(lambda key: jax.tree.map(lambda x: x * (1 + jax.random.uniform(key)), start), apply_table)


def traces(rng: np.random.Generator, rows: int = ROWS, prompts: int = ROWS) -> TraceBatch:
    """Rows of a two-token prompt and up to three steps of one or two tokens each."""
    step_id = np.full((rows, WIDTH), -1)
    count = rng.integers(1, STEPS + 1, rows)
    for row, steps in zip(step_id, count, strict=True):
        ids = np.repeat(np.arange(steps), rng.integers(1, 3, steps))
        row[2 : 2 + len(ids)] = ids
    segment = ((step_id >= 0) | (np.arange(WIDTH) < 2)).astype(int)
    return TraceBatch(
        tokens=rng.integers(1, DECODER.vocab_size, (rows, WIDTH)) * segment,
        segment=segment,
        position=np.arange(WIDTH) * segment,
        step_id=step_id,
        step_mask=np.arange(STEPS) < count[:, None],
        prompt_id=np.arange(rows) * prompts // rows,
    )


def _floats(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def _labelled(seed: int) -> LabelledBatch:
    rng = np.random.default_rng(seed)
    label = rng.uniform(size=(ROWS, STEPS)).astype(np.float32)
    label[rng.uniform(size=label.shape) < 0.2] = np.nan
    return LabelledBatch(traces(rng), _floats(rng, ROWS), label)


def _pairs(seed: int) -> PairBatch:
    rng = np.random.default_rng(seed)
    return PairBatch(traces(rng), traces(rng), rng.uniform(0.5, 1, ROWS).astype(np.float32))


def _packed_pairs(seed: int) -> PackedPairBatch:
    """Pairs of the first two sequences of each row."""
    rng = np.random.default_rng(seed)
    batch = traces(rng)
    first = np.arange(ROWS) * STEPS
    weight = batch.step_mask[:, 1].astype(np.float32)
    return PackedPairBatch(batch, first, first + 1, weight, _floats(rng, ROWS))


def _critic_batches(seed: int) -> tuple[CriticBatch, ...]:
    rng = np.random.default_rng(seed)

    def group() -> CriticBatch:
        expert, negative = traces(rng), traces(rng)
        weights = [side.step_mask.astype(np.float32) for side in (expert, negative)]
        return CriticBatch(expert, weights[0], negative, weights[1])

    return group(), group()


def _airl_batch(seed: int) -> AirlBatch:
    rng = np.random.default_rng(seed)
    expert, sampled = traces(rng), traces(rng)
    log_prob = [-np.abs(_floats(rng, ROWS, STEPS)) * side.step_mask for side in (expert, sampled)]
    return AirlBatch(expert, log_prob[0], sampled, log_prob[1])


def _maxent_batch(seed: int) -> MaxEntBatch:
    rng = np.random.default_rng(seed)
    groups = ROWS // SAMPLES
    expert = traces(rng, ROWS, groups)
    return MaxEntBatch(expert, traces(rng, ROWS, groups), -np.abs(_floats(rng, groups, SAMPLES)))


def _grpo_batch(seed: int) -> GrpoBatch:
    rng = np.random.default_rng(seed)
    return GrpoBatch(traces(rng, ROWS, ROWS // SAMPLES), _floats(rng, ROWS), traces(rng))


def _of(config: Any) -> Callable[[], Algorithm]:
    return lambda: config.make(table_network())


SFT = Sft(optimiser=OPTIMISER)
PAIRS = BradleyTerry(optimiser=OPTIMISER, label_smoothing=0.05, centering=0.01)
CRITIC = PairwiseCritic(optimiser=OPTIMISER, centre=0.01)
PROCESS = Process(optimiser=OPTIMISER)
AIRL, AIRL_BY_STEP = Airl(learning_rate=1e-2, l2=1e-3), Airl(learning_rate=1e-2, level="step", label_smoothing=0.1)
MAXENT = MaxEnt(learning_rate=1e-2, l2=1e-3)
GRPO = Grpo(optimiser=OPTIMISER, samples_per_prompt=SAMPLES, rows_at_once=4)
CASES = {
    "sft": Case(SFT, lambda: SFT.make(DECODER), lambda seed: traces(np.random.default_rng(seed))),
    "bradley_terry": Case(PAIRS, _of(PAIRS), _pairs),
    "bradley_terry, packed": Case(PAIRS, _of(PAIRS), _packed_pairs),
    "pairwise_critic": Case(CRITIC, _of(CRITIC), _critic_batches),
    "process": Case(PROCESS, _of(PROCESS), _labelled),
    "airl": Case(AIRL, _of(AIRL), _airl_batch),
    "airl, by step": Case(AIRL_BY_STEP, _of(AIRL_BY_STEP), _airl_batch),
    "maxent": Case(MAXENT, _of(MAXENT), _maxent_batch, group=SAMPLES),
    "grpo": Case(GRPO, lambda: GRPO.make(POLICY, drawn(DECODER.make().init)), _grpo_batch, group=SAMPLES),
}
