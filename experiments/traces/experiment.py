"""`traceward run CONFIG`: the stages of an experiment one after another, into one folder, resumable."""

import math
from collections.abc import Iterator
from dataclasses import field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.core.frame import Results, StagedRun
from experiments.core.overlap import Overlap
from experiments.core.workspace import Workspace
from experiments.reporting.report_records import Throughput
from experiments.traces.adversarial_rounds import AdversarialRounds
from experiments.traces.demonstrations import check_writable, of_file
from experiments.traces.fit_outcome_model import FitOutcomeModel, PairModel
from experiments.traces.fit_policy import FitPolicy
from experiments.traces.fit_reward import FitReward
from experiments.traces.guided_search import GuidedSearch
from experiments.traces.improve_policy import ImprovePolicy
from experiments.traces.judged_pairs import pair_rows
from experiments.traces.rerank_pool import RerankPool
from experiments.traces.reward_stage import RewardStage
from experiments.traces.train_time import RewardCurve
from experiments.traces.validation import validation_panel
from irl.domains.base import Environment, ReadsFiles
from irl.domains.countdown.countdown import Countdown
from irl.evaluation.audit import Finding
from irl.text.encoder import TextEncoder
from irl.text.tokenizer_configs import HuggingFaceTokenizer, NumberTokens, TokenizerConfig
from irl.types import InputError
from reward_models.ranges import Few, Seed, Tokens
from reward_models.records import record


@record
class Encoding:
    """Limits of a trace, prompt included."""

    max_length: Tokens = 96
    """Tokens."""
    max_steps: Few = 8
    max_response: Tokens | None = None
    """The tokens that every prompt leaves for a response; None: no fixed number, at least 8."""
    tokenizer: TokenizerConfig = NumberTokens()

    def encoder(self, domain: Environment) -> TextEncoder:
        """The encoder of a domain's texts."""
        return self.limited(self.tokenizer.encoder(training_texts(domain), 2, 1, domain.split_steps))

    def limited(self, encoder: TextEncoder) -> TextEncoder:
        """An encoder with these limits."""
        return replace(encoder, max_length=self.max_length, max_steps=self.max_steps, max_response=self.max_response)


@record
class Experiment(StagedRun[Workspace]):
    """A policy and a reward from demonstrations, what the reward is worth, and what can be done with it."""

    title: str
    policy: FitPolicy
    reward: RewardStage
    outcome_model: PairModel | None = field(default_factory=FitOutcomeModel)
    domain: Environment = field(default_factory=lambda: Countdown(held_out=100))
    encoding: Encoding = Encoding()
    rerank: RerankPool = field(default_factory=RerankPool)
    search: GuidedSearch | None = field(default_factory=GuidedSearch)
    improvement: ImprovePolicy | None = field(default_factory=ImprovePolicy)
    rounds: AdversarialRounds | None = None
    seed: Seed = 0

    def __post_init__(self):
        own = self.policy.base is None and not self.encoding.tokenizer.fixed
        size = self.encoding.tokenizer.most if own else 0
        for vocabulary in (self.policy.network.vocab_size, self.reward.vocabulary):
            if vocabulary is not None and vocabulary < size:
                expected = f"at least {size}, the tokenizer's vocabulary"
                raise InputError(f"DecoderConfig.vocab_size: expected {expected}, got {vocabulary}")
        if not isinstance(self.reward, FitReward):
            if self.rounds is not None:
                kept = f"{type(self.reward).__name__} is not trained"
                raise InputError(f"rounds: they train the reward, and {kept}; set --rounds None")
        elif self.policy.base is not None:
            return  # `resolved` gives the reward the decoder of the base
        elif self.reward.start == "base":
            raise InputError("reward.start: base, but the policy has none; give a language model by policy.base")
        elif self.reward.start == "policy" and self.reward.network.decoder != self.policy.network:
            advice = "make reward.network.decoder that of policy.network, or set reward.start to random"
            raise InputError(f"reward.start: the policy's weights need equal decoders; {advice}")

    def resolved(self) -> "Experiment":
        """This experiment with the tokenizer and the decoder of its base, or the vocabulary of a fixed tokenizer."""
        policy, tokenizer = self.policy.resolved(), self.encoding.tokenizer
        if policy.base is not None:
            tokenizer = HuggingFaceTokenizer(folder=policy.base)
        elif tokenizer.fixed:
            policy = replace(policy, network=replace(policy.network, vocab_size=tokenizer.most))
        else:
            return self
        encoding = replace(self.encoding, tokenizer=tokenizer)
        return replace(self, policy=policy, encoding=encoding, reward=self.reward.on_policy(policy.network))

    def open(self, folder: Path) -> Workspace:
        encoder = self.resolved().encoding.encoder(self.domain)
        base = None if self.policy.base is None else Path(self.policy.base)
        workspace = Workspace(folder, self.seed, environment=self.domain, encoder=encoder, base=base)
        for sentence in self.summary():
            workspace.say(sentence)
        return workspace

    def overlaps(self) -> list[Overlap]:
        """How many traces of each file of demonstrations are left out because they are of test problems."""
        of_domain = self.domain.removed() if isinstance(self.domain, ReadsFiles) else ()
        of_files = [overlap for file in self._demonstrations() for overlap in of_file(file, self.domain).overlaps]
        return [Overlap(**each._asdict()) for each in of_domain] + of_files

    def files(self) -> list[str]:
        of_domain = self.domain.files if isinstance(self.domain, ReadsFiles) else ()
        return [*of_domain, *self._demonstrations(), *self.policy.files()]

    def summary(self) -> list[str]:
        """What was read of files of traces."""
        return list(self.domain.summary()) if isinstance(self.domain, ReadsFiles) else []

    def stages(self, run: Workspace) -> Results:
        return run_stages(self.resolved(), run)

    def _demonstrations(self) -> list[str]:
        """The files of demonstrations beside the domain's."""
        stages = (self.policy, self.reward, self.improvement, self.rounds)
        demonstrations = [stage.demonstrations for stage in stages if stage is not None]
        files = [each.file for each in demonstrations if each is not None]
        return [file for file in dict.fromkeys(files) if file is not None]


def run_stages(config: Experiment, workspace: Workspace) -> Results:
    """Every stage of an experiment; stages that are done are not done again."""
    check_writable(workspace)
    if not config.domain.verifies():
        workspace.say("no verifier and no answers: accuracy is not reported")
    policy = config.policy.run(workspace)
    problems = workspace.problems("test")[: config.rerank.problems]
    pool = config.rerank.pool(workspace, policy, problems)
    curve = RewardCurve(workspace=workspace, problems=tuple(problems), pool=pool)
    params = config.reward.run(workspace, policy, observe=curve.observe)
    scorer = config.reward.scorer(workspace, params)
    outcome_model = None if config.outcome_model is None else config.outcome_model.run(workspace, policy)
    report = config.rerank.run(workspace, policy, scorer, outcome_model)
    findings = card_findings(report)
    report["environment"], report["summary"] = repr(config.domain), config.summary()
    report["train_time"] = curve.panel() + validation_panel(workspace)
    scorers = {"learned reward": scorer} | ({"outcome model": outcome_model} if outcome_model is not None else {})
    report["headline"] = report["headline"] + pair_rows(workspace, policy, scorers)
    if config.search is not None:
        report["search"] = config.search.run(workspace, policy, scorer)
    if config.improvement is not None:
        add_parts(report, config.improvement.run(workspace, policy, scorer))
    if config.rounds is not None and isinstance(config.reward, FitReward):
        over_rounds = replace(curve, name="rounds", title="reward in adversarial rounds", x_label="round")
        add_parts(report, config.rounds.run(workspace, policy, config.reward, params, over_rounds))
    report["throughput"] = throughput_rows(workspace)
    return Results(
        headline=report.pop("headline"),
        information=scorer.spec.information,
        seeds=[config.seed],
        models={workspace.folder / "model": None} if isinstance(config.reward, FitReward) else {},
        findings=findings,
        parts=report,
    )


def add_parts(report: dict[str, Any], result: dict[str, Any]) -> None:
    """Append the rows of a stage to those of the report."""
    for name, rows in result.items():
        report[name] = report[name] + rows


def training_texts(domain: Environment) -> Iterator[str]:
    """The prompts of the training problems, each with a demonstration: what a tokenizer may learn from."""
    rng = np.random.default_rng(0)
    for problem in domain.problems("train"):
        yield f"{problem.prompt}\n{domain.expert(problem, rng).text}"


def card_findings(report: dict[str, Any]) -> dict[str, Finding]:
    """The findings of the model card: reranking and the audit, on test problems."""
    problems = len(report["problems"]) if report.get("test_time") is None else report["test_time"]["num_problems"]
    learned = [row for row in report["headline"] if row["note"] in ("learned reward", "reward-weighted majority")]
    found = {row["name"]: Finding(row["value"], row["low"], row["high"], problems) for row in learned}
    audited = report["audit"][0]["findings"].items()  # JSON has null where a finding is NaN
    return found | {name: Finding(**_undefined_as_nan(finding)) for name, finding in audited}


def _undefined_as_nan(finding: dict[str, Any]) -> dict[str, Any]:
    return {key: math.nan if value is None else value for key, value in finding.items()}


def throughput_rows(workspace: Workspace) -> list[dict[str, Any]]:
    """What the stages have measured, in this process or before."""
    read = partial(workspace.read_stage, kind=Throughput, otherwise="left out of the report")
    names = [f"throughput/{path.name}" for path in sorted(workspace.folder.glob("throughput/*.json"))]
    return [row for row in map(read, names) if row is not None]
