"""What the stages that train a policy share: settings, evaluations on test problems, the rows of the report."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import PolicyEvaluation
from experiments.traces.demonstrations import Demonstrations
from experiments.traces.rerank_pool import verify_pool
from experiments.traces.sampling import sample_texts
from irl.algorithms.grpo import Grpo
from irl.algorithms.optimiser import AdamW
from irl.algorithms.rounds import RoundsState
from irl.evaluation.estimators import bootstrap_interval, paired_bootstrap_difference
from irl.policies.base import FittedPolicy, Policy
from irl.train import Row, Schedule, check_evaluations
from reward_models.ranges import Few, Rows, Size
from reward_models.records import record

RewardOf = Callable[[RoundsState, Sequence[str], Sequence[str], np.ndarray], np.ndarray]
"""(state, prompts, texts, ended) -> the learned reward of every text."""


def grpo_for(steps: int, learning_rate: float = 5e-4) -> Grpo:
    """Settings whose learning rate and share of likelihood fall over so many steps."""
    optimiser = AdamW(
        learning_rate=learning_rate,
        warmup_steps=min(5, steps),
        total_steps=steps,
        final_fraction=0.2,
        weight_decay=0.0,
    )
    return Grpo(optimiser=optimiser, samples_per_prompt=16, mle_steps=steps)


@record
class PolicyTraining:
    """Settings of policy training by GRPO on training problems."""

    algorithm: Grpo = field(default_factory=lambda: grpo_for(100))
    demonstrations: Demonstrations = field(default_factory=lambda: Demonstrations(count=4000))
    schedule: Schedule = Schedule(steps=100, save_every=25)
    prompts_per_step: Size = 32
    demonstration_rows: Size = 8
    evaluations: Few = 4
    """The number of evaluations in training (pass@1, for the report)."""
    samples: Rows = 32
    """Per test problem and evaluation."""
    problems: Rows | None = None
    """Of the test split; all of them by default."""

    def __post_init__(self):
        check_evaluations(type(self).__name__, self.evaluations, self.schedule)


@dataclass(frozen=True, kw_only=True)
class PolicyEvaluator:
    """Verdicts and learned rewards of the policy in training on test problems, for the report only: an `Evaluator`."""

    workspace: Workspace
    policy: Policy
    reward_of: RewardOf
    config: PolicyTraining
    stage: str
    kl: str
    """The metric of the stage that is the KL divergence from the start, in nats per trace."""
    name: str
    """Begins the names of the evaluations, which are the random keys of their samples too."""

    def run(self, step: int, state: RoundsState) -> Iterable[Row]:
        evaluation = self.measure(step, state)
        gold = {} if evaluation["gold"] is None else {"gold": float(np.mean(evaluation["gold"]))}
        yield {**gold, "proxy": evaluation["proxy"]}

    def measure(self, step: int, state: RoundsState) -> dict[str, Any]:
        """The evaluation of a step, which is kept in the run folder; a kept step is read back."""
        workspace, name = self.workspace, f"{self.name}-{step}"
        kept = workspace.read_stage(f"samples/{name}.json", PolicyEvaluation)
        if kept is not None:
            return kept
        problems = workspace.problems("test")[: self.config.problems]
        policy = FittedPolicy(self.policy, state.policy.params)
        pool = sample_texts(workspace, policy, problems, self.config.samples, name)
        prompts = [p.prompt for p, texts in zip(problems, pool.texts, strict=True) for _ in texts]
        texts = [text for texts in pool.texts for text in texts]
        proxy = self.reward_of(state, prompts, texts, pool.ended.reshape(-1))
        verifies = workspace.environment.verifies()
        gold = verify_pool(workspace, problems, pool).mean(axis=1).tolist() if verifies else None
        last = workspace.read_metric(self.stage, self.kl, step)
        evaluation = {"step": step, "gold": gold, "proxy": float(proxy.mean()), "length": float(pool.length.mean())}
        evaluation |= {"proxy_std": float(proxy.std()), "kl": last if step else 0.0}
        workspace.write_json(f"samples/{name}.json", evaluation)
        return evaluation

    def kept(self, steps: Sequence[int]) -> list[dict[str, Any]]:
        """The kept evaluations of those steps. A lost one, whose checkpoint no longer exists, is left out and named."""
        otherwise, read = "left out of the report", self.workspace.read_stage
        found = [read(f"samples/{self.name}-{step}.json", PolicyEvaluation, otherwise=otherwise) for step in steps]
        for step in (step for step, evaluation in zip(steps, found, strict=True) if evaluation is None):
            self.workspace.say(
                f"warning: the evaluation of step {step} is lost and its checkpoint is gone; {otherwise}"
            )
        return [evaluation for evaluation in found if evaluation is not None]


def policy_result(
    evaluations: list[dict[str, Any]], information: str, what: str, x_label: str, name: str = "policy training"
) -> dict[str, Any]:
    """The rows of the report for a policy that was trained on a learned reward.

    Args:
        evaluations: Those of `PolicyEvaluator`, that of the start first.
        information: The level of the reward.
        what: Ends the name of the headline row.
        x_label: What a step is.
        name: The name of the curve of accuracy and reward against KL.
    """
    steps, proxy = [each["step"] for each in evaluations], [each["proxy"] for each in evaluations]
    line = {"name": "policy", "role": "learned", "x": steps}
    panel: dict[str, Any] = {"name": "policy on the learned reward", "x_label": x_label}
    if evaluations[0]["gold"] is None:  # whether the samples are right is not known
        panel |= {"y_label": "mean reward", "series": [{**line, "y": proxy}]}
        row = {"name": f"mean reward {what}", "value": proxy[-1], "note": f"from {proxy[0]:.3f}"}
        return {"train_time": [panel], "gold_proxy": [], "headline": [{**row, "information": information}]}
    intervals = [bootstrap_interval(np.array(evaluation["gold"])) for evaluation in evaluations]
    gold, low, high = (list(map(float, column)) for column in zip(*intervals, strict=True))
    start, end = np.array(evaluations[0]["gold"]), np.array(evaluations[-1]["gold"])
    gain = paired_bootstrap_difference(end, start)
    note = f"from {start.mean():.3f}; gain {gain.mean:.3f} [{gain.low:.3f}, {gain.high:.3f}], paired over problems"
    scale = max(evaluations[0]["proxy_std"], 1e-9)
    curve = {"name": name, "kl": [evaluation["kl"] for evaluation in evaluations], "gold": gold}
    curve |= {"gold_low": low, "gold_high": high, "proxy": [(value - proxy[0]) / scale for value in proxy]}
    row = {"name": f"pass@1 {what}", "value": gold[-1], "low": low[-1], "high": high[-1]}
    panel |= {"y_label": "pass@1", "series": [{**line, "y": gold, "low": low, "high": high}]}
    return {
        "train_time": [panel],
        "gold_proxy": [curve],
        "headline": [{**row, "information": information, "note": note}],
    }
