"""The common part of runs that train agents with several seeds: fields, retraining on a frozen reward, the report."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np
from jaxtyping import Float

from experiments.control.backends import Backend, EnvironmentConfig, Rounds
from experiments.control.result_rows import Row
from experiments.core.frame import Results, StagedRun
from experiments.core.run_folder import RunFolder
from irl.control.agent import Agent, AgentState
from irl.control.learners.base import Learner
from irl.control.learners.reward_override import with_frozen_reward
from irl.control.types import Transitions
from irl.train import Schedule
from reward_models.folders.tensor_file import save_arrays


class ControlRun(StagedRun[RunFolder]):
    """The config class of a run in one environment."""

    information: ClassVar[str]

    title: str
    environment: EnvironmentConfig
    learner: Learner
    envs: int
    time: int
    schedule: Schedule
    retrain: int
    episodes: int
    seeds: int

    def open(self, folder: Path) -> RunFolder:
        return RunFolder(folder, 0)

    def rounds(self, steps: int | None = None) -> Rounds:
        schedule = self.schedule if steps is None else replace(self.schedule, steps=steps)
        return Rounds(self.envs, self.time, schedule)

    def measure(self, run: RunFolder, seconds: float) -> None:
        """Record the throughput of training."""
        steps = self.schedule.steps * self.envs * self.time * self.seeds
        if seconds > 1:
            run.measured("environment steps, all seeds", steps, seconds, "start-up and compilation included")

    def results(self, headline: list[Row], **parts: Any) -> Results:
        """The results of a run with further parts of the report."""
        parts = {"environment": self.environment.id, **parts}
        return Results(headline=headline, information=self.information, seeds=range(self.seeds), parts=parts)


def returns_on_frozen_reward(
    config: ControlRun,
    run: RunFolder,
    backend: Backend,
    learner: Agent,
    reward: Callable[[Any, Transitions], jax.Array],
    frozen: AgentState,
    stage: str,
    keys: tuple[str, str],
) -> Float[np.ndarray, "seeds episodes"]:
    """Returns of new policies, trained on `reward(frozen, transitions)`; `keys` of training and evaluation."""
    agent, begin = with_frozen_reward(learner, reward)
    start = jax.vmap(begin)(frozen, jax.random.split(run.key(keys[0]), config.seeds))
    trained = backend.train(run, stage, agent, None, config.rounds(config.retrain), config.seeds, start=start)
    return backend.returns(agent, trained, run.key(keys[1]), config.episodes, config.seeds)


def save_tree(file: Path, tree: Any) -> None:
    """Save the arrays of a pytree as tensors, named after their paths."""
    leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(tree))
    save_arrays(file, {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(x) for path, x in leaves})
