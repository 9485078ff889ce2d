"""Training a reward model on preference pairs: ours, which packs rows, beside TRL's RewardTrainer, which pads them.

    python -m experiments.benchmarks.reward_training --peer-python PYTHON    (one that has trl; this library needs none)

Both start from the same random weights and tokens, in float32 on the same two cores, with AdamW and about as many pairs
per update. Useful tokens are those of chosen and of rejected, the prompt in each; padding does not count. Ours computes
the prompt of a pair once, so it may compute fewer tokens than are useful. TRL is measured with pairs drawn at random,
its default, and with pairs of like length drawn together. Where its other defaults cost time it gets faster ones:
nothing is computed twice (`gradient_checkpointing`), and freed memory stays with the process, as with ours
(experiments/core/memory.py). Compilation and the first updates are left out on both sides; the rewards of the first
pairs must agree.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro
from tokenizers import Tokenizer

from experiments.core.data_folder import data_file
from experiments.core.memory import keep_freed_memory
from irl.algorithms.bradley_terry import BradleyTerry, pair_rewards
from irl.algorithms.optimiser import AdamW
from irl.checkpoint import Checkpoints
from irl.data import read_records
from irl.sharding import make_mesh
from irl.text.encode import Encoder
from irl.text.packed_pairs import PackedPairs
from irl.text.packing import EncodedTrace
from irl.text.tokenize import BEGIN, END, PAD, prose_tokenizer
from irl.train import Schedule, train
from irl.types import InputError, Preference
from reward_models.folders.hugging_face import save_hugging_face
from reward_models.networks.base import Params
from reward_models.networks.decoder import DecoderConfig
from reward_models.networks.heads import HeadedDecoderConfig, LastToken, LinearHead
from reward_models.types import PackedPairBatch

PEER = Path(__file__).with_name("trl_side.py")
STRATEGIES = {"random": "TRL, pairs at random", "group_by_length": "TRL, like lengths together"}
KEPT_MEMORY = {  # what `keep_freed_memory` says to glibc, for a program of its own
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**62),
    "MALLOC_TOP_PAD_": str(2**28),
}


@dataclass(frozen=True, kw_only=True)
class Options:
    """A small Qwen3 reward model."""

    pairs: Path = Path(data_file("hh_harmless/pairs_first_1800.jsonl.xz", "github.com/anthropics/hh-rlhf"))
    """Preference pairs in any format that is read."""
    peer_python: str = sys.executable
    """An interpreter that has trl."""
    pairs_per_update: int = 16
    micro_batch: int = 16
    """Pairs that TRL computes at once; the rest of an update is accumulated."""
    max_length: int = 512
    """Tokens; pairs with a longer side are left out on both sides."""
    row: int = 512
    """Tokens of our packed rows."""
    dim: int = 256
    layers: int = 4
    heads: int = 4
    kv_heads: int = 2
    vocab: int = 4096
    warmup: int = 4
    """Updates that are not timed."""
    updates: int = 26
    repeats: int = 3
    threads: int = 2
    learning_rate: float = 1e-4
    compared: int = 16
    """Pairs whose rewards must agree before training."""
    seed: int = 0

    def network(self, vocab: int) -> HeadedDecoderConfig:
        decoder = DecoderConfig(
            vocab_size=vocab,
            num_layers=self.layers,
            dim=self.dim,
            num_heads=self.heads,
            num_kv_heads=self.kv_heads,
            head_dim=self.dim // self.heads,
            hidden_dim=3 * self.dim,
            qk_norm=True,
        )
        return HeadedDecoderConfig(decoder=decoder, head=LinearHead(), read=LastToken(), information="preferences")


class Data(NamedTuple):
    """The same tokens for both sides."""

    tokenizer: Tokenizer
    chosen: list[EncodedTrace]
    rejected: list[EncodedTrace]
    left_out: int


class Run(NamedTuple):
    """A timed stretch of training: seconds, tokens of the pairs, tokens computed (the padding too)."""

    seconds: float
    useful: int
    computed: int

    @property
    def rate(self) -> float:
        return self.useful / self.seconds


def main() -> None:
    keep_freed_memory()
    options = tyro.cli(Options)
    check_peer(options.peer_python)
    use_cores(options.threads)
    data = read_pairs(options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = Ours(options, data)
        write_folder(folder, options, data, ours)
        runs: dict[str, list[Run]] = {title: [] for title in (*STRATEGIES.values(), "ours")}
        for _ in range(options.repeats):
            peer = run_peer(options.peer_python, folder)
            for strategy, title in STRATEGIES.items():
                runs[title].append(Run(**peer["runs"][strategy]))
            runs["ours"].append(ours.run())
    difference = float(np.abs(np.array(peer["rewards"]) - ours.first_rewards()).max())
    print(table(options, data, peer["versions"], runs))
    print(f"largest difference of a reward of the first {options.compared} pairs: {difference:.1e}")
    if difference > 1e-3:
        raise SystemExit("the two sides do not compute the same rewards")


def check_peer(python: str) -> None:
    """SystemExit unless `python` can import what TRL's side needs."""
    try:
        found = subprocess.run([python, "-c", "import trl, datasets, accelerate"], capture_output=True, text=True)
        problem = found.stderr.strip().splitlines()[-1:] if found.returncode else []
    except OSError as error:
        problem = [str(error)]
    if problem:
        advice = f"install it there: {python} -m pip install trl datasets accelerate, or give --peer-python"
        raise SystemExit(f"--peer-python {python}: cannot import trl ({problem[0]}); {advice}")


def use_cores(count: int) -> None:
    """Bind this process, and those it starts, to so many cores; call it before the first use of jax."""
    if sys.platform == "linux":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:count])


def read_pairs(options: Options) -> Data:
    """Pairs that fit, with a tokenizer learned from them."""
    pairs = [record for record in read_records(options.pairs) if isinstance(record, Preference)]
    if not pairs:
        raise InputError(f"{options.pairs}: no preference pairs; give a file of prompts with chosen and rejected")
    texts = (text for pair in pairs for text in (pair.prompt, pair.chosen, pair.rejected))
    tokenizer = prose_tokenizer(texts, options.vocab)
    encoder, prompts = Encoder(tokenizer, options.max_length, 1), [pair.prompt for pair in pairs]
    chosen = encoder.many(prompts, [[pair.chosen] for pair in pairs])
    rejected = encoder.many(prompts, [[pair.rejected] for pair in pairs])
    fit = [both for both in zip(chosen, rejected, strict=True) if all(map(encoder.fits, both))]
    return Data(tokenizer, [c for c, _ in fit], [r for _, r in fit], len(pairs) - len(fit))


class Ours:
    """Our side: the training loop as it is, on packed rows, from the same parameters in every run."""

    def __init__(self, options: Options, data: Data):
        self._options, self._data = options, data
        self.config = options.network(data.tokenizer.get_vocab_size())
        self._network = self.config.make()
        steps = options.warmup + options.updates
        optimiser = AdamW(learning_rate=options.learning_rate, warmup_steps=1, total_steps=steps, weight_decay=0.0)
        self._algorithm = BradleyTerry(optimiser=optimiser).make(self._network)
        self._start = self._algorithm.init(jax.random.key(options.seed))
        self.rows = next(rows for rows in count(2) if self.pairs_per_update(rows) >= options.pairs_per_update - 0.5)

    @property
    def params(self) -> Params:
        return self._start.params

    def source(self, rows: int) -> PackedPairs:
        return PackedPairs(
            self._data.chosen,
            self._data.rejected,
            rows=rows,
            length=self._options.row,
            seed=self._options.seed,
            share_prompts=self._network.sees_prefix,
        )

    def pairs_per_update(self, rows: int) -> float:
        return len(self._data.chosen) / self.source(rows).batches_per_epoch()

    def first_rewards(self) -> np.ndarray:
        """Rewards of [chosen, rejected] of the first pairs, packed as in training."""
        first = self._options.compared
        batch = PackedPairs(
            self._data.chosen[:first],
            self._data.rejected[:first],
            rows=2 * first,
            length=self._options.row,
            seed=0,
            share_prompts=self._network.sees_prefix,
            margin=np.arange(first),
        ).next()
        *rewards, number = jax.jit(pair_rewards, static_argnums=0)(self._network, self.params, batch)
        order = np.argsort(np.asarray(number)[:first])  # margins number the pairs
        return np.stack([np.asarray(side)[:first][order] for side in rewards])

    def run(self) -> Run:
        options, ends = self._options, dict[int, float]()
        source = Counted(self.source(self.rows))
        steps = options.warmup + options.updates
        with tempfile.TemporaryDirectory() as folder:
            train(
                self._algorithm,
                source,
                Schedule(steps=steps + 1, log_every=1, save_every=steps + 1),  # the one more is not timed: it saves
                jax.random.key(options.seed),
                checkpoints=Checkpoints(folder),
                record=lambda step, metrics: ends.update({step: time.perf_counter()}),
                start=self._start,
                mesh=make_mesh(devices=jax.devices()[:1]),
            )
        timed = source.useful[options.warmup : steps]
        seconds = ends[steps] - ends[options.warmup]
        return Run(seconds, sum(timed), len(timed) * self.rows * options.row)


class Counted:
    """A source, and the tokens of each of its batches."""

    def __init__(self, source: PackedPairs):
        self._source = source
        self.get_state, self.set_state = source.get_state, source.set_state
        self.useful: list[int] = []

    def next(self, state: Any = None) -> PackedPairBatch:
        batch = self._source.next(state)
        self.useful.append(useful_tokens(batch))
        return batch


def useful_tokens(batch: PackedPairBatch) -> int:
    """Tokens of all sequences, a shared prompt counted for each: one more than the last position of every sequence."""
    traces, length = batch.traces, np.zeros(batch.traces.step_mask.shape, int)
    row, column = np.nonzero(np.asarray(traces.step_id) >= 0)
    np.maximum.at(length, (row, traces.step_id[row, column]), traces.position[row, column] + 1)
    return int(length.sum())


def write_folder(folder: Path, options: Options, data: Data, ours: Ours) -> None:
    """What trl_side.py reads."""
    special = {"pad_token": PAD, "eos_token": END, "bos_token": BEGIN}
    ids: dict[str, Any] = {name: data.tokenizer.token_to_id(token) for name, token in special.items()}
    told = {"tokenizer_class": "PreTrainedTokenizerFast", **special}
    files = {"tokenizer.json": data.tokenizer.to_str(), "tokenizer_config.json": json.dumps(told)}
    save_hugging_face(folder / "model", network=ours.config, params=ours.params, files=files, **ids)
    sides = {"chosen": data.chosen, "rejected": data.rejected}
    pairs = {name: [row.tokens for row in side] for name, side in sides.items()}
    (folder / "pairs.json").write_text(json.dumps(pairs))
    settings = {**asdict(options), "strategies": list(STRATEGIES)}
    (folder / "settings.json").write_text(json.dumps(settings, default=str))


def run_peer(python: str, folder: Path) -> dict[str, Any]:
    """What trl_side.py prints; SystemExit with its last words where it fails."""
    environment = {**os.environ, **KEPT_MEMORY, "HF_HUB_OFFLINE": "1"}
    found = subprocess.run([python, str(PEER), str(folder)], capture_output=True, text=True, env=environment)
    if found.returncode:
        raise SystemExit(f"TRL's side failed:\n{found.stderr[-3000:]}")
    return json.loads(found.stdout.splitlines()[-1])


def table(options: Options, data: Data, versions: Mapping[str, str], runs: Mapping[str, Sequence[Run]]) -> str:
    """Useful tokens per second of every side, and how many times as fast ours is."""
    lines = [
        str(options),
        f"{len(data.chosen)} pairs ({data.left_out} longer than {options.max_length} tokens left out)",
        ", ".join(f"{name} {version}" for name, version in {"jax": jax.__version__, **versions}.items()),
        f"{'':28}{'useful tokens/s':>16}{'lowest-highest':>18}{'useful':>8}{'ours is faster':>16}",
    ]
    own = median(run.rate for run in runs["ours"])
    for title, several in runs.items():
        rates = [run.rate for run in several]
        share = sum(run.useful for run in several) / sum(run.computed for run in several)
        spread = f"{min(rates):,.0f}-{max(rates):,.0f}"
        middle = median(rates)
        lines.append(f"{title:28}{middle:16,.0f}{spread:>18}{share:8.0%}{own / middle:14.2f} x")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
