"""Stage: train the policy on the learned reward (GRPO). No answer and no verifier is used in training."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import Improvement, PolicyEvaluation
from experiments.traces.demonstrations import Demonstrations, encode_traces, enough_rows
from experiments.traces.rerank_pool import verify_pool
from experiments.traces.sampling import pad_prompts, sample_texts, texts_of_samples
from irl.algorithms.grpo import Grpo, GrpoBatch, GrpoState
from irl.algorithms.optimiser import AdamW
from irl.evaluation.estimators import bootstrap_interval, paired_bootstrap_difference
from irl.guidance.plausibility import plausibility
from irl.policies.language_model import LanguageModel, sample
from irl.policies.rollouts import token_mask, traces_of_samples
from irl.rewards.scoring import TextScorer
from irl.text.pipeline import ArraySource, Json
from irl.train import Row, Schedule, check_evaluations, evaluation_steps
from reward_models.ranges import Few, PositiveShare, Rows, Size
from reward_models.records import record
from reward_models.types import ScoreSpec

STAGE = "improved-policy"


class Rollouts:
    """A source that samples from the current policy and scores what it wrote by the learned reward."""

    def __init__(self, workspace: Workspace, policy: LanguageModel, scorer: TextScorer, config: "ImprovePolicy"):
        encoder = workspace.encoder
        self._encoder, self._scorer, self._policy, self._config = encoder, scorer, policy.config, config
        self._problems = workspace.problems("train")
        prompts, lengths = pad_prompts([encoder.prompt(problem.prompt) for problem in self._problems])
        index = np.arange(len(prompts))
        self._prompts = ArraySource(
            (index, prompts, lengths),
            config.prompts_per_step,
            workspace.seed,
            of="training problems",
            option="improvement.prompts_per_step",
        )
        traces = config.demonstrations.traces(workspace, "improvement")
        self._demonstrated = scorer([t.prompt for t in traces], [t.text for t in traces]).trace
        rows = enough_rows(
            workspace, encode_traces(workspace, traces), config.demonstration_rows, 2 * encoder.max_length
        )
        packed = encoder.pack(rows, 2 * encoder.max_length)
        self._demonstrations = ArraySource(
            packed,
            config.demonstration_rows,
            workspace.seed,
            of=f"rows of {len(traces)} demonstrations",
            option="improvement.demonstration_rows",
        )
        self._key = workspace.key("rollouts")
        self._newline = token_mask(encoder.vocab_size, encoder.step_ends)
        self._count = 0

    def next(self, state: GrpoState) -> GrpoBatch:
        index, prompts, lengths = self._prompts.next()
        self._count += 1
        n, encoder = self._config.algorithm.samples_per_prompt, self._encoder
        drawn = sample(
            self._policy,
            state.params,
            jax.random.fold_in(self._key, self._count),
            prompts,
            lengths,
            n=n,
            slots=n,
            max_new=encoder.max_length - prompts.shape[1],
            stop=(encoder.end,),
            vocabulary=encoder.vocab_size,
        )
        drawn = jax.device_get(jax.tree.map(lambda x: x[:, :n], drawn))
        texts = [text for each in texts_of_samples(encoder, drawn.tokens, drawn.length) for text in each]
        asked = [self._problems[i].prompt for i in index for _ in range(n)]
        reward = self.reward_of(asked, texts, drawn.ended.reshape(-1)).astype(np.float32)
        traces = traces_of_samples(prompts, lengths, drawn, self._newline, max_steps=encoder.max_steps)
        return GrpoBatch(jax.device_get(traces), reward, self._demonstrations.next())

    def reward_of(self, prompts: Sequence[str], texts: Sequence[str], ended: np.ndarray) -> np.ndarray:
        """What the policy is trained on, from 0 to 1; a trace that was cut at the limit on tokens gets 0."""
        plausible = plausibility(self._scorer(prompts, texts).trace, self._demonstrated, level=self._config.level)
        return np.where(ended, plausible, 0.0)

    def get_state(self) -> Json:
        parts = {"prompts": self._prompts.get_state(), "demonstrations": self._demonstrations.get_state()}
        return {"count": self._count, **parts}

    def set_state(self, state: Json) -> None:
        self._count = state["count"]
        self._prompts.set_state(state["prompts"])
        self._demonstrations.set_state(state["demonstrations"])


def grpo_for(steps: int) -> Grpo:
    """Settings whose learning rate and share of likelihood fall over so many steps."""
    optimiser = AdamW(
        learning_rate=5e-4, warmup_steps=min(5, steps), total_steps=steps, final_fraction=0.2, weight_decay=0.0
    )
    return Grpo(optimiser=optimiser, samples_per_prompt=16, mle_steps=steps)


@record
class ImprovePolicy:
    """GRPO on the learned reward from the stage before, on training problems."""

    algorithm: Grpo = field(default_factory=lambda: grpo_for(100))
    demonstrations: Demonstrations = field(default_factory=lambda: Demonstrations(count=4000))
    schedule: Schedule = Schedule(steps=100, save_every=25)
    prompts_per_step: Size = 32
    demonstration_rows: Size = 8
    level: PositiveShare = 0.1
    """A trace that scores better than this share of demonstrations is as good as any."""
    evaluations: Few = 4
    """The number of evaluations in training (pass@1, for the report)."""
    samples: Rows = 32
    """Per test problem and evaluation."""
    problems: Rows | None = None
    """Of the test split; all of them by default."""

    def __post_init__(self):
        check_evaluations("ImprovePolicy", self.evaluations, self.schedule)

    def run(self, workspace: Workspace, policy: LanguageModel, scorer: TextScorer) -> dict[str, Any]:
        saved = workspace.read_stage("improvement.json", Improvement)
        if saved is not None:
            return saved
        source = Rollouts(workspace, policy, scorer, self)
        evaluator, begun = PolicyEvaluator(workspace, policy, source, self), time.perf_counter()
        evaluator.measure(0, policy)
        every = self.schedule.period(self.evaluations)
        state = workspace.fit(
            STAGE,
            self.algorithm.make(policy.config, policy.params),
            source,
            self.schedule,
            key="improvement",
            label="policy on the learned reward",
            evaluators=[evaluator],
            evaluate_every=every,
        )
        evaluations = evaluator.kept([0, *evaluation_steps(self.schedule.steps, every)])
        seconds = time.perf_counter() - begun
        workspace.say(f"policy training: {seconds:.0f} s with {len(evaluations)} evaluations")
        spec = ScoreSpec("reward", "sum", scorer.spec.information)
        about = "maximum likelihood on expert traces, then GRPO on the learned reward"
        workspace.save_model(STAGE, policy.config, jax.device_get(state.params), spec, trained_on=about)
        result = _result(evaluations, scorer.spec.information)
        workspace.write_json("improvement.json", result)
        return result


@dataclass(frozen=True)
class PolicyEvaluator:
    """Verdicts and learned rewards of the policy in training on test problems, for the report only: an `Evaluator`."""

    workspace: Workspace
    policy: LanguageModel
    source: Rollouts
    config: ImprovePolicy

    def run(self, step: int, state: GrpoState) -> Iterable[Row]:
        evaluation = self.measure(step, self.policy._replace(params=state.params))
        gold = {} if evaluation["gold"] is None else {"gold": float(np.mean(evaluation["gold"]))}
        yield {**gold, "proxy": evaluation["proxy"]}

    def measure(self, step: int, policy: LanguageModel) -> dict[str, Any]:
        """The evaluation of a step, which is kept in the run folder; a kept step is read back."""
        workspace, name = self.workspace, _name(step)
        kept = workspace.read_stage(f"samples/{name}.json", PolicyEvaluation)
        if kept is not None:
            return kept
        problems = workspace.problems("test")[: self.config.problems]
        pool = sample_texts(workspace, policy, problems, self.config.samples, name)
        prompts = [p.prompt for p, texts in zip(problems, pool.texts, strict=True) for _ in texts]
        proxy = self.source.reward_of(prompts, [text for texts in pool.texts for text in texts], pool.ended.reshape(-1))
        verifies = workspace.environment.verifies()
        gold = verify_pool(workspace, problems, pool).mean(axis=1).tolist() if verifies else None
        last = workspace.read_metric(STAGE, "kl", step)
        evaluation = {"step": step, "gold": gold, "proxy": float(proxy.mean())}
        evaluation |= {"proxy_std": float(proxy.std()), "kl": last if step else 0.0}
        workspace.write_json(f"samples/{name}.json", evaluation)
        return evaluation

    def kept(self, steps: Sequence[int]) -> list[dict[str, Any]]:
        """The kept evaluations of those steps. A lost one, whose checkpoint no longer exists, is left out and named."""
        otherwise = "left out of the report"
        found = {
            step: self.workspace.read_stage(f"samples/{_name(step)}.json", PolicyEvaluation, otherwise=otherwise)
            for step in steps
        }
        for step in (step for step, evaluation in found.items() if evaluation is None):
            self.workspace.say(
                f"warning: the evaluation of step {step} is lost and its checkpoint is gone; {otherwise}"
            )
        return [evaluation for evaluation in found.values() if evaluation is not None]


def _name(step: int) -> str:
    return f"improvement-look-{step}"  # the random key of the samples too: another name would change the results


def _result(evaluations: list[dict[str, Any]], information: str) -> dict[str, Any]:
    if evaluations[0]["gold"] is None:
        return _result_without_verifier(evaluations, information)
    intervals = [bootstrap_interval(np.array(evaluation["gold"])) for evaluation in evaluations]
    steps = [evaluation["step"] for evaluation in evaluations]
    gold, low, high = (list(map(float, column)) for column in zip(*intervals, strict=True))
    start, end = np.array(evaluations[0]["gold"]), np.array(evaluations[-1]["gold"])
    gain = paired_bootstrap_difference(end, start)
    note = f"from {start.mean():.3f}; gain {gain.mean:.3f} [{gain.low:.3f}, {gain.high:.3f}], paired over problems"
    line = {"name": "policy", "role": "learned", "x": steps, "y": gold, "low": low, "high": high}
    curve = {"name": "policy training", "kl": [evaluation["kl"] for evaluation in evaluations], "gold": gold}
    scale = max(evaluations[0]["proxy_std"], 1e-9)
    proxy = [(evaluation["proxy"] - evaluations[0]["proxy"]) / scale for evaluation in evaluations]
    row = {"name": "pass@1 after training on the learned reward", "value": gold[-1], "low": low[-1], "high": high[-1]}
    panel = {"name": "policy on the learned reward", "x_label": "GRPO step", "y_label": "pass@1", "series": [line]}
    return {
        "train_time": [panel],
        "gold_proxy": [{**curve, "gold_low": low, "gold_high": high, "proxy": proxy}],
        "headline": [{**row, "information": information, "note": note}],
    }


def _result_without_verifier(evaluations: list[dict[str, Any]], information: str) -> dict[str, Any]:
    """The learned reward of the policy's samples: whether they are right is not known."""
    steps, proxy = [each["step"] for each in evaluations], [each["proxy"] for each in evaluations]
    line = {"name": "policy", "role": "learned", "x": steps, "y": proxy}
    panel = {"name": "policy on the learned reward", "x_label": "GRPO step", "y_label": "mean reward", "series": [line]}
    row = {"name": "mean reward after training on it", "value": proxy[-1], "information": information}
    return {"train_time": [panel], "gold_proxy": [], "headline": [{**row, "note": f"from {proxy[0]:.3f}"}]}
