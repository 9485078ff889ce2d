"""Stage: choose among N samples of the policy by every scorer there is, and audit the learned one."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from experiments.commands.truncation import beginnings
from experiments.core.run_folder import plain
from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import Evaluation
from experiments.traces.sampling import TextSamples, sample_texts
from irl.evaluation.audit import CriticAudit, audit, cut_after_each_step
from irl.evaluation.estimators import (
    best_of_k,
    bootstrap_interval,
    majority_at_k,
    pass_at_k,
    weighted_majority_at_k,
)
from irl.policies.base import FittedPolicy
from irl.policies.truncation import ALL_TOKENS, Truncation
from irl.rewards.questions import ScoresTexts, TextScores
from irl.types import Problem
from reward_models.ranges import Rows, RowsOrZero, Temperature
from reward_models.records import record

NONE = "none"


@record
class RerankPool:
    """Evaluation on problems nobody trained on. The verifier is used here, after all learning, to report."""

    samples: Rows = 1000
    temperature: Temperature = 1.0
    truncation: Truncation = ALL_TOKENS
    problems: Rows | None = None
    """Of the test split; all of them by default."""
    vote: Rows = 64
    shown: RowsOrZero = 12
    """Problems on the report's page of traces."""
    beginnings: RowsOrZero = 50
    """Candidates that stop early, added to each problem's samples to measure whether one wins."""

    def run(
        self, workspace: Workspace, policy: FittedPolicy, scorer: ScoresTexts, outcome_model: ScoresTexts | None = None
    ) -> dict[str, Any]:
        saved = workspace.read_stage("evaluation.json", Evaluation)
        if saved is not None:
            return saved
        result: dict[str, Any]
        problems = workspace.problems("test")[: self.problems]
        pool = self.pool(workspace, policy, problems)
        begun = time.perf_counter()
        scores = score_pool(scorer, problems, pool)
        tokens = int(pool.length.sum())
        note = "equal steps are scored once; counts the tokens of all candidates"
        workspace.measured("scoring, test candidates", tokens, time.perf_counter() - begun, note)
        learned = np.asarray(scores.trace).reshape(len(problems), -1)
        if not workspace.environment.verifies():
            result = self._without_verifier(workspace, problems, pool, scores, learned, scorer)
            workspace.write_json("evaluation.json", result)
            return result
        correct = verify_pool(workspace, problems, pool)
        rivals: dict[str, tuple[str, np.ndarray]] = {}
        if outcome_model is not None:
            by_outcome = score_pool(outcome_model, problems, pool).trace.reshape(correct.shape)
            rivals["outcome model"] = outcome_model.spec.information, by_outcome
        curves = test_time_curves(workspace, problems, pool, learned, correct, scorer.spec.information, rivals)
        result = {
            "test_time": curves,
            "gold_proxy": [gold_and_proxy(learned, correct)],
            "audit": [self._audit(workspace, problems, pool, learned, correct, scorer)],
            "problems": shown_problems(problems, pool, scores, correct, self.shown),
        }
        early_ends = self._with_beginnings(workspace, problems, pool, learned, correct, scorer)
        result["headline"] = [*self._headline(curves), early_ends]
        np.savez_compressed(workspace.folder / "samples" / "test_scores.npz", learned=learned, correct=correct)
        workspace.write_json("evaluation.json", result)
        return result

    def pool(self, workspace: Workspace, policy: FittedPolicy, problems: Sequence[Problem]) -> TextSamples:
        """The samples of test problems, drawn once and kept."""
        return sample_texts(
            workspace,
            policy,
            problems,
            self.samples,
            "test",
            temperature=self.temperature,
            truncation=self.truncation,
        )

    def _audit(self, workspace, problems, pool, learned, correct, scorer) -> dict[str, Any]:
        rng = workspace.rng("audit")
        experts = [(i, workspace.environment.expert(p, rng)) for i, p in enumerate(problems) for _ in range(4)]
        judged = scorer([trace.prompt for _, trace in experts], [trace.text for _, trace in experts])
        cuts = [
            (i, trace.prompt, "\n".join(cut))
            for i, trace in experts
            for cut in cut_after_each_step([step.text for step in trace.steps])
        ]
        finite = np.maximum(learned, -1e9)
        samples = learned.shape[1]
        found = audit(
            expert_scores=judged.trace,
            expert_prompt=np.array([i for i, _ in experts]),
            sample_scores=finite.reshape(-1),
            sample_prompt=np.repeat(np.arange(len(problems)), samples),
            sample_correct=None if correct is None else correct.reshape(-1),
            sample_length=pool.length.reshape(-1),
            cut_scores=scorer([prompt for _, prompt, _ in cuts], [text for _, _, text in cuts]).trace,
            cut_prompt=np.array([i for i, _, _ in cuts]),
        )
        return audit_record("learned reward", found)

    def _without_verifier(self, workspace, problems, pool, scores, learned, scorer) -> dict[str, Any]:
        """What can be reported of a domain that cannot tell right from wrong: everything but accuracy."""
        entry, information = self._audit(workspace, problems, pool, learned, None, scorer), scorer.spec.information
        chosen = self._best_with_beginnings(workspace, problems, pool, learned, scorer)
        whole = np.array([best < learned.shape[1] for best, _ in chosen], float)
        demonstrated = entry["findings"]["source AUC"]
        rows = [
            ("ended", "samples that end within the limit on tokens", NONE, bootstrap_interval(pool.ended.mean(axis=1))),
            (
                "demonstration above samples",
                "share of samples that score below a demonstration of their prompt",
                information,
                (demonstrated["mean"], demonstrated["low"], demonstrated["high"]),
            ),
            (
                f"whole trace chosen, {self.beginnings} beginnings added",
                "problems in which no candidate that stops early is chosen",
                information,
                bootstrap_interval(whole),
            ),
        ]
        return {
            "gold_proxy": [],
            "audit": [entry],
            "problems": shown_problems(problems, pool, scores, None, self.shown),
            "headline": [
                {"name": name, "value": value[0], "low": value[1], "high": value[2], "information": level, "note": note}
                for name, note, level, value in rows
            ],
        }

    def _best_with_beginnings(self, workspace, problems, pool, learned, scorer) -> list[tuple[int, list[str]]]:
        """For each problem: which of its samples and added beginnings scores highest, and the beginnings."""
        rng, split, best = workspace.rng("beginnings"), workspace.environment.split_steps, []
        for problem, texts, scores in zip(problems, pool.texts, learned, strict=True):
            early = beginnings(texts, split, self.beginnings, rng)
            of_early = scorer([problem.prompt] * len(early), early).trace
            best.append((int(np.argmax([*scores, *of_early])), early))
        return best

    def _with_beginnings(self, workspace, problems, pool, learned, correct, scorer) -> dict[str, Any]:
        """The headline row of the best of all samples and of beginnings of samples, which stop early."""
        verify, samples, right = workspace.environment.verify, learned.shape[1], []
        chosen = self._best_with_beginnings(workspace, problems, pool, learned, scorer)
        for problem, labels, (best, early) in zip(problems, correct, chosen, strict=True):
            right.append(labels[best] if best < samples else verify(problem, early[best - samples]).correct)
        mean, low, high = bootstrap_interval(np.array(right, float))
        return {
            "name": f"rerank@{samples}, {self.beginnings} beginnings added",
            **{"value": mean, "low": low, "high": high},
            "information": scorer.spec.information,
            "note": "learned reward, with candidates that stop early",
        }

    def _headline(self, curves: dict[str, Any]) -> list[dict[str, Any]]:
        """The rows people look for first."""
        ks = curves["ks"]
        vote = max(k for k in ks if k <= self.vote)
        # The keys are unique, so the majority of all samples has one row where `vote` is the number of samples.
        wanted = {
            "pass@1": ("policy, one sample", "oracle", 1),
            f"cons@{vote}": (f"majority of {vote}", "majority", vote),
            f"cons@{ks[-1]}": ("majority of all", "majority", ks[-1]),
            f"length@{ks[-1]}": ("shortest", "shortest", ks[-1]),
            f"log-probability@{ks[-1]}": ("policy log-probability", "log-probability (sum)", ks[-1]),
            f"mean log-probability@{ks[-1]}": ("mean log-probability", "log-probability (mean)", ks[-1]),
            f"outcome model@{ks[-1]}": ("outcome model", "outcome model", ks[-1]),
            f"weighted cons@{ks[-1]}": ("reward-weighted majority", "reward-weighted majority", ks[-1]),
            f"rerank@{ks[-1]}": ("learned reward", "learned reward", ks[-1]),
            f"pass@{ks[-1]}": ("oracle", "oracle", ks[-1]),
        }
        rows = []
        for label, (note, name, k) in wanted.items():
            line = next((series for series in curves["series"] if series["name"] == name), None)
            if line is None:
                continue
            at = ks.index(k)
            information = NONE if k == 1 else line["information"]
            values = {"value": line["mean"][at], "low": line["low"][at], "high": line["high"][at]}
            rows.append({"name": label, **values, "information": information, "note": note})
        return rows


def score_pool(scorer: ScoresTexts, problems, pool: TextSamples) -> TextScores:
    """Scores of every sample, problem after problem."""
    prompts = [problem.prompt for problem, texts in zip(problems, pool.texts, strict=True) for _ in texts]
    return scorer(prompts, [text for texts in pool.texts for text in texts])


def verify_pool(workspace: Workspace, problems, pool: TextSamples) -> np.ndarray:
    """Bool[problems, n] by the environment's verifier; each distinct text is judged once."""
    verify = workspace.environment.verify
    rows = []
    for problem, texts in zip(problems, pool.texts, strict=True):
        known = {text: verify(problem, text).correct for text in dict.fromkeys(texts)}
        rows.append([known[text] for text in texts])
    return np.array(rows)


def answer_ids(workspace: Workspace, problem: Problem, texts: list[str]) -> np.ndarray:
    """Int[n]: equal answers get equal numbers, -1 is no answer."""
    numbers: dict[str, int] = {}
    known: dict[str, int] = {}
    for text in dict.fromkeys(texts):
        key = workspace.environment.answer_key(problem, text)
        known[text] = -1 if key is None else numbers.setdefault(key, len(numbers))
    return np.array([known[text] for text in texts])


def powers_of_two(n: int) -> list[int]:
    return [1 << i for i in range(n.bit_length()) if 1 << i < n] + [n]


def test_time_curves(
    workspace, problems, pool: TextSamples, learned, correct, information: str, rivals
) -> dict[str, Any]:
    """Accuracy against N for every scorer, each from the whole pool, with bootstrap intervals over problems.

    `rivals` are further learned scorers: name -> (information level, scores [problems, n]).
    """
    ks = powers_of_two(correct.shape[1])
    keys = [answer_ids(workspace, p, texts) for p, texts in zip(problems, pool.texts, strict=True)]
    weights = np.exp(np.maximum(learned, -700.0))
    log_prob, length = pool.log_prob, pool.length
    scorers = [
        ("learned reward", information, "learned", lambda k: best_of_k(learned, correct, k)),
        (
            "reward-weighted majority",
            information,
            "learned",
            lambda k: weighted_majority_at_k(keys, weights, correct, k, draws=32).value,
        ),
        ("majority", NONE, "baseline", lambda k: majority_at_k(keys, correct, k, draws=32).value),
        ("log-probability (sum)", NONE, "baseline", lambda k: best_of_k(log_prob, correct, k)),
        ("log-probability (mean)", NONE, "baseline", lambda k: best_of_k(log_prob / length, correct, k)),
        ("shortest", NONE, "baseline", lambda k: best_of_k(-length, correct, k)),
        *(
            (name, level, "baseline", lambda k, scores=scores: best_of_k(scores, correct, k))
            for name, (level, scores) in rivals.items()
        ),
        ("oracle", "verifier", "oracle", lambda k: pass_at_k(correct, k)),
    ]
    series = []
    for name, level, role, value in scorers:
        intervals = [bootstrap_interval(value(k)) for k in ks]
        mean, low, high = (list(map(float, column)) for column in zip(*intervals, strict=True))
        series.append({"name": name, "information": level, "role": role, "mean": mean, "low": low, "high": high})
    return {"ks": ks, "num_problems": len(problems), "series": series}


def gold_and_proxy(learned: np.ndarray, correct: np.ndarray) -> dict[str, Any]:
    """Best of n: what the proxy says of its choice and what is true of it, against log n - (n-1)/n nats."""
    ks = powers_of_two(correct.shape[1])
    finite = np.maximum(learned, learned[np.isfinite(learned)].min())
    standard = (finite - finite.mean()) / max(finite.std(), 1e-9)
    gold = [bootstrap_interval(best_of_k(finite, correct, k)) for k in ks]
    proxy = [float(best_of_k(finite, standard, k).mean()) for k in ks]
    return {
        "name": "best of n",
        "kl": [float(np.log(k) - (k - 1) / k) for k in ks],
        "gold": [g.mean for g in gold],
        "gold_low": [g.low for g in gold],
        "gold_high": [g.high for g in gold],
        "proxy": proxy,
    }


def audit_record(name: str, found: CriticAudit) -> dict[str, Any]:
    findings = {key: plain(finding._asdict()) for key, finding in found.findings().items()}
    return {"name": name, "findings": findings, "warnings": found.warnings()}


def shown_problems(problems, pool: TextSamples, scores: TextScores, correct, count: int) -> list[dict[str, Any]]:
    """Problems spread from the hardest to the easiest, with their three best and three worst traces."""
    n = len(pool.texts[0])
    share = None if correct is None else correct.mean(axis=1)
    order = np.arange(len(problems)) if share is None else np.argsort(share, kind="stable")
    shown = []
    for p in order[np.linspace(0, len(order) - 1, min(count, len(order))).astype(int)]:
        flat = [p * n + j for j in range(n)]
        distinct = list({pool.texts[p][i - p * n]: i for i in reversed(flat) if scores.steps[i]}.values())
        ranked = sorted(distinct, key=lambda i: -scores.trace[i])

        def entry(i: int, p: int = int(p)) -> dict[str, Any]:
            parts = zip(scores.step_texts[i], scores.steps[i], strict=True)
            steps = [{"text": text, "score": float(value)} for text, value in parts]
            right = None if correct is None else bool(correct[p, i - p * n])
            return {"text": pool.texts[p][i - p * n], "score": float(scores.trace[i]), "correct": right, "steps": steps}

        problem = problems[p]
        best, worst = [entry(i) for i in ranked[:3]], [entry(i) for i in ranked[-3:]]
        shown.append(
            {
                "id": problem.id,
                "prompt": problem.prompt,
                "share_correct": None if share is None else float(share[p]),
                "best": best,
                "worst": worst,
            }
        )
    return shown
