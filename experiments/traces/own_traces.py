"""A run on traces of any domain: an experiment whose sizes come from the traces and from the time there is.

The run folder keeps the experiment as experiment.json. `traceward run FOLDER/experiment.json` runs the same sizes
again, and every field of them can be changed there.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
from annotated_types import Gt, Le

from experiments.core.kinds import Run
from experiments.core.run_folder import RunFolder
from experiments.traces.budget import BEGINNINGS, EXPANSIONS, GROUP, PROMPTS, WIDTH, Counts, Task, scaled
from experiments.traces.calibrate import measure_speed
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.experiment import Encoding, Experiment, training_texts
from experiments.traces.fit_outcome_model import FileLabels
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.guided_search import GuidedSearch
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.policy_training import grpo_for
from experiments.traces.rerank_pool import RerankPool
from experiments.traces.reward_stage import RewardFolder
from experiments.traces.sizes import Limits, Sizes, decoder, lengths, limits, vocabulary
from irl.algorithms.bradley_terry import BradleyTerry
from irl.algorithms.optimiser import AdamW, Muon
from irl.algorithms.sft import Sft
from irl.domains.files import TraceFiles
from irl.guidance.beam import StepBeamSearch
from irl.policies.base import FittedPolicy
from irl.policies.language_model import LanguageModel
from irl.policies.rollouts import rows_at_once
from irl.text.tokenizer_configs import LEAST_PAIRS, BytePairs, HuggingFaceTokenizer, TokenizerConfig
from irl.train import Schedule
from irl.types import InputError
from reward_models.config_json import decode, encode
from reward_models.networks.adapters import LowRank
from reward_models.networks.advantage import AdvantageConfig
from reward_models.ranges import Few, Name, Seed
from reward_models.records import read_json, record
from reward_models.registry import REGISTERED
from reward_models.types import Aggregate

PLAN, ESTIMATE = "experiment.json", "estimate.json"
ALL = Demonstrations(count=10_000_000)
BATCH, FILLING = 4608, 8
"""Tokens of a training batch, and the batches that the training traces fill at least."""
BATCH_OF_BASE = 1024
"""Tokens of a training batch of a language model, which learns from few."""
RATE_OF_BASE, RATE_OF_ADAPTERS = 2e-5, 5e-4
"""Learning rates of a language model and of its adapters."""
PAIRS = 16
"""Of a batch of the outcome model."""


@record
class OwnTraces(Run):
    """A policy and a reward from files of traces, from scratch or from a language model."""

    title: str = "A reward from your own traces"
    domain: TraceFiles
    minutes: Annotated[float, Gt(0), Le(100_000)] = 10.0
    """The time of the whole run on this machine: training, samples and search are scaled to it."""
    tokenizer: TokenizerConfig | None = None
    """None: byte pairs, learned from the training traces; with a base, the tokenizer is the base's."""
    base: Name | None = None
    """A causal language model to start from: a Hugging Face folder or a GGUF file."""
    adapters: LowRank | None = LowRank()
    """Of the policy and of the reward on the frozen weights of `base`; None: train all weights."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """The type of the weights of `base`."""
    reward: RewardFolder | None = None
    """A reward of a model folder of any kind; None: one that is trained on the traces."""
    members: Few = 1
    """Independently trained rewards whose mean is taken."""
    aggregate: Aggregate = "sum"
    """The score of a trace from those of its steps."""
    labels: bool = False
    """Train an outcome model on the labels of the file, beside the reward from demonstrations."""
    sizes: Sizes = Sizes()
    seed: Seed = 0

    def run(self, folder: Path, command: str) -> Path:
        missing = next((file for file in self.domain.files if not Path(file).exists()), None)
        if missing is not None:
            raise InputError(f"{missing}: no such file; name the traces by --domain.train FILE (validation, test)")
        run, begun = RunFolder(folder, self.seed), time.perf_counter()
        known = (folder / PLAN).exists()
        experiment = _kept(folder / PLAN) if known else self._planned(run)
        page = experiment.run(folder, command)
        if not known:
            run.say(f"took {(time.perf_counter() - begun) / 60:.1f} minutes")
        return page

    def _planned(self, run: RunFolder) -> Experiment:
        """A new experiment for the traces, which the run folder keeps."""
        experiment, estimate = self.plan()
        for line in described(experiment, estimate):
            run.say(line)
        run.write_json(ESTIMATE, estimate)
        run.write_json(PLAN, encode(experiment, "config"))
        return experiment

    def plan(self) -> tuple[Experiment, dict[str, float]]:
        """The experiment, and the seconds that each of its stages is expected to take."""
        config = self._tokenizer()
        encoder = config.encoder(training_texts(self.domain), 2, 1, self.domain.split_steps)
        if isinstance(config, BytePairs) and self.tokenizer is None:  # few texts do not have so many different pairs
            config = BytePairs(vocabulary=max(encoder.vocab_size, LEAST_PAIRS))
        measured = lengths(encoder, self.domain.demonstrations("train"))
        limit = limits(measured, self.sizes)
        encoding = Encoding(
            max_length=limit.max_length,
            max_steps=limit.max_steps,
            max_response=limit.max_response,
            tokenizer=config,
        )
        encoder = encoding.limited(encoder)
        policy = self._policy(measured.tokens, max(encoder.vocab_size, config.most))
        network = policy.network
        rows = batch_rows(measured.tokens, limit.max_length, BATCH if self.base is None else BATCH_OF_BASE)
        fresh = FittedPolicy(LanguageModel(network=network), policy.initial(jax.random.key(0)))
        algorithm, together = self._likelihood(1, 1e-3).make(network), rows_at_once(network, limit.max_response)
        speed = measure_speed(algorithm, fresh, encoder, (rows, limit.max_length), together)
        task = Task(
            measured, limit, rows * limit.max_length, len(self.domain.problems("test")), self.members, self._pairs()
        )
        counts, estimate = scaled(task, speed, 60 * self.minutes, self.sizes)
        if self.reward is not None:
            estimate["reward"] = 0.0
        return self._experiment(encoding, limit, policy, rows, counts), estimate

    def _tokenizer(self) -> TokenizerConfig:
        """The tokenizer of the base, the one given, or byte pairs."""
        if self.base is not None:
            return HuggingFaceTokenizer(folder=self.base)
        return self.tokenizer or BytePairs(vocabulary=vocabulary(self.domain))

    def _policy(self, tokens: int, vocabulary_size: int) -> FitPolicy:
        """The stage of the policy with its decoder, before its training is known."""
        network = self.sizes.network or decoder(tokens, vocabulary_size)
        if self.base is None:
            return FitPolicy(network=network, demonstrations=ALL)
        network = replace(network, remat=True)
        given: dict[str, Any] = {"base": self.base, "adapters": self.adapters, "dtype": self.dtype}
        return FitPolicy(network=network, demonstrations=ALL, **given).resolved()

    def _likelihood(self, steps: int, learning_rate: float) -> Sft:
        """Maximum likelihood whose learning rate falls over so many steps; that of a base has its own."""
        warm_up = min(50, steps // 5)
        if self.base is None:
            return Sft(optimiser=Muon(learning_rate=learning_rate, warmup_steps=warm_up, total_steps=steps))
        rate = RATE_OF_BASE if self.adapters is None else RATE_OF_ADAPTERS
        return Sft(optimiser=AdamW(learning_rate=rate, warmup_steps=warm_up, total_steps=steps, weight_decay=0.0))

    def _experiment(
        self, encoding: Encoding, limit: Limits, policy: FitPolicy, rows: int, counts: Counts
    ) -> Experiment:
        """The experiment of these sizes."""
        beam = StepBeamSearch(
            width=WIDTH, expansions=EXPANSIONS, max_steps=limit.max_steps, max_step_tokens=limit.max_step_tokens
        )
        return Experiment(
            title=self.title,
            domain=self.domain,
            encoding=encoding,
            policy=replace(
                policy,
                algorithm=self._likelihood(counts.policy_steps, 2e-3),
                schedule=Schedule(steps=counts.policy_steps),
                batch_size=rows,
                row_length=limit.max_length,
            ),
            reward=self.reward
            or FitReward(
                network=AdvantageConfig(decoder=policy.network, aggregate=self.aggregate),
                demonstrations=ALL,
                start="policy",
                warm_up=self._likelihood(counts.reward_steps, 2.5e-3),
                warm_up_schedule=Schedule(steps=counts.reward_steps),
                warm_up_rows=rows,
                row_length=limit.max_length,
                members=self.members,
                rounds=0,
                evaluations=1,
            ),
            outcome_model=self._outcome_model(counts) if self.labels else None,
            rerank=RerankPool(
                samples=counts.samples, problems=counts.problems, vote=counts.samples, beginnings=BEGINNINGS
            ),
            search=GuidedSearch(guide=beam, problems=counts.search_problems) if counts.search_problems else None,
            improvement=self._improvement(counts) if counts.improvement_steps else None,
            seed=self.seed,
        )

    def _pairs(self) -> int:
        """Pairs in a batch of the outcome model; InputError where the file has no labels."""
        if not self.labels:
            return 0
        count = len(self.domain.judged("train"))
        devices = jax.device_count()
        if count < devices:
            message = f"{self.domain.train}: {count} pairs of a better and a worse trace by its labels"
            raise InputError(f"{message}; give a file with labels of both kinds, or run own_traces")
        return min(PAIRS, count) // devices * devices

    def _outcome_model(self, counts: Counts) -> FileLabels:
        steps = counts.label_steps
        optimiser = AdamW(learning_rate=1e-3, warmup_steps=min(50, steps // 5), total_steps=steps)
        algorithm = BradleyTerry(optimiser=optimiser)
        return FileLabels(algorithm=algorithm, schedule=Schedule(steps=steps), batch_size=self._pairs())

    def _improvement(self, counts: Counts) -> ImprovePolicy:
        return ImprovePolicy(
            algorithm=replace(grpo_for(counts.improvement_steps), samples_per_prompt=GROUP),
            schedule=Schedule(steps=counts.improvement_steps),
            prompts_per_step=min(PROMPTS, len(self.domain.problems("train"))),
            demonstration_rows=max(2, jax.device_count()),
            evaluations=1,
            samples=GROUP,
            problems=min(counts.problems, 50),
        )


def batch_rows(tokens: int, length: int, batch: int) -> int:
    """Rows of a training batch, for every device the same: so many tokens, less for a small file."""
    devices = jax.device_count()
    rows = min(batch, tokens // FILLING) / length
    return max(round(rows / devices), 1) * devices


def described(experiment: Experiment, estimate: Mapping[str, float]) -> Iterator[str]:
    """The sizes of the run and its expected time, for a person."""
    encoding, network, rerank = experiment.encoding, experiment.policy.network, experiment.rerank
    yield (
        f"sizes: {encoding.max_length} tokens a trace, {encoding.max_response} a response, {encoding.max_steps} steps; "
        f"{encoding.tokenizer.most} tokens of vocabulary; {network.num_layers} layers of {network.dim} units "
        "(--sizes.FIELD sets others)"
    )
    schedule = experiment.policy.schedule
    counts = {
        "policy": "as it is" if schedule is None else f"{schedule.steps} steps",
        "samples": f"{rerank.samples} of each of {rerank.problems} problems",
    }
    if isinstance(experiment.reward, FitReward):
        counts["reward"] = f"{experiment.reward.members} x {experiment.reward.warm_up_schedule.steps} steps"
    if experiment.outcome_model is not None:
        counts["outcome model"] = f"{experiment.outcome_model.schedule.steps} steps"
    if experiment.improvement is not None:
        counts["improvement"] = f"{experiment.improvement.schedule.steps} steps"
    if experiment.search is not None:
        counts["search"] = f"{experiment.search.problems} problems"
    stages = [
        f"{name} {seconds / 60:.1f}{f' ({counts[name]})' if name in counts else ''}"
        for name, seconds in estimate.items()
        if seconds
    ]
    yield f"estimated time: {sum(estimate.values()) / 60:.1f} minutes at this machine's speed now: {', '.join(stages)}"


def _kept(path: Path) -> Experiment:
    """The experiment of a run folder."""
    kept = decode(read_json(path), REGISTERED, str(path))
    if not isinstance(kept, Experiment):
        raise InputError(f"{path}: expected an Experiment, got {type(kept).__name__}; start anew with --overwrite")
    return kept
