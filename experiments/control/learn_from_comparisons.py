"""`traceward run` of preference comparisons in control: learn a reward and a policy from comparisons of fragments.

Answers are synthetic, computed from the environment's reward with all seeds in one program, or given by a person, in
files or at the command line, with one seed. Reported are the returns of every seed, of random actions and of the same
learner on the true reward, the agreement of learned and true reward (result_rows.py), and the return of a new policy
trained on the frozen reward. A new source of answers is a registered subclass of `AnswerSource`.
"""

import time
from abc import ABC, abstractmethod
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import jax
import numpy as np

from experiments.control.backends import InGraph, PureJax
from experiments.control.control_run import ControlRun, returns_on_frozen_reward, save_tree
from experiments.control.result_rows import PREFERENCES, TRUE, Row, curves, random_returns, reward_rows
from experiments.control.true_rewards import TRUE_REWARDS
from experiments.core.frame import Results
from experiments.core.run_folder import RunFolder
from experiments.reporting.report_records import result_row
from irl.control.agent import Agent
from irl.control.algorithms.annotators import Annotator, Synthetic, from_command_line, from_files
from irl.control.algorithms.preference_comparisons import (
    PreferenceComparisons,
    State,
    learned_reward,
    train_with_annotator,
)
from irl.control.learners.base import Learner
from irl.control.learners.ppo import Ppo
from irl.control.rollout.in_graph import State as RunState
from irl.control.rollout.in_graph import collect, in_graph
from irl.control.types import Transitions
from irl.train import Schedule
from irl.types import InputError
from reward_models.ranges import CountOrZero, Few, Rows, Size
from reward_models.records import record

STAGE, TRUTH, FRESH = "comparisons", "true reward", "frozen reward"


class AnswerSource(ABC):
    """The config class of answers from outside the program."""

    @abstractmethod
    def annotator(self, folder: Path) -> Annotator:
        """The annotator, whose queries and answers are in this folder."""


@record
class AnswerFiles(AnswerSource):
    """A person writes answers_*.jsonl next to queries_*.jsonl in the folder `queries` of the run."""

    def annotator(self, folder: Path) -> Annotator:
        return from_files(folder)


@record
class AnswersAtPrompt(AnswerSource):
    """A person at the command line; answers are saved in the folder `queries` of the run."""

    rows: Rows = 10
    """Steps of a fragment in the displayed table."""

    def annotator(self, folder: Path) -> Annotator:
        return from_command_line(folder, rows=self.rows)


@record
class LearnFromComparisons(ControlRun):
    """Preference comparisons in one pure-JAX environment."""

    information: ClassVar[str] = PREFERENCES

    title: str
    environment: PureJax = PureJax(id="Pendulum-v1")
    comparisons: PreferenceComparisons = PreferenceComparisons()
    answers: Synthetic | AnswerSource = Synthetic()
    learner: Learner = Ppo()
    envs: Size = 8
    time: Size = 250
    """Steps of a rollout in each environment: a step of the schedule is `envs * time` environment steps."""
    schedule: Schedule = Schedule(steps=61, log_every=1, save_every=61)
    """The first steps are the rounds with queries, the initial one included; later steps train without queries."""
    truth: bool = True
    """Train the same learner on the true reward, for comparison."""
    retrain: CountOrZero = 0
    """Rounds of training of a new policy on the frozen reward; 0: none."""
    episodes: Rows = 500
    """Evaluation episodes per seed."""
    seeds: Few = 5

    def __post_init__(self):
        rounds, length = len(self.comparisons.counts()), self.comparisons.length
        name = type(self).__name__
        if self.seeds != 1 and not isinstance(self.answers, Synthetic):
            kind = type(self.answers).__name__
            raise InputError(f"{name}.seeds: expected 1 with {kind}, got {self.seeds}")
        if self.time < length:
            raise InputError(f"{name}.time: expected at least {length}, the length of a fragment, got {self.time}")
        if self.schedule.steps < rounds:
            expected = f"expected at least {rounds}, the number of rounds with queries"
            raise InputError(f"{name}.schedule.steps: {expected}; got {self.schedule.steps}")

    def stages(self, run: RunFolder) -> Results:
        return learn_from_comparisons(self, run)


def learn_from_comparisons(config: LearnFromComparisons, run: RunFolder) -> Results:
    """Run or resume preference comparisons. Raises Unanswered if a person has to answer first."""
    begun = time.perf_counter()
    backend = config.environment.backend()
    learner = config.learner.make(backend.observation, backend.action)
    states = trained(config, run, backend, learner)
    seconds = time.perf_counter() - begun
    parts = {
        name: {"params": state.params, "moments": state.moments}
        for name, state in (("reward", states), ("policy", states.learner))
    }
    save_tree(run.folder / "rewards_and_policies.safetensors", parts)
    headline = _headline(config, run, backend, learner, states)
    config.measure(run, seconds)
    references = {TRUTH: "oracle", FRESH: "baseline"}
    train_time = curves(run, STAGE, config.envs * config.time, references)
    return config.results(headline, train_time=train_time)


def trained(config: LearnFromComparisons, run: RunFolder, backend: InGraph, learner: Agent) -> State:
    """Rewards and policies, with an axis of seeds."""
    if isinstance(config.answers, Synthetic):
        agent = config.comparisons.make(learner, backend.observation, backend.action, config.answers)
        return backend.train(run, STAGE, agent, None, config.rounds(), config.seeds)
    state = _with_annotator(config, run, backend, learner, config.answers.annotator(run.folder / "queries"))
    return jax.tree.map(lambda leaf: leaf[None], state)


def _with_annotator(
    config: LearnFromComparisons, run: RunFolder, backend: InGraph, learner: Agent, annotate: Annotator
) -> State:
    """One training with answers from outside, saved after every round."""
    agent = config.comparisons.make(learner, backend.observation, backend.action)
    parts, counts = config.comparisons.parts(learner, backend.observation, backend.action), config.comparisons.counts()
    counts += (0,) * (config.schedule.steps - len(counts))
    checkpoints, key = run.checkpoints(STAGE), run.key(STAGE)
    state = in_graph(backend.environment, agent, envs=config.envs, time=config.time).init(jax.random.fold_in(key, 0))
    if checkpoints.latest() is not None:
        state = checkpoints.restore(None, state).state

    def save(state: State, environments: Any, info: dict[str, Any]) -> None:
        number, metrics = int(state.round), {name: float(value) for name, value in info.items()}
        if not np.isfinite(metrics["loss"]):
            raise InputError(
                f"round {number}: the loss is {metrics['loss']}; the round was not saved, lower the learning rates"
            )
        run.record(STAGE, number, metrics | {"return, seed 0": metrics["return"]})
        checkpoints.save(number, RunState(state, environments))

    act = jax.jit(partial(collect, backend.environment, agent, time=config.time))
    return train_with_annotator(parts, counts, annotate, act, state.agent, state.environments, key, save=save)[0]


def _headline(
    config: LearnFromComparisons, run: RunFolder, backend: InGraph, learner: Agent, states: State
) -> list[Row]:
    network, seeds = config.comparisons.network.make(backend.observation, backend.action), config.seeds

    def returns(stage: str, policies: Any) -> np.ndarray:
        return backend.returns(learner, policies, run.key(f"{stage}, evaluation"), config.episodes, seeds)

    def reward(state: State, transitions: Transitions) -> jax.Array:
        return learned_reward(network, state, transitions)

    own = returns(STAGE, states.learner)
    rows = [result_row("return", own, PREFERENCES, f"{seeds} seeds, {config.episodes} episodes each")]
    rows += [result_row(f"return, seed {seed}", values, PREFERENCES) for seed, values in enumerate(own)]
    rows.append(result_row("random actions: return", random_returns(backend, run, config.episodes), "none"))
    if config.truth:
        policies = backend.train(run, TRUTH, learner, None, config.rounds(), seeds)
        rows.append(result_row("the same learner on the true reward: return", returns(TRUTH, policies), TRUE))
    policy = learner.nested(learner.init, learner.step)
    rows += reward_rows(
        backend,
        policy,
        states,
        reward,
        seeds,
        config.envs,
        run,
        PREFERENCES,
        discount=config.learner.discount,
        true=TRUE_REWARDS.get(config.environment.id),
    )
    if config.retrain:
        retrained = returns_on_frozen_reward(
            config,
            run,
            backend,
            config.learner.scheduled(config.retrain).make(backend.observation, backend.action),
            reward,
            states._replace(opt_state=None, learner=None),
            FRESH,
            (FRESH, f"{FRESH}, evaluation"),
        )
        rows.append(result_row("fresh policy on the frozen reward: return", retrained, PREFERENCES))
    return [*rows, result_row("comparisons that were answered", np.asarray(states.data.known), PREFERENCES)]
