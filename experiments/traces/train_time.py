"""How well a reward in training reranks: accuracy against training steps, to report and never to choose by."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import RewardEvaluation
from experiments.traces.rerank_pool import score_pool, verify_pool
from experiments.traces.sampling import TextSamples
from irl.evaluation.estimators import best_of_k, bootstrap_interval, pass_at_k
from irl.evaluation.metrics import within_prompt_auc
from irl.rewards.scoring import TextScorer


@dataclass(frozen=True, kw_only=True)
class RewardCurve:
    """Reranks a part of the test pool with the reward as it is after so many steps."""

    workspace: Workspace
    problems: tuple
    pool: TextSamples
    name: str = "reward"
    """Begins the names of the evaluations in the run folder."""
    title: str = "reward in training"
    x_label: str = "training step"
    samples: int = 64
    """Of each problem's samples; the best of k is exact over all subsets of them."""
    ks: tuple[int, ...] = (16, 64)

    def observe(self, step: int, scorer: TextScorer) -> dict[str, float]:
        """Mean accuracies after a step, which are kept in the run folder; a kept step is read back."""
        if not self.workspace.environment.verifies():
            return {}
        name = f"train_time/{self.name}-{step:06d}.json"
        kept = self.workspace.read_stage(name, RewardEvaluation)
        if kept is not None:
            return {measure: interval[0] for measure, interval in kept["accuracy"].items()}
        n = min(self.samples, len(self.pool.texts[0]))
        texts = [row[:n] for row in self.pool.texts]
        part = TextSamples(texts, self.pool.log_prob[:, :n], self.pool.length[:, :n], self.pool.ended[:, :n])
        scores = score_pool(scorer, self.problems, part).trace.reshape(len(texts), n)
        correct = verify_pool(self.workspace, self.problems, part)
        accuracy = {"pass@1": list(bootstrap_interval(pass_at_k(correct, 1)))}
        for k in self.ks:
            accuracy[f"rerank@{min(k, n)}"] = list(bootstrap_interval(best_of_k(scores, correct, min(k, n))))
        ranking = within_prompt_auc(scores.reshape(-1), correct.reshape(-1), np.arange(len(texts)).repeat(n))
        if ranking.num_prompts:
            accuracy["AUC within a problem"] = list(bootstrap_interval(ranking.per_prompt))
        self.workspace.write_json(name, {"step": step, "accuracy": accuracy})
        best = f"rerank@{min(self.ks[-1], n)}"
        self.workspace.say(f"{self.name} after {step} steps: {best} {accuracy[best][0]:.3f} (measured to report only)")
        return {measure: float(interval[0]) for measure, interval in accuracy.items()}

    def panel(self) -> list[dict[str, Any]]:
        """The report's train-time curve."""
        folder = self.workspace.folder / "train_time"
        names = [f"train_time/{path.name}" for path in sorted(folder.glob(f"{self.name}-*.json"))]
        read = partial(self.workspace.read_stage, kind=RewardEvaluation, otherwise="left out of the report")
        evaluations = [evaluation for evaluation in map(read, names) if evaluation is not None]
        if not evaluations:
            return []
        series = []
        for name in evaluations[0]["accuracy"]:
            mean, low, high = np.array([evaluation["accuracy"][name] for evaluation in evaluations]).T.tolist()
            role = "baseline" if name == "pass@1" else "learned"
            steps = [evaluation["step"] for evaluation in evaluations]
            series.append({"name": name, "role": role, "x": steps, "y": mean, "low": low, "high": high})
        return [{"name": self.title, "x_label": self.x_label, "y_label": "accuracy", "series": series}]
