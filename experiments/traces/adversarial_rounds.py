"""Stage: adversarial rounds, in which the policy and the reward are trained against each other.

The policy starts as the policy of the run and the reward as its reward. Each round samples from the current policy,
updates the reward on these samples and on those of earlier policies, and updates the policy by the new reward
(irl/algorithms/rounds.py). No answer and no verifier is used in training or in choosing the round: the last one is
taken. Test problems are evaluated on the way, for the report only.
"""

from dataclasses import field
from typing import Any

import jax
import numpy as np

from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import Improvement
from experiments.traces.fit_reward import FitReward, RewardEvaluator
from experiments.traces.policy_training import PolicyEvaluator, PolicyTraining, policy_result
from experiments.traces.rollouts import AdversarialRollouts
from experiments.traces.train_time import RewardCurve
from irl.algorithms.rounds import Adversary, RoundsState
from irl.policies.base import FittedPolicy
from irl.rewards.scoring import TextScorer
from irl.train import evaluation_steps
from irl.types import InputError
from reward_models.frozen import on_host
from reward_models.networks.base import Params
from reward_models.records import record

POLICY, REWARD = "adversarial-policy", "adversarial-reward"
STAGE = "rounds"


@record
class AdversarialRounds(PolicyTraining):
    """Rounds of GRPO and of an algorithm that learns the reward."""

    reward: Adversary = field(default_factory=Adversary)

    def __post_init__(self):
        super().__post_init__()
        if self.reward.prompts_per_update > self.prompts_per_step:
            expected = f"expected at most {self.prompts_per_step}, its prompts_per_step"
            given = self.reward.prompts_per_update
            raise InputError(f"AdversarialRounds.reward.prompts_per_update: {expected}, got {given}")

    def run(
        self, workspace: Workspace, policy: FittedPolicy, first: FitReward, params: Params, curve: RewardCurve
    ) -> dict[str, Any]:
        """Train both, or read back what is finished. `first` and `params` are the reward that the rounds start from."""
        saved = workspace.read_stage("rounds.json", Improvement)
        if saved is not None:
            return saved
        network = first.finished.make()
        source = AdversarialRollouts(workspace, policy, self)
        algorithm = self.reward.make(network, self.algorithm.make(*policy))
        start = self._start(workspace, algorithm.init(workspace.key(STAGE)), params, source)
        evaluators = self._evaluators(workspace, policy, first, curve)
        every = self.schedule.period(self.evaluations)
        for evaluator in evaluators:
            for row in evaluator.run(0, start):
                workspace.record(STAGE, 0, row)
        state = workspace.fit(
            STAGE,
            algorithm,
            source,
            self.schedule,
            start,
            label="adversarial rounds",
            evaluators=evaluators,
            evaluate_every=every,
        )
        about = f"maximum likelihood on expert traces, then {self.schedule.steps} adversarial rounds"
        last: RoundsState = on_host(state)
        workspace.save_model(POLICY, policy.model.network, last.policy.params, network.spec, trained_on=about)
        workspace.save_model(
            REWARD, first.finished, last.reward.params, network.spec, trained_on=about, windows=workspace.windows
        )
        evaluations = evaluators[0].kept([0, *evaluation_steps(self.schedule.steps, every)])
        information, what = network.spec.information, "adversarial rounds"
        result = policy_result(evaluations, information, f"after {what}", "round", what)
        result["train_time"][0]["name"] = "policy in adversarial rounds"
        result["train_time"] += [*_panels(evaluations), *curve.panel()]
        workspace.write_json("rounds.json", result)
        return result

    def _start(
        self, workspace: Workspace, fresh: RoundsState, params: Params, source: AdversarialRollouts
    ) -> RoundsState:
        """Both sides as the stages before left them, and a replay shaped like the rounds to come."""
        state = fresh._replace(reward=fresh.reward._replace(params=jax.tree.map(jax.numpy.asarray, params)))
        position = source.get_state()
        replay = self.reward.empty_replay(source.next(state))
        source.set_state(position)
        return state._replace(replay=replay)

    def _evaluators(self, workspace, policy: FittedPolicy, first: FitReward, curve: RewardCurve):
        """Of the policy and of the reward."""

        def scorer(params: Params) -> TextScorer:
            return first.scorer(workspace, params)

        def reward_of(state: RoundsState, prompts, texts, ended) -> np.ndarray:
            scores = scorer(on_host(state.reward.params))(prompts, texts).trace
            finite = np.isfinite(scores)
            return np.where(ended & finite, scores, np.min(scores, where=finite, initial=0.0))

        evaluator = PolicyEvaluator(
            workspace=workspace,
            policy=policy.model,
            reward_of=reward_of,
            config=self,
            stage=STAGE,
            kl="policy/kl",
            name="rounds-evaluation",
        )
        return evaluator, RewardEvaluator(curve.observe, scorer, lambda state: state.reward.params)


def _panels(evaluations: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reward, the KL divergence and the length of the policy's samples over rounds."""
    rounds = [evaluation["step"] for evaluation in evaluations]
    labels = {"proxy": "mean learned reward", "kl": "KL to the first policy, nats per trace", "length": "tokens"}
    return [
        {
            "name": f"{label} in adversarial rounds",
            "x_label": "round",
            "y_label": label,
            "series": [{"name": "policy", "role": "learned", "x": rounds, "y": [each[name] for each in evaluations]}],
        }
        for name, label in labels.items()
    ]
