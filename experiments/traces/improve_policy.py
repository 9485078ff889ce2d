"""Stage: train the policy on the learned reward (GRPO). No answer and no verifier is used in training."""

import time
from typing import Any

from experiments.core.workspace import Workspace
from experiments.reporting.stage_records import Improvement
from experiments.traces.policy_training import PolicyEvaluator, PolicyTraining, policy_result
from experiments.traces.rollouts import Rollouts
from irl.algorithms.rounds import Turn, rounds
from irl.policies.base import FittedPolicy
from irl.rewards.questions import ScoresTexts
from irl.train import evaluation_steps
from reward_models.frozen import on_host
from reward_models.ranges import PositiveShare
from reward_models.records import record
from reward_models.types import ScoreSpec

STAGE = "improved-policy"


@record
class ImprovePolicy(PolicyTraining):
    """GRPO on the learned reward from the stage before: rounds without a turn of the reward."""

    level: PositiveShare = 0.1
    """A trace that scores better than this share of demonstrations is as good as any."""

    def run(self, workspace: Workspace, policy: FittedPolicy, scorer: ScoresTexts) -> dict[str, Any]:
        saved = workspace.read_stage("improvement.json", Improvement)
        if saved is not None:
            return saved
        source = Rollouts(workspace, policy, scorer, self, self.level)
        algorithm = rounds(policy=Turn(self.algorithm.make(*policy)))
        start = algorithm.init(workspace.key("improvement"))
        evaluator = PolicyEvaluator(
            workspace=workspace,
            policy=policy.model,
            reward_of=lambda state, *samples: source.reward_of(*samples),
            config=self,
            stage=STAGE,
            kl="kl",
            name="improvement-look",
        )
        begun, every = time.perf_counter(), self.schedule.period(self.evaluations)
        evaluator.measure(0, start)
        state = workspace.fit(
            STAGE,
            algorithm,
            source,
            self.schedule,
            start,
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
        workspace.save_model(STAGE, policy.model.network, on_host(state.policy.params), spec, trained_on=about)
        what = "after training on the learned reward"
        result = policy_result(evaluations, scorer.spec.information, what, "GRPO step")
        workspace.write_json("improvement.json", result)
        return result
